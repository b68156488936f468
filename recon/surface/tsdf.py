"""Truncated signed distance fusion on sparse voxel blocks.

Our kernel fuses (Open3D's takes no weight per pixel); Open3D's VoxelBlockGrid holds the blocks and
runs marching cubes. Everything inside works in voxel units around the middle of the box, so that
float32 is enough wherever the world's origin is.

Source: Curless and Levoy, SIGGRAPH 1996 (weighted signed distances, space carving); Niessner et
al., SIGGRAPH Asia 2013 (hashed blocks).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from recon.surface.depth_maps import DepthMap, pixel_points

_BLOCK = 8  # voxels along a block's edge
_BYTES_PER_BLOCK = _BLOCK**3 * 8  # distance and weight, float32 each
_MIN_WEIGHT = 1e-6


@dataclass(frozen=True, eq=False)
class Box:
    """An axis-aligned box in the world."""

    low: Float[np.ndarray, " 3"]
    high: Float[np.ndarray, " 3"]

    @classmethod
    def around(
        cls, xyz: Float[np.ndarray, "n 3"], *, percentile: float = 0.0, margin: float = 0.0
    ) -> "Box":
        """Box of the points without `percentile` % at either end per axis, grown by a share."""
        low, high = np.percentile(xyz, [percentile, 100.0 - percentile], axis=0)
        return cls(low - margin * (high - low), high + margin * (high - low))

    @property
    def diagonal(self) -> float:
        """Length of the space diagonal."""
        return float(np.linalg.norm(self.high - self.low))

    def contains(self, xyz: Float[np.ndarray, "n 3"]) -> np.ndarray:
        """Per point: inside?"""
        return np.all((xyz >= self.low) & (xyz <= self.high), axis=1)


def pixel_footprint(maps: Sequence[DepthMap]) -> float:
    """Median side of a depth pixel on a surface facing the camera, scene units."""
    sizes = [
        (m.depth[m.depth > 0] / np.sqrt(m.view.camera.K[0, 0] * m.view.camera.K[1, 1]))[::7]
        for m in maps
    ]
    return float(np.median(np.concatenate(sizes)))


def touched_blocks(
    maps: Sequence[DepthMap], *, voxel: float, truncation: float, box: Box
) -> np.ndarray:
    """Indices (n 3, int32) of the blocks within the truncation band of any accepted pixel."""
    origin = 0.5 * (box.low + box.high)
    edge = _BLOCK * voxel
    steps = int(np.ceil(2 * truncation / (0.5 * edge))) + 1
    keys = []
    for depth_map in maps:
        focal = depth_map.view.camera.K[0, 0]
        near = depth_map.depth[depth_map.depth > 0]
        if len(near) == 0:
            continue
        stride = max(1, int(0.35 * edge * focal / np.percentile(near, 90)))
        points, rays = pixel_points(depth_map, stride)
        keep = box.contains(points)
        points, rays = points[keep] - origin, rays[keep]
        found = [
            np.floor((points + s * rays) / edge).astype(np.int32)
            for s in np.linspace(-truncation, truncation, steps)
        ]
        keys.append(np.unique(_pack(np.concatenate(found))))
    if not keys:
        return np.zeros((0, 3), np.int32)
    return _unpack(np.unique(np.concatenate(keys)))


def _pack(index: np.ndarray) -> np.ndarray:
    shifted = index.astype(np.int64) + (1 << 20)
    return (shifted[:, 0] << 42) | (shifted[:, 1] << 21) | shifted[:, 2]


def _unpack(key: np.ndarray) -> np.ndarray:
    mask = (1 << 21) - 1
    parts = [(key >> 42) & mask, (key >> 21) & mask, key & mask]
    return (np.stack(parts, axis=1) - (1 << 20)).astype(np.int32)


def fitting_blocks(
    maps: Sequence[DepthMap],
    *,
    voxel: float,
    truncation_voxels: float,
    min_truncation: float,
    box: Box,
    memory_mb: float,
) -> tuple[np.ndarray, float, float]:
    """Blocks, voxel and truncation: the given voxel, or the smallest coarser one within memory."""
    while True:
        truncation = max(truncation_voxels * voxel, min_truncation)
        blocks = touched_blocks(maps, voxel=voxel, truncation=truncation, box=box)
        need = len(blocks) * _BYTES_PER_BLOCK / 2**20
        if need <= memory_mb:
            return blocks, voxel, truncation
        voxel *= max(1.1, min(2.0, float(np.sqrt(need / memory_mb))))


def fuse(
    maps: Sequence[DepthMap],
    *,
    blocks: np.ndarray,
    voxel: float,
    truncation: float,
    behind: float,
    box: Box,
) -> tuple[np.ndarray, np.ndarray]:
    """The zero surface of the fused signed distance, inside what any view observed.

    A pixel pulls voxels within the truncation of its depth, and empties those in front (space
    carving); what lies farther behind stays unknown, and no surface is made next to unknown.

    Distances are to the pixel's tangent plane, not along the ray: else slanted views would claim
    more than facing ones. In front of a surface a ray was free, behind it nothing is known: that
    evidence fades to nothing within `behind`. Without the fading, views of the one side of an edge
    fill space that views of its other side saw empty, and edges and thin parts grow.

    Args:
        maps: Accepted depth with weights.
        blocks: From `touched_blocks` with the same voxel and box.
        voxel: Edge, scene units.
        truncation: Half width of the band, scene units.
        behind: How far behind a pixel it still says inside, at most the truncation, scene units.
        box: Where the surface is wanted.

    Returns:
        vertices (n 3, world) and triangles (m 3, int32), counter-clockwise seen from free space.
    """
    import open3d.core as o3c
    from open3d.t.geometry import VoxelBlockGrid

    from recon.surface.kernels import integrate

    if len(blocks) == 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    grid = VoxelBlockGrid(
        ("tsdf", "weight"),
        (o3c.float32, o3c.float32),
        (o3c.SizeVector([1]), o3c.SizeVector([1])),
        1.0,
        _BLOCK,
        len(blocks),
    )
    slots, _ = grid.hashmap().activate(o3c.Tensor.from_numpy(np.ascontiguousarray(blocks)))
    slot = slots.numpy().astype(np.int64)
    flat = o3c.SizeVector([-1])
    distance = grid.attribute("tsdf").reshape(flat).numpy()
    weight = grid.attribute("weight").reshape(flat).numpy()
    distance[:] = 0
    weight[:] = 0
    origin = 0.5 * (box.low + box.high)
    for m in maps:
        pose = m.view.cam_from_world
        t = (pose.R @ origin + pose.t) / voxel
        depth = (m.depth / voxel).astype(np.float32)
        R = np.ascontiguousarray(pose.R)
        integrate(
            blocks,
            slot,
            distance,
            weight,
            R,
            t,
            m.view.camera.K,
            depth,
            m.slant,
            m.weight,
            truncation / voxel,
            behind / voxel,
        )
    mesh = grid.extract_triangle_mesh(_MIN_WEIGHT)
    if mesh.is_empty():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    vertices = mesh.vertex.positions.numpy().astype(np.float64) * voxel + origin
    return vertices, mesh.triangle.indices.numpy().astype(np.int32)
