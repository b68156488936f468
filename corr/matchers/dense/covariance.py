"""Two-dimensional normal errors: the precision's Cholesky factor, and its likelihood.

The precision is P = L L^T with L lower triangular: the log-determinant is a sum of logarithms and
P is positive definite by construction. Source: RoMa v2, arXiv 2511.15706, section 3.4 (a 2 x 2
precision per pixel); the parametrisation is ours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST, LARGEST = 1e-2, 50.0  # 1/px: standard deviations between 0.02 and 100 px


def precision_factor(raw: Tensor) -> Tensor:
    """Free numbers N 3 h w to l11, l21, l22 of the factor, 1/px; zeros give one pixel."""
    diagonal = F.softplus(raw[:, ::2] + 0.5413).clamp(SMALLEST, LARGEST)
    return torch.stack([diagonal[:, 0], raw[:, 1].clamp(-LARGEST, LARGEST), diagonal[:, 1]], 1)


def squared_distance(factor: Tensor, error: Tensor) -> Tensor:
    """e^T P e, chi-squared with two degrees of freedom where the covariance is right: N h w."""
    a = factor[:, 0] * error[:, 0] + factor[:, 1] * error[:, 1]
    b = factor[:, 2] * error[:, 1]
    return a.square() + b.square()


def negative_log_likelihood(factor: Tensor, error: Tensor) -> Tensor:
    """Of errors N 2 h w under the normal distribution, without the constant: N h w."""
    return 0.5 * squared_distance(factor, error) - factor[:, 0].log() - factor[:, 2].log()


def covariance(factor: Tensor) -> Tensor:
    """(L L^T)^-1, px^2: N 3 h w with the entries xx, xy, yy."""
    l11, l21, l22 = factor.unbind(1)
    # L^-T L^-1 with L^-1 = [[1/l11, 0], [-l21/(l11 l22), 1/l22]].
    p, q, r = 1 / l11, -l21 / (l11 * l22), 1 / l22
    return torch.stack([p * p + q * q, q * r, r * r], 1)
