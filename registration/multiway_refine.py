"""Links between scans made precise by ICP; links added where the poses say that scans overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from tqdm import tqdm

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.multiway_edges import OVERLAP_VOXELS, Rules
from registration.pose_graph import Edge, residual

BOUNDS_VOXELS = (1.5, 0.6)  # ICP's largest distance, coarse then fine
ITERATIONS = (30, 20)


@dataclass(frozen=True, eq=False)
class Surfaces:
    """The scans at half the working resolution, with normals, as Open3D holds them."""

    clouds: dict[int, Any]
    voxel: float  # the working resolution, data's unit

    @classmethod
    def of(cls, clouds: Mapping[int, PointCloud], voxel: float) -> "Surfaces":
        """From the scans as read."""
        import open3d as o3d

        found = {}
        for index, cloud in clouds.items():
            points = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.xyz))
            points = points.voxel_down_sample(voxel / 2)
            points.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(1.5 * voxel, 30))
            found[index] = points
        return cls(found, voxel)


def refined(edge: Edge, surfaces: Surfaces) -> Edge:
    """The link after point-to-plane ICP, with its overlap and information measured again.

    Robust to what only one scan saw by a Tukey kernel; where ICP leaves the starting point by more
    than its own bound, the link stays as it is.
    """
    import open3d as o3d

    registration: Any = o3d.pipelines.registration
    source, target = surfaces.clouds[edge.source], surfaces.clouds[edge.target]
    matrix = edge.target_from_source.matrix
    for bound, iterations in zip(BOUNDS_VOXELS, ITERATIONS, strict=True):
        reach = bound * surfaces.voxel
        kernel = registration.TukeyLoss(k=reach)
        matrix = registration.registration_icp(
            source, target, reach, matrix,
            registration.TransformationEstimationPointToPlane(kernel),
            registration.ICPConvergenceCriteria(max_iteration=iterations),
        ).transformation  # fmt: skip
    moved = Rigid3.from_matrix(matrix)
    middle = np.asarray(source.points).mean(0)
    shift = np.linalg.norm(moved.apply(middle) - edge.target_from_source.apply(middle))
    if shift > 2 * BOUNDS_VOXELS[0] * surfaces.voxel:
        moved = edge.target_from_source
    info = np.asarray(
        registration.get_information_matrix_from_point_clouds(
            source, target, OVERLAP_VOXELS / 2 * surfaces.voxel, moved.matrix
        )
    )
    overlap = min(1.0, float(info[5, 5]) / min(len(source.points), len(target.points)))
    return replace(edge, target_from_source=moved, overlap=overlap, info=info)


def all_refined(edges: Sequence[Edge], surfaces: Surfaces, label: str) -> list[Edge]:
    """Every link refined."""
    return [refined(e, surfaces) for e in tqdm(edges, desc=label, disable=not edges)]


def added(
    poses: Mapping[int, Rigid3], edges: Sequence[Edge], surfaces: Surfaces, rules: Rules
) -> list[Edge]:
    """Links between scans that overlap under the poses and have none yet.

    Each starts at the poses and is kept if ICP stays near them and the surfaces do overlap.
    """
    have = {frozenset(e.key) for e in edges}
    missing = [
        pair for pair in overlapping(poses, surfaces, rules.min_overlap)
        if frozenset(pair) not in have
    ]  # fmt: skip
    found = []
    for target, source in tqdm(missing, desc="further links", disable=not missing):
        start = poses[target].inverse() @ poses[source]
        edge = refined(Edge(source, target, start, rules.sure, belief=rules.sure), surfaces)
        middle = np.asarray(surfaces.clouds[source].points).mean(0)
        if edge.overlap >= rules.min_overlap / 2 and rules.closure.holds(
            residual(edge, poses, middle)
        ):
            found.append(edge)
    return found


def overlapping(
    poses: Mapping[int, Rigid3], surfaces: Surfaces, share: float
) -> list[tuple[int, int]]:
    """(target, source) of which the smaller scan has so many points within 1.5 voxels of the other.

    Measured on one point in eight.
    """
    order = sorted(poses)
    world = {n: poses[n].apply(np.asarray(surfaces.clouds[n].points)) for n in order}
    trees = {n: cKDTree(xyz) for n, xyz in world.items()}
    pairs = []
    for k, target in enumerate(order):
        for source in order[k + 1 :]:
            small, large = sorted((source, target), key=lambda n: len(world[n]))
            distance, _ = trees[large].query(
                world[small][::8], distance_upper_bound=OVERLAP_VOXELS * surfaces.voxel
            )
            if np.isfinite(distance).mean() >= share:
                pairs.append((target, source))
    return pairs
