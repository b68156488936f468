"""Gaussian-process regression from features to an embedding of image positions.

Source: Edstedt et al., DKM, CVPR 2023, section 3.2 (the regression). The embedding here is a
tapered Fourier series instead of a random one, so that its inner product is a bump without noise.
"""

import torch
from torch import Tensor, nn

PERIOD = 2.4  # of the series, in units where the image spans [-1, 1]: no bump wraps around
HARMONICS = 8
NOISE = 0.1  # variance of the observations, in units of the kernel's variance


class PositionEmbedding(nn.Module):
    """Positions in [-1, 1]^2 as 289 numbers of unit length.

    Per axis: 1, cos and sin of 8 harmonics, weighted by a Gaussian taper; then the outer product
    of both axes. The inner product of two positions is a bump of standard deviation 0.095 around
    their difference.
    """

    scale: Tensor

    def __init__(self):
        super().__init__()
        order = torch.arange(HARMONICS + 1, dtype=torch.float32)
        weight = torch.exp(-0.5 * (order / (HARMONICS / 2)) ** 2)
        self.register_buffer("scale", (weight / weight.sum()).sqrt(), persistent=False)
        self.dims = (2 * HARMONICS + 1) ** 2

    def forward(self, xy: Tensor) -> Tensor:
        """Positions *n 2 to *n dims."""
        order = torch.arange(HARMONICS + 1, device=xy.device, dtype=torch.float32)
        angle = xy.float()[..., None] * (2 * torch.pi / PERIOD * order)
        axis = torch.cat([angle.cos() * self.scale, angle[..., 1:].sin() * self.scale[1:]], -1)
        x, y = axis[..., 0, :], axis[..., 1, :]
        return (x[..., :, None] * y[..., None, :]).flatten(-2)


def kernel(a: Tensor, b: Tensor, sharpness: Tensor) -> Tensor:
    """exp(sharpness (cos - 1)) of unit features, n p C and n q C to n p q."""
    return torch.exp(sharpness * (a @ b.transpose(1, 2) - 1))


def posterior_mean(
    cross: Tensor, inner: Tensor, values: Tensor, usable: Tensor | None = None
) -> Tensor:
    """K_ab (K_bb + NOISE I)^-1 values, n p d, in float32.

    Args:
        cross: K_ab, n p q.
        inner: K_bb, n q q.
        values: What is known at the q places, n q d; no gradient flows into it.
        usable: Which of the q places count, n q; None = all.
    """
    if usable is not None:
        keep = usable.to(inner.dtype)
        inner = inner * keep[:, :, None] * keep[:, None, :]
        values = values * keep[..., None]
        cross = cross * keep[:, None, :]
    eye = torch.eye(inner.shape[-1], device=inner.device, dtype=inner.dtype)
    return cross @ _Solve.apply(inner + NOISE * eye, values)


class _Solve(torch.autograd.Function):
    """A^-1 B for symmetric positive definite A.

    The backward pass reuses the factor: dA = -(A^-1 G) X^T. Differentiating through the
    factorisation would cost several times as much.
    """

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        # Unchecked: what is not finite must reach the loss, whose step is then left out.
        factor = torch.linalg.cholesky_ex(a)[0]
        solution = _with_factor(factor, b)
        ctx.save_for_backward(factor, solution)
        return solution

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        factor, solution = ctx.saved_tensors
        g = _with_factor(factor, gradient)
        return -g @ solution.transpose(1, 2), None


def _with_factor(factor: Tensor, b: Tensor) -> Tensor:
    half = torch.linalg.solve_triangular(factor, b, upper=False)
    return torch.linalg.solve_triangular(factor.transpose(1, 2), half, upper=True)
