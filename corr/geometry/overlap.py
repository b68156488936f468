"""How much of one photo another one sees, judged from the cameras alone."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from corr.geometry.camera import Camera
from corr.geometry.rigid import Rigid3

GRID = 12  # places per side of a photo
DEPTHS = (0.7, 1.0, 1.4)  # of the distance to the point that all cameras look at


def shared_view(
    cameras: Sequence[Camera], cam_from_world: Sequence[Rigid3]
) -> Float[np.ndarray, "n n"]:
    """Share of the places of photo i, at likely depths, that lie inside of photo j.

    Likely is around each camera's distance to the point that is closest to all optical axes (in
    front of the cameras; the median distance between centres where there is no such point).
    """
    centres = np.stack([p.centre for p in cam_from_world])
    axes = np.stack([p.R[2] for p in cam_from_world])
    target = _meeting_point(centres, axes)
    depths = ((target - centres) * axes).sum(-1)
    between = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    fallback = max(float(np.median(between[between > 0])) if (between > 0).any() else 1.0, 1e-9)
    depths = np.where(depths > 0.1 * fallback, depths, 2.0 * fallback)
    shares = np.zeros((len(cameras), len(cameras)))
    for i, (camera, pose) in enumerate(zip(cameras, cam_from_world, strict=True)):
        places = (np.indices((GRID, GRID)).reshape(2, -1).T + 0.5) / GRID
        uv = np.tile(places * [camera.width, camera.height], (len(DEPTHS), 1))
        depth = np.repeat(np.array(DEPTHS) * depths[i], GRID**2)
        xyz = pose.inverse().apply(camera.unproject(uv, depth))
        for j, (other, other_pose) in enumerate(zip(cameras, cam_from_world, strict=True)):
            seen, z = other.project(other_pose.apply(xyz))
            inside = (seen >= 0).all(-1) & (seen <= [other.width, other.height]).all(-1) & (z > 0)
            facing = axes[i] @ axes[j] > 0  # else the two look at the scene from opposite sides
            shares[i, j] = inside.mean() * facing
    return shares


def _meeting_point(
    centres: Float[np.ndarray, "n 3"], axes: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, " 3"]:
    """The point with least squared distance to all optical axes."""
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    right = (across @ centres[:, :, None]).sum(0)[:, 0]
    return np.linalg.lstsq(across.sum(0), right, rcond=None)[0]
