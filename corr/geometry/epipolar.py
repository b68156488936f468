"""Two calibrated views: how far matches are from a relative pose, and two poses from each other."""

import numpy as np
from jaxtyping import Float

from corr.geometry.rigid import Rigid3, rotation_angle


def essential(b_from_a: Rigid3) -> Float[np.ndarray, "3 3"]:
    """`E` with `x_b^T E x_a = 0` for normalised points of both views."""
    x, y, z = b_from_a.t
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ b_from_a.R


def normalised(
    uv: Float[np.ndarray, "n 2"], K: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "n 2"]:
    """Pixels to the plane z = 1 of a pinhole without skew."""
    return (uv - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])


def symmetric_epipolar_sq(
    xy_a: Float[np.ndarray, "n 2"], xy_b: Float[np.ndarray, "n 2"], b_from_a: Rigid3
) -> Float[np.ndarray, " n"]:
    """Sum of the squared distances to both epipolar lines, in the normalised planes.

    Source: Sun et al., LoFTR, CVPR 2021 (the error behind its matching precision).
    """
    E = essential(b_from_a)
    a, b = (np.concatenate([xy, np.ones((len(xy), 1))], -1) for xy in (xy_a, xy_b))
    line_b, line_a = a @ E.T, b @ E
    off = (b * line_b).sum(-1) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return off * (1 / (line_b[:, :2] ** 2).sum(-1) + 1 / (line_a[:, :2] ** 2).sum(-1))


def sampson_px(
    xy_a: Float[np.ndarray, "n 2"],
    xy_b: Float[np.ndarray, "n 2"],
    E: Float[np.ndarray, "3 3"],
    focal_a_px: float,
    focal_b_px: float,
) -> Float[np.ndarray, " n"]:
    """First-order distance of matches from the epipolar constraint, pixels.

    Source: Hartley and Zisserman, Multiple View Geometry, equation 11.9.
    """
    one = np.ones((len(xy_a), 1))
    a, b = np.concatenate([xy_a, one], -1), np.concatenate([xy_b, one], -1)
    line_b, line_a = a @ E.T, b @ E
    slope_b = (line_b[:, :2] ** 2).sum(-1) / focal_b_px**2
    slope_a = (line_a[:, :2] ** 2).sum(-1) / focal_a_px**2
    return np.abs((b * line_b).sum(-1)) / np.sqrt(np.maximum(slope_a + slope_b, 1e-20))


def pose_error_deg(found: Rigid3 | None, truth: Rigid3) -> tuple[float, float]:
    """Angle of the rotation error, and between the baselines (their sign is free), degrees.

    No answer is infinitely wrong.
    """
    if found is None:
        return float("inf"), float("inf")
    rotation = float(np.degrees(rotation_angle(found.R @ truth.R.T)))
    lengths = np.linalg.norm(found.t) * np.linalg.norm(truth.t)
    if lengths < 1e-12:
        return rotation, 0.0 if np.linalg.norm(truth.t) < 1e-12 else 90.0
    between = float(np.degrees(np.arccos(np.clip(found.t @ truth.t / lengths, -1.0, 1.0))))
    return rotation, min(between, 180.0 - between)
