"""Local refinement of an alignment on the clouds, with its uncertainty."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from registration.prepare import Prepared
from registration.verify import Surface

REACH = 1.5  # voxels within which points pair up
ITERATIONS = 20
STILL_RAD, STILL_VOXELS = np.radians(0.02), 0.004  # steps so small end it
FEWEST = 30  # pairs that a scale is estimated from
NORMAL_NOISE = (0.05, 0.07)  # rad, bounds of what estimated normals are off by
FINEST = 1 / 30  # of the reach: no surface is known better, however well two copies of it fit


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What the overlap fixes, from the point-to-plane normal equations at the answer."""

    information: Float[np.ndarray, "6 6"]  # (rotation about the centre, translation), unweighted
    centre: Float[np.ndarray, " 3"]  # of the overlap, target frame
    arm: float  # root mean square distance of the overlap from its centre
    rmse: float  # of the point-to-plane distances
    noise: float  # the same, but no less than what voxels can tell
    normal_noise: float  # rad, of the estimated normals
    pairs: int


def gicp(
    source: Prepared, target: Prepared, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, " 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Generalised ICP from a start; the start comes back where it would be left far behind.

    Source: Segal et al., RSS 2009, in small_gicp's implementation, one thread: the same bits on
    any machine load; in voxels, so that no unit is special.
    """
    import small_gicp

    start = np.eye(4)
    start[:3, :3], start[:3, 3] = R, t / target.voxel
    cloud, tree = target.gicp
    found = small_gicp.align(
        cloud, source.gicp[0], tree, start,
        registration_type="GICP",
        max_correspondence_distance=REACH,
        max_iterations=ITERATIONS,
        rotation_epsilon=STILL_RAD,
        translation_epsilon=STILL_VOXELS,
        num_threads=1,
    ).T_target_source  # fmt: skip
    t_found = target.voxel * found[:3, 3]
    moved = source.surface.xyz @ (found[:3, :3] - R).T + t_found - t
    if not np.isfinite(found).all() or np.linalg.norm(moved, axis=1).mean() > 4 * target.voxel:
        return R, t
    U, _, Vt = np.linalg.svd(found[:3, :3])
    return U @ Vt, t_found


def similarity_icp(
    source: Surface, target: Surface, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, " 3"],
    voxel: float,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"], float]:  # fmt: skip
    """Point-to-plane ICP with a seventh unknown, the scale; biweights within `REACH` voxels.

    Returns:
        R, t and scale of `target = scale * R @ source + t`.
    """
    from scipy.spatial.transform import Rotation

    scale, source_xyz, target_xyz, t = 1.0, source.xyz / voxel, target.xyz / voxel, t / voxel
    for _ in range(ITERATIONS):
        moved = scale * (source_xyz @ R.T) + t
        distance, index = target.tree.query(voxel * moved, distance_upper_bound=REACH * voxel)
        hit = np.flatnonzero(np.isfinite(distance))
        if len(hit) < FEWEST:
            break
        points, normals = moved[hit], target.normals[index[hit]]
        centre = points.mean(0)
        arms = points - centre
        rows = np.hstack(
            [np.cross(arms, normals), normals, np.einsum("ni,ni->n", arms, normals)[:, None]]
        )
        error = np.einsum("ni,ni->n", target_xyz[index[hit]] - points, normals)
        weight = (1 - (distance[hit] / (REACH * voxel)) ** 2) ** 2
        normal_matrix = rows.T @ (weight[:, None] * rows)
        damped = normal_matrix + 1e-6 * np.diag(np.diag(normal_matrix)) + 1e-12 * np.eye(7)
        step = np.linalg.solve(damped, rows.T @ (weight * error))
        turn, grow = Rotation.from_rotvec(step[:3]).as_matrix(), 1 + float(step[6])
        if not 0.8 < grow < 1.25:
            break
        R, scale = turn @ R, grow * scale
        t = grow * (turn @ (t - centre)) + centre + step[3:6]
        if np.abs(step).max() < 1e-7:
            break
    return R, voxel * t, scale


def uncertainty(
    source: Surface, target: Surface, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, " 3"],
    *, near: float,
) -> Uncertainty | None:  # fmt: skip
    """Information that the overlap holds about the six motions; None without an overlap."""
    moved = source.xyz @ R.T + t
    distance, index = target.tree.query(moved, distance_upper_bound=near)
    hit = np.flatnonzero(np.isfinite(distance))
    if len(hit) < 6:
        return None
    points, normals = moved[hit], target.normals[index[hit]]
    centre = points.mean(0)
    rows = np.hstack([np.cross(points - centre, normals), normals])
    residual = np.einsum("ni,ni->n", points - target.xyz[index[hit]], normals)
    rmse = float(np.sqrt((residual**2).mean()))
    arm = float(np.sqrt(((points - centre) ** 2).sum(1).mean()))
    noise = max(rmse, FINEST * near)
    turned = float(np.clip(1.5 * noise / near, *NORMAL_NOISE))
    return Uncertainty(rows.T @ rows, centre, arm, rmse, noise, turned, len(hit))
