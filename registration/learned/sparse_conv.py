"""Sparse convolutions over lattices of any dimension: gather, multiply, scatter-add.

    y[site] = sum over offsets o of x[site * stride + o] @ W[o],

over occupied sites only; the transposed layers run the same maps backwards.
"""

import torch
from torch import nn

from registration.learned.lattice import KernelMap, Lattice, Offsets, kernel_offsets


def convolve(
    x: torch.Tensor, weight: torch.Tensor, links: KernelMap, *, transposed: bool = False
) -> torch.Tensor:
    """Apply a kernel along a map.

    Args:
        x: rows x channels in, rows of the map's inputs (its outputs if transposed).
        weight: offsets x channels in x channels out.
        links: The map.
        transposed: Run it backwards, from its outputs to its inputs.

    Returns:
        rows x channels out.
    """
    return _Convolve.apply(x, weight, links, transposed)


class _Convolve(torch.autograd.Function):
    """`convolve` with a backward pass that adds in place, several times faster than autograd's."""

    @staticmethod
    def forward(ctx, x, weight, links, transposed):
        ctx.save_for_backward(x, weight)
        ctx.pairs = _directed(links, transposed)
        y = x.new_zeros(links.inputs if transposed else links.outputs, weight.shape[2])
        for pair, matrix in zip(ctx.pairs, weight, strict=True):
            if pair is None:
                y += x @ matrix
            else:
                y.index_add_(0, pair[1], x[pair[0]] @ matrix)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)
        for k, pair in enumerate(ctx.pairs):
            if pair is None:
                grad_x += gradient @ weight[k].T
                grad_weight[k] = x.T @ gradient
            else:
                source, target = pair
                pulled = gradient[target]
                grad_x.index_add_(0, source, pulled @ weight[k].T)
                grad_weight[k] = x[source].T @ pulled
        return grad_x, grad_weight, None, None


def _directed(links: KernelMap, transposed: bool) -> list[tuple[torch.Tensor, torch.Tensor] | None]:
    """(source, target) rows of each offset, forwards or backwards."""
    if not transposed:
        return list(links.rows)
    return [None if pair is None else (pair[1], pair[0]) for pair in links.rows]


class SparseConv(nn.Module):
    """One kernel, without stride (same sites) or with (the coarser lattice's sites).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        dimension: D.
        shape: "hypercube" or "cross" (see `kernel_offsets`).
        size: Extent of the kernel along each axis.
        strides: One per axis; None = 1 everywhere. A strided cross drops sites that lie off the
            axes of every kernel: take a hypercube of the stride's size to halve a lattice.
        bias: Add one.
    """

    def __init__(
        self, inputs: int, outputs: int, dimension: int, *, shape: str = "hypercube",
        size: int = 3, strides: tuple[int, ...] | None = None, bias: bool = False,
        offsets: Offsets | None = None,
    ):  # fmt: skip
        super().__init__()
        self.offsets = offsets or kernel_offsets(shape, size, dimension)
        self.strides = strides or (1,) * dimension
        scale = (2.0 / (inputs * len(self.offsets))) ** 0.5
        self.weight = nn.Parameter(torch.randn(len(self.offsets), inputs, outputs) * scale)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def links(self, lattice: Lattice) -> KernelMap:
        """The neighbour map from (a stride's finer) `lattice`."""
        if all(s == 1 for s in self.strides):
            return lattice.same(self.offsets)
        return lattice.onto(self.strides, self.offsets)

    def coarse(self, lattice: Lattice) -> Lattice:
        """The lattice that the output lives on."""
        return lattice if all(s == 1 for s in self.strides) else lattice.down(self.strides)

    def forward(self, x: torch.Tensor, lattice: Lattice) -> torch.Tensor:
        """Features on `lattice` to features on `coarse(lattice)`."""
        return self._biased(convolve(x, self.weight, self.links(lattice)))

    def _biased(self, y: torch.Tensor) -> torch.Tensor:
        return y if self.bias is None else y + self.bias


class SparseConvTransposed(SparseConv):
    """The adjoint of a strided `SparseConv`: from the coarse lattice back to the fine one."""

    def forward(self, x: torch.Tensor, lattice: Lattice) -> torch.Tensor:
        """Features on `coarse(lattice)` to features on the finer `lattice`."""
        return self._biased(convolve(x, self.weight, self.links(lattice), transposed=True))


class SeparableConv(nn.Module):
    """D one-dimensional kernels, one after the other, each over the occupied sites.

    With strides, each axis is halved in its own step, through intermediate lattices. The first
    kernel changes the channels. Arguments as of `SparseConv`.
    """

    def __init__(
        self, inputs: int, outputs: int, dimension: int, *, size: int = 3,
        strides: tuple[int, ...] | None = None, bias: bool = False,
    ):  # fmt: skip
        super().__init__()
        strides = strides or (1,) * dimension
        self.steps = nn.ModuleList()
        for axis in range(dimension):
            line = kernel_offsets("hypercube", size, 1)
            before, after = (0,) * axis, (0,) * (dimension - 1 - axis)
            step = (1,) * axis + (strides[axis],) + (1,) * (dimension - 1 - axis)
            self.steps.append(
                SparseConv(
                    inputs if axis == 0 else outputs,
                    outputs,
                    dimension,
                    strides=step,
                    offsets=tuple((*before, o[0], *after) for o in line),
                    bias=bias and axis == dimension - 1,
                )
            )

    def coarse(self, lattice: Lattice) -> Lattice:
        """The lattice that the output lives on."""
        for step in self.steps:
            lattice = step.coarse(lattice)  # type: ignore[operator]
        return lattice

    def forward(self, x: torch.Tensor, lattice: Lattice) -> torch.Tensor:
        """Features on `lattice` to features on `coarse(lattice)`."""
        for step in self.steps:
            x, lattice = step(x, lattice), step.coarse(lattice)  # type: ignore[operator]
        return x


def make_conv(
    inputs: int, outputs: int, dimension: int, *, shape: str, size: int = 3
) -> SparseConv | SeparableConv:
    """A convolution without stride of any of the three shapes: hypercube, cross, separable."""
    if shape == "separable":
        return SeparableConv(inputs, outputs, dimension, size=size)
    return SparseConv(inputs, outputs, dimension, shape=shape, size=size)
