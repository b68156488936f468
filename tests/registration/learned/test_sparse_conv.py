"""Sparse convolution against dense convolution: values, gradients, batches, edges."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from registration.learned.lattice import Lattice, kernel_offsets, merge_sites
from registration.learned.sparse_conv import (
    SeparableConv,
    SparseConv,
    SparseConvTransposed,
    make_conv,
)

# Double arithmetic; only the order of the sums differs between the two sides.
TIGHT = {"rtol": 1e-11, "atol": 1e-11}
DENSE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def some_sites(
    dimension: int, *, share: float = 0.4, side: int = 5, batches: int = 1, seed: int = 0
):
    """Random sites (negative coordinates among them), shuffled."""
    draw = torch.Generator().manual_seed(seed)
    every = torch.cartesian_prod(torch.arange(batches), *[torch.arange(side)] * dimension)
    every[:, 1:] -= 2
    chosen = every[torch.rand(len(every), generator=draw) < share]
    return chosen[torch.randperm(len(chosen), generator=draw)]


def to_dense(x: torch.Tensor, sites: torch.Tensor, side: int, low: int = -2) -> torch.Tensor:
    """1 x channels x side^D, zeros at free sites (one batch)."""
    grid = x.new_zeros(*[side] * (sites.shape[1] - 1), x.shape[1])
    grid = grid.index_put(tuple((sites[:, 1:] - low).T), x)
    return grid.movedim(-1, 0)[None]


def at_sites(grid: torch.Tensor, sites: torch.Tensor, low: int = -2) -> torch.Tensor:
    return grid[0].movedim(0, -1)[tuple((sites[:, 1:] - low).T)]


def brute_force(x, sites, weight, offsets, out_sites, strides):
    """The defining sum, with a dictionary."""
    where = {tuple(site): row for row, site in enumerate(sites.tolist())}
    rows = []
    for batch, *site in out_sites.tolist():
        total = x.new_zeros(weight.shape[2])
        for k, offset in enumerate(offsets):
            key = (batch, *(s * t + o for s, t, o in zip(site, strides, offset, strict=True)))
            if key in where:
                total = total + x[where[key]] @ weight[k]
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_same_convolution_equals_dense_forward_and_gradient(dimension):
    sites = some_sites(dimension, side=7, share=0.5)
    layer = SparseConv(3, 4, dimension, bias=True).double()
    x = torch.randn(len(sites), 3, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    kernel = layer.weight.detach().clone().requires_grad_()
    y = layer(x, Lattice(sites))
    stacked = kernel.movedim(0, -1).reshape(3, 4, *[3] * dimension).transpose(0, 1)
    dense = DENSE[dimension](to_dense(twin, sites, 7), stacked, layer.bias, padding=1)
    expected = at_sites(dense, sites)
    assert torch.allclose(y, expected, **TIGHT)
    pull = torch.randn_like(y)
    (y * pull).sum().backward()
    (expected * pull).sum().backward()
    assert torch.allclose(x.grad, twin.grad, **TIGHT)
    assert torch.allclose(layer.weight.grad, kernel.grad, **TIGHT)


@pytest.mark.parametrize("dimension", [2, 3])
def test_strided_and_transposed_convolution_equal_dense(dimension):
    sites = some_sites(dimension, side=8, share=0.5)
    strides = (2,) * dimension
    fine = Lattice(sites)
    down = SparseConv(2, 3, dimension, size=3, strides=strides).double()
    x = torch.randn(len(sites), 2, dtype=torch.float64)
    stacked = down.weight.movedim(0, -1).reshape(2, 3, *[3] * dimension).transpose(0, 1)
    # The grid starts at -2, so output cell c of the dense layer is lattice site c - 1.
    dense = DENSE[dimension](to_dense(x, sites, 8), stacked, stride=2, padding=1)
    coarse = fine.down(strides)
    assert torch.allclose(down(x, fine), at_sites(dense, coarse.sites, low=-1), **TIGHT)
    up = SparseConvTransposed(3, 2, dimension, size=3, strides=strides).double()
    z = torch.randn(len(coarse), 3, dtype=torch.float64)
    # Adjoint: <down x, z> = <x, down^T z> when both share their weights.
    up.weight.data = down.weight.data.transpose(1, 2).contiguous()
    assert torch.allclose((down(x, fine) * z).sum(), (x * up(z, fine)).sum(), **TIGHT)
    assert up(z, fine).shape == (len(sites), 2)


@pytest.mark.parametrize(
    ("dimension", "shape", "size", "stride"),
    [(4, "hypercube", 3, 1), (4, "cross", 5, 1), (6, "cross", 3, 1), (6, "hypercube", 2, 2),
     (4, "hypercube", 3, 2), (3, "cross", 3, 2), (6, "hypercube", 3, 1)],
)  # fmt: skip
def test_convolution_equals_its_defining_sum(dimension, shape, size, stride):
    share = {3: 0.5, 4: 0.2, 6: 0.03}[dimension]
    sites = some_sites(dimension, side=4, share=share)
    strides = (stride,) * dimension
    layer = SparseConv(2, 2, dimension, shape=shape, size=size, strides=strides).double()
    lattice = Lattice(sites)
    x = torch.randn(len(sites), 2, dtype=torch.float64, requires_grad=True)
    y = layer(x, lattice)
    out = layer.coarse(lattice).sites
    expected = brute_force(x, sites, layer.weight, layer.offsets, out, strides)
    assert torch.allclose(y, expected, **TIGHT)
    got = torch.autograd.grad((y**2).sum(), (x, layer.weight))
    want = torch.autograd.grad((expected**2).sum(), (x, layer.weight))
    assert all(torch.allclose(a, b, **TIGHT) for a, b in zip(got, want, strict=True))


def test_gradient_agrees_with_finite_differences():
    sites = some_sites(3, side=3, share=0.5)
    layer = SparseConv(2, 2, 3, strides=(2, 2, 2), size=2).double()
    lattice = Lattice(sites)
    x = torch.randn(len(sites), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: layer(v, lattice), (x,))


def test_separable_convolution_of_full_grid_equals_outer_product_kernel():
    sites = torch.cartesian_prod(torch.arange(1), *[torch.arange(6)] * 2)
    layer = SeparableConv(1, 1, 2).double()
    a, b = (step.weight.detach().reshape(3) for step in layer.steps)
    x = torch.randn(len(sites), 1, dtype=torch.float64)
    dense = F.conv2d(to_dense(x, sites, 6, low=0), torch.outer(a, b)[None, None], padding=1)
    assert torch.allclose(layer(x, Lattice(sites)), at_sites(dense, sites, low=0), **TIGHT)


def test_strided_separable_convolution_lands_on_the_coarse_lattice():
    sites = some_sites(4, side=4, share=0.3)
    layer = SeparableConv(2, 3, 4, strides=(2,) * 4, bias=True).double()
    lattice = Lattice(sites)
    y = layer(torch.randn(len(sites), 2, dtype=torch.float64), lattice)
    expected = {tuple(site) for site in lattice.down((2,) * 4).sites.tolist()}
    assert {tuple(site) for site in layer.coarse(lattice).sites.tolist()} == expected
    assert y.shape == (len(expected), 3)


@pytest.mark.parametrize("shape", ["hypercube", "cross", "separable"])
def test_row_order_and_batching_do_not_change_the_result(shape):
    layer = make_conv(2, 3, 3, shape=shape).double()
    one, two = some_sites(3, seed=1), some_sites(3, seed=2)
    x1 = torch.randn(len(one), 2, dtype=torch.float64)
    x2 = torch.randn(len(two), 2, dtype=torch.float64)
    alone = torch.cat([layer(x1, Lattice(one)), layer(x2, Lattice(two))])
    both = torch.cat([one, two + torch.tensor([1, 0, 0, 0])])
    shuffle = torch.randperm(len(both))
    together = layer(torch.cat([x1, x2])[shuffle], Lattice(both[shuffle]))
    assert torch.allclose(together, alone[shuffle], **TIGHT)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_empty_lattice_gives_empty_features(strides):
    lattice = Lattice(torch.zeros(0, 3, dtype=torch.int64))
    layer = SparseConv(2, 5, 2, strides=strides, size=3)
    assert layer(torch.zeros(0, 2), lattice).shape == (0, 5)


def test_maps_are_shared_between_layers():
    lattice = Lattice(some_sites(3))
    a, b = SparseConv(1, 1, 3), SparseConv(1, 2, 3)
    assert a.links(lattice) is b.links(lattice)


def test_kernels_have_the_promised_offsets():
    assert len(kernel_offsets("cross", 3, 6)) == 13
    assert len(kernel_offsets("hypercube", 3, 6)) == 729
    assert set(kernel_offsets("hypercube", 2, 3)) == set(product((0, 1), repeat=3))
    with pytest.raises(ValueError, match="shape must be"):
        kernel_offsets("ball", 3, 2)
    with pytest.raises(ValueError, match="size must be"):
        kernel_offsets("cross", 99, 2)


def test_bad_sites_are_refused():
    with pytest.raises(ValueError, match="unique"):
        Lattice(torch.tensor([[0, 1], [0, 1]]))
    with pytest.raises(ValueError, match="int64"):
        Lattice(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="63 bits"):
        Lattice(torch.tensor([[0, *[0] * 6], [0, *[10**7] * 6]]))


def test_merged_sites_are_unique_and_know_where_they_came_from():
    sites = torch.tensor([[0, 5, 1], [0, -3, 2], [0, 5, 1], [1, 5, 1]])
    merged, inverse = merge_sites(sites)
    assert merged.tolist() == [[0, -3, 2], [0, 5, 1], [1, 5, 1]]
    assert torch.equal(merged[inverse], sites)
