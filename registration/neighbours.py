"""Neighbours within a radius: one brute-force search shared by everything that needs them."""

import numpy as np
from jaxtyping import Float, Int
from numba import njit, prange


def within_radius(
    xyz: Float[np.ndarray, "n 3"], radius: float
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " e"], Float[np.ndarray, " e"]]:
    """Neighbours of every point, itself left out, as a packed table.

    Meant for the few thousand points of a voxelised cloud, where comparing all with all is faster
    than any tree; memory is that of the answer.

    Returns:
        `start` (n + 1): the neighbours of point i are entries start[i] to start[i + 1], by
        ascending index; their indices; their distances (float32, unit of xyz).
    """
    points = np.ascontiguousarray(xyz - xyz.mean(0) if len(xyz) else xyz, dtype=np.float32)
    start = np.zeros(len(points) + 1, np.int64)
    np.cumsum(_count(points, np.float32(radius * radius)), out=start[1:])
    index, distance = _fill(points, np.float32(radius * radius), start)
    return start, index, distance


@njit(parallel=True, cache=True)
def _count(points, limit):
    counts = np.zeros(len(points), np.int64)
    for i in prange(len(points)):
        found = 0
        for j in range(len(points)):
            dx = points[i, 0] - points[j, 0]
            dy = points[i, 1] - points[j, 1]
            dz = points[i, 2] - points[j, 2]
            found += dx * dx + dy * dy + dz * dz <= limit
        counts[i] = found - 1
    return counts


@njit(parallel=True, cache=True)
def _fill(points, limit, start):
    index = np.empty(start[-1], np.int32)
    distance = np.empty(start[-1], np.float32)
    for i in prange(len(points)):
        at = start[i]
        for j in range(len(points)):
            dx = points[i, 0] - points[j, 0]
            dy = points[i, 1] - points[j, 1]
            dz = points[i, 2] - points[j, 2]
            square = dx * dx + dy * dy + dz * dz
            if square <= limit and j != i:
                index[at] = j
                distance[at] = np.sqrt(square)
                at += 1
    return index, distance
