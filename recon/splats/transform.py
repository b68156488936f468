"""Splats carried into another frame: centres, sizes, turns and the colour's harmonics."""

import math

import numpy as np
import torch
from torch import Tensor

from corr.geometry import Sim3
from recon.render.reference import sh_basis
from recon.splats.gaussians import Gaussians

_DIRECTIONS = 64  # more than the 7 unknowns of band 3, spread over the sphere


def moved(gaussians: Gaussians, b_from_a: Sim3) -> Gaussians:
    """The splats of frame a in frame b: the same pictures from cameras that moved along."""
    R = torch.as_tensor(b_from_a.R, dtype=torch.float64)
    t = torch.as_tensor(b_from_a.t, dtype=torch.float64)
    g = gaussians.detached().to("cpu").to(torch.float64)
    turn = torch.from_numpy(_quaternion_wxyz(b_from_a.R))
    return Gaussians(
        means=b_from_a.scale * (g.means @ R.T) + t,
        log_scales=g.log_scales + math.log(b_from_a.scale),
        quats_wxyz=_product(turn, g.quats_wxyz),
        logit_opacities=g.logit_opacities,
        sh=rotated_harmonics(g.sh, b_from_a.R),
    ).to(gaussians.means.dtype)


def rotated_harmonics(sh: Tensor, R: np.ndarray) -> Tensor:
    """Coefficients of the turned function `d -> f(R^T d)`, n k 3, degree 3 at most.

    Every band is closed under rotations, so its matrix M (2l + 1 square, Wigner's for real
    harmonics) follows from `Y(d) M = Y(R^T d)` at more directions than unknowns: exact but for
    rounding, at any R.
    """
    degree = math.isqrt(sh.shape[1]) - 1
    if degree > 3:
        raise ValueError(f"harmonics can be turned up to degree 3, got {degree}")
    directions = _spread(_DIRECTIONS)
    turned = directions @ torch.as_tensor(R, dtype=torch.float64)  # rows R^T d
    before, after = sh_basis(directions, degree), sh_basis(turned, degree)
    bands = [sh[:, :1].to(torch.float64)]
    for band in range(1, degree + 1):
        rows = slice(band**2, (band + 1) ** 2)
        matrix = torch.linalg.lstsq(before[:, rows], after[:, rows]).solution
        bands.append(torch.einsum("jk,nkc->njc", matrix, sh[:, rows].to(torch.float64)))
    return torch.cat(bands, dim=1).to(sh.dtype)


def _spread(count: int) -> Tensor:
    """Unit vectors on a golden spiral."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * k / count
    angle = k * math.pi * (3 - math.sqrt(5))
    r = (1 - z * z).sqrt()
    return torch.stack([r * angle.cos(), r * angle.sin(), z], dim=-1)


def _quaternion_wxyz(R: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return np.roll(Rotation.from_matrix(R).as_quat(), 1)


def _product(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton product p q of one quaternion with many, w x y z: first q turns, then p."""
    w, v = p[0], p[1:]
    scalar = w * q[:, 0] - q[:, 1:] @ v
    vector = w * q[:, 1:] + q[:, :1] * v + torch.linalg.cross(v.expand_as(q[:, 1:]), q[:, 1:])
    return torch.cat([scalar[:, None], vector], dim=1)
