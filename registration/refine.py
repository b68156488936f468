"""Local refinement of an alignment on the clouds, with its uncertainty."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from registration.prepare import Prepared
from registration.verify import Surface

REACH = 1.5  # voxels within which points pair up
ITERATIONS = 20


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What the overlap fixes, from the point-to-plane normal equations at the answer."""

    information: Float[np.ndarray, "6 6"]  # (rotation about the centre, translation), unweighted
    centre: Float[np.ndarray, " 3"]  # of the overlap, target frame
    arm: float  # root mean square distance of the overlap from its centre
    rmse: float  # of the point-to-plane distances
    pairs: int


def gicp(
    source: Prepared, target: Prepared, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, " 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Generalised ICP from a start; the start comes back where it would be left far behind.

    Source: Segal et al., RSS 2009, in small_gicp's implementation, one thread: the same bits on
    any machine load.
    """
    import small_gicp

    start = np.eye(4)
    start[:3, :3], start[:3, 3] = R, t
    cloud, tree = target.gicp
    found = small_gicp.align(
        cloud, source.gicp[0], tree, start,
        registration_type="GICP",
        max_correspondence_distance=REACH * target.voxel,
        max_iterations=ITERATIONS,
        num_threads=1,
    ).T_target_source  # fmt: skip
    moved = source.surface.xyz @ (found[:3, :3] - R).T + found[:3, 3] - t
    if not np.isfinite(found).all() or np.linalg.norm(moved, axis=1).mean() > 4 * target.voxel:
        return R, t
    U, _, Vt = np.linalg.svd(found[:3, :3])
    return U @ Vt, found[:3, 3]


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
    arm = float(np.sqrt(((points - centre) ** 2).sum(1).mean()))
    return Uncertainty(rows.T @ rows, centre, arm, float(np.sqrt((residual**2).mean())), len(hit))
