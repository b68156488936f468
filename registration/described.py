"""Voxel points with FPFH, their matches, and the small refit: what the baselines are built of."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from corr.geometry.rigid import Rigid3, umeyama
from registration.cloud import PointCloud

REFIT_ROUNDS = 20


@dataclass(frozen=True, eq=False)
class DescribedCloud:
    """Voxel points with their descriptors; `Registration.matches` index `cloud`."""

    cloud: PointCloud
    features: Float[np.ndarray, "n 33"]
    voxel: float
    seconds: float


def voxelised(
    xyz: Float[np.ndarray, "n 3"], voxel: float, sensor: Float[np.ndarray, " 3"] | None
) -> Any:
    """Voxel averages with normals (2 voxels, 30 neighbours), as Open3D holds them.

    Normals face the sensor where it is known, else they keep Open3D's arbitrary signs.
    """
    import open3d as o3d

    points = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(xyz)).voxel_down_sample(voxel)
    points.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(2 * voxel, 30))
    if sensor is not None:
        points.orient_normals_towards_camera_location(sensor)
    return points


def describe(cloud: PointCloud, voxel: float, keypoints: int = 0) -> DescribedCloud:
    """Voxel average, normals, FPFH (5 voxels, 100 neighbours).

    Args:
        cloud: The scan.
        voxel: Edge of the voxels, cloud's unit.
        keypoints: Points with a descriptor that are kept, drawn at random; 0 = all.
    """
    import open3d as o3d

    start = perf_counter()
    points = voxelised(cloud.xyz, voxel, cloud.sensor)
    registration: Any = o3d.pipelines.registration  # its stubs ask for an optional argument
    near = o3d.geometry.KDTreeSearchParamHybrid(5 * voxel, 100)
    fpfh = registration.compute_fpfh_feature(points, near)
    kept = PointCloud(
        np.asarray(points.points), normals=np.asarray(points.normals),
        oriented=cloud.sensor is not None, sensor=cloud.sensor, name=cloud.name,
    )  # fmt: skip
    features = np.asarray(fpfh.data).T.copy()
    if 0 < keypoints < len(kept):
        index = np.sort(np.random.default_rng(0).choice(len(kept), keypoints, replace=False))
        kept, features = kept.taken(index), features[index]
    return DescribedCloud(kept, features, voxel, perf_counter() - start)


def feature_matches(
    source: DescribedCloud, target: DescribedCloud, *, mutual: bool
) -> Int[np.ndarray, "m 2"]:
    """Nearest target descriptor of every source point; only the mutual ones if asked."""
    import open3d as o3d

    if not len(source.cloud) or not len(target.cloud):
        return np.zeros((0, 2), np.int64)
    found = o3d.pipelines.registration.correspondences_from_features(
        o3d_feature(source), o3d_feature(target), mutual
    )
    return np.asarray(found, dtype=np.int64).reshape(-1, 2)


def refit(
    source: Float[np.ndarray, "m 3"], target: Float[np.ndarray, "m 3"], start: Rigid3, bound: float
) -> Rigid3:
    """Reweighted least squares on the matches within `bound`, weights 1 / (1 + (r / bound)^2).

    Source: the final step of SC2-PCR (Chen et al., CVPR 2022).
    """
    current, before = start, -1
    for _ in range(REFIT_ROUNDS):
        residual = np.linalg.norm(current.apply(source) - target, axis=1)
        near = residual < bound
        if near.sum() < 3 or near.sum() == before:
            break
        before = int(near.sum())
        weight = 1.0 / (1.0 + (residual[near] / bound) ** 2)
        fitted = weighted_fit(source[near], target[near], weight)
        if fitted is None:
            break
        current = fitted
    return current


def weighted_fit(
    source: Float[np.ndarray, "m 3"], target: Float[np.ndarray, "m 3"], weight: np.ndarray
) -> Rigid3 | None:
    """Weighted Kabsch; None where the points leave the rotation open."""
    share = weight / weight.sum()
    centre_s, centre_t = share @ source, share @ target
    root = np.sqrt(share)[:, None]
    U, S, Vt = np.linalg.svd(((target - centre_t) * root).T @ ((source - centre_s) * root))
    if S[1] < 1e-12 * max(S[0], 1e-300):
        return None
    R = U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))]) @ Vt
    return Rigid3(R, centre_t - R @ centre_s)


def rigid_from(matrix: np.ndarray) -> Rigid3:
    """From `[R | t]` of limited precision: the nearest rotation is taken."""
    corners = np.vstack([np.eye(3), -np.eye(3)])
    R = umeyama(corners, corners @ matrix[:3, :3].T, with_scale=False).R
    return Rigid3(R, matrix[:3, 3])


def o3d_points(described: DescribedCloud) -> Any:
    """The points as Open3D holds them."""
    import open3d as o3d

    return o3d.geometry.PointCloud(o3d.utility.Vector3dVector(described.cloud.xyz))


def o3d_feature(described: DescribedCloud) -> Any:
    """The descriptors as Open3D holds them."""
    import open3d as o3d

    feature = o3d.pipelines.registration.Feature()
    feature.data = described.features.T
    return feature
