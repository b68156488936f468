"""Spend a budget of splats where they are needed: detail first, then holes, nothing twice."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from recon.dense.fusion import DensePoints
from recon.dense.stereo import DepthMap
from recon.scene import Reconstruction

DETAIL_FLOOR = 0.03  # grey gradient per pixel that a flat area counts as


def pick(
    points: DensePoints, budget: int, rng: np.random.Generator
) -> Int[np.ndarray, " k"]:
    """Indices of at most `budget` points: dense where the picture has detail, sparse where flat.

    Weighted sampling without replacement (Efraimidis & Spirakis, 2006: the largest u^(1/w)).
    """
    if len(points) <= budget:
        return np.arange(len(points))
    weight = points.detail + DETAIL_FLOOR
    key = np.log(rng.random(len(points))) / weight
    return np.sort(np.argpartition(-key, budget)[:budget])


def uncovered(
    points_xyz: Float[np.ndarray, "n 3"], depth_map: DepthMap, radius_px: int
) -> Bool[np.ndarray, "h w"]:
    """Map pixels farther than `radius_px` from the projection of every point."""
    import cv2

    uv, z = depth_map.camera.project(depth_map.view.cam_from_world.apply(points_xyz))
    h, w = depth_map.depth.shape
    inside = (z > 0) & (uv >= 0).all(1) & (uv[:, 0] < w) & (uv[:, 1] < h)
    hit = np.zeros((h, w), np.uint8)
    at = uv[inside].astype(int)
    hit[at[:, 1], at[:, 0]] = 1
    size = 2 * radius_px + 1
    return cv2.dilate(hit, np.ones((size, size), np.uint8)) == 0


def fill_holes(
    covered_xyz: Float[np.ndarray, "n 3"],
    maps: Sequence[DepthMap],
    *,
    max_cost: float,
    stride_px: int,
    masks: dict[str, np.ndarray],
) -> tuple[Float32[np.ndarray, "m 3"], Float32[np.ndarray, " m"], Float32[np.ndarray, "m 3"]]:
    """Coarse points where no fused point lies: position, size (world) and normal.

    Depth is the map's own where its patch matched, else that of the nearest pixel that did. Maps
    are visited in order and see what earlier ones filled. These points are guesses: the caller
    gives them a low opacity and the optimiser prunes the wrong ones.
    """
    from scipy.ndimage import distance_transform_edt

    all_xyz = [covered_xyz]
    sizes, normals = [], []
    for m in maps:
        hole = uncovered(np.concatenate(all_xyz), m, radius_px=stride_px)
        if m.view.name in masks:
            import cv2

            mask = masks[m.view.name].astype(np.uint8)
            hole &= cv2.resize(mask, hole.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        trusted = m.cost < max_cost
        if not trusted.any():
            continue
        _, (rows, cols) = distance_transform_edt(~trusted, return_indices=True)
        depth = m.depth[rows, cols]
        grid = np.zeros_like(hole)
        grid[stride_px // 2 :: stride_px, stride_px // 2 :: stride_px] = True
        row, col = np.nonzero(hole & grid)
        z = depth[row, col].astype(np.float64)
        uv = np.stack([col + 0.5, row + 0.5], -1)
        world_from_cam = m.view.cam_from_world.inverse()
        all_xyz.append(world_from_cam.apply(m.camera.unproject(uv, z)))
        sizes.append(z / m.camera.K[0, 0] * stride_px)
        normals.append(m.normal[rows, cols][row, col] @ m.view.cam_from_world.R)
    if not sizes:
        return np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros((0, 3), np.float32)
    return (
        np.concatenate(all_xyz[1:]).astype(np.float32),
        np.concatenate(sizes).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
    )


def lonely_tracks(
    reconstruction: Reconstruction, points_xyz: Float32[np.ndarray, "n 3"], distance: float
) -> Int[np.ndarray, " k"]:
    """Sparse points that no dense point lies near: what dense matching missed."""
    from scipy.spatial import cKDTree

    if not len(points_xyz):
        return np.arange(len(reconstruction.xyz_world))
    nearest, _ = cKDTree(points_xyz).query(reconstruction.xyz_world)
    return np.flatnonzero(nearest > distance)


def spacing(xyz: Float32[np.ndarray, "n 3"], neighbours: int = 4) -> Float32[np.ndarray, " n"]:
    """Mean distance to the nearest neighbours: the size a splat needs to close the surface."""
    from scipy.spatial import cKDTree

    count = min(neighbours, len(xyz) - 1)
    if count < 1:
        return np.full(len(xyz), 1e-2, np.float32)
    distance, _ = cKDTree(xyz).query(xyz, k=count + 1, workers=-1)
    return distance[:, 1:].mean(1).astype(np.float32)
