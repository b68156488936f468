import numpy as np
import pytest
import torch

from corr.matchers.dense.gaussian_process import (
    NOISE,
    PositionEmbedding,
    _Solve,
    kernel,
    posterior_mean,
)


def features(n: int, count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, count, 24, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


@pytest.mark.parametrize("sharpness", [2.0, 12.0])
def test_posterior_mean_equals_a_direct_solve(sharpness):
    a, b = features(3, 17, 0), features(3, 29, 1)
    values = torch.randn(3, 29, 5, dtype=torch.float64)
    s = torch.tensor(sharpness, dtype=torch.float64)
    got = posterior_mean(kernel(a, b, s), kernel(b, b, s), values)
    for i in range(3):
        cross = np.exp(sharpness * (a[i].numpy() @ b[i].numpy().T - 1))
        inner = np.exp(sharpness * (b[i].numpy() @ b[i].numpy().T - 1)) + NOISE * np.eye(29)
        want = cross @ np.linalg.inv(inner) @ values[i].numpy()
        assert np.abs(got[i].numpy() - want).max() < 1e-10


def test_unusable_places_count_as_absent():
    a, b = features(2, 9, 2), features(2, 21, 3)
    values, s = torch.randn(2, 21, 4, dtype=torch.float64), torch.tensor(6.0)
    keep = torch.arange(21) % 3 > 0
    masked = posterior_mean(kernel(a, b, s), kernel(b, b, s), values, keep.expand(2, -1))
    removed = posterior_mean(
        kernel(a, b[:, keep], s), kernel(b[:, keep], b[:, keep], s), values[:, keep]
    )
    assert (masked - removed).abs().max() < 1e-12


def test_gradient_of_the_solve_is_that_of_the_plain_solve():
    x = torch.randn(2, 7, 7, dtype=torch.float64)
    a = (x @ x.transpose(1, 2) + torch.eye(7)).requires_grad_()
    b = torch.randn(2, 7, 3, dtype=torch.float64)
    weight = torch.randn(2, 7, 3, dtype=torch.float64)
    (ours,) = torch.autograd.grad((_Solve.apply(a, b) * weight).sum(), a)
    (plain,) = torch.autograd.grad((torch.linalg.solve(a, b) * weight).sum(), a)
    assert (ours - plain).abs().max() < 1e-9


def test_embedding_is_a_bump_around_equal_positions():
    embedding = PositionEmbedding()
    x = torch.linspace(-1, 1, 81)
    grid = torch.stack(torch.meshgrid(x, x, indexing="xy"), -1).reshape(-1, 2)
    e = embedding(grid)
    assert (e.norm(dim=1) - 1).abs().max() < 1e-5
    product = e @ e[40 * 81 + 20]
    distance = (grid - grid[40 * 81 + 20]).norm(dim=1)
    assert product.argmax() == 40 * 81 + 20
    near = distance < 0.15
    gaussian = torch.exp(-0.5 * (distance / 0.095) ** 2)
    assert (product - gaussian)[near].abs().max() < 0.12
    assert product[distance > 0.5].abs().max() < 0.15
