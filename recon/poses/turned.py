"""Pairs taken from one place: a turn of the camera alone explains them, at some focal length.

With a focal length that is off, a turn looks like a flat scene seen from two places: the rays do
not line up. Whether any plausible focal length lines them up tells the two apart. (A homography of
a turn is K R K^-1: Hartley and Zisserman, 8.4.)
"""

import numpy as np
from jaxtyping import Float

SPREAD = np.geomspace(0.4, 1.8, 29)  # factors on the assumed focal length: 0.5 to 2.2 x side
AS_GOOD = 1.15  # times the median error of a homography, which has twice the free numbers


def turn_parallax_deg(
    xy_a: Float[np.ndarray, "n 2"],
    xy_b: Float[np.ndarray, "n 2"],
    focal_px: float,
    H: Float[np.ndarray, "3 3"],
) -> float | None:
    """Median angle between matched rays after the best turn at the best focal length.

    Args:
        xy_a: Undistorted points over the assumed focal length, first photo.
        xy_b: The same of the second.
        focal_px: Assumed focal length; a common factor of both photos is searched.
        H: The homography that explains the matches, of undistorted points in pixels.

    Returns:
        Degrees; None when no turn explains the matches.
    """
    best, angle_deg = np.inf, 0.0
    for factor in SPREAD:
        angle = float(np.median(_angles_after_turn(xy_a / factor, xy_b / factor)))
        if (px := angle * focal_px * factor) < best:
            best, angle_deg = px, float(np.degrees(angle))
    as_flat_px = _transfer_px(xy_a * focal_px, xy_b * focal_px, H)
    return angle_deg if best <= AS_GOOD * as_flat_px else None


def _transfer_px(
    uv_a: Float[np.ndarray, "n 2"], uv_b: Float[np.ndarray, "n 2"], H: Float[np.ndarray, "3 3"]
) -> float:
    """Median distance of the second photo's points from where H takes the first's."""
    moved = np.concatenate([uv_a, np.ones((len(uv_a), 1))], -1) @ H.T
    return float(np.median(np.linalg.norm(moved[:, :2] / moved[:, 2:] - uv_b, axis=-1)))


def _angles_after_turn(
    xy_a: Float[np.ndarray, "n 2"], xy_b: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, " n"]:
    """Angles (radians) between rays of b and the rays of a under the rotation that fits best."""
    ray_a, ray_b = _rays(xy_a), _rays(xy_b)
    U, _, Vt = np.linalg.svd(ray_b.T @ ray_a)
    R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    turned = ray_a @ R.T
    return np.arctan2(np.linalg.norm(np.cross(turned, ray_b), axis=-1), (turned * ray_b).sum(-1))


def _rays(xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    ray = np.concatenate([xy, np.ones((len(xy), 1))], -1)
    return ray / np.linalg.norm(ray, axis=-1, keepdims=True)
