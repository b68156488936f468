"""Coloured point clouds as PLY: `x y z` float32, `red green blue` bytes."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8


def write_points(
    path: str | Path, xyz: Float[np.ndarray, "n 3"], rgb: UInt8[np.ndarray, "n 3"] | None = None
) -> None:
    """Write points as a binary little-endian PLY; grey when no colours are given."""
    from plyfile import PlyData, PlyElement

    table = np.empty(
        len(xyz),
        dtype=[(axis, "<f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")],
    )
    for i, axis in enumerate("xyz"):
        table[axis] = xyz[:, i]
    for i, channel in enumerate(("red", "green", "blue")):
        table[channel] = 128 if rgb is None else rgb[:, i]
    PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(path))


def read_points(
    path: str | Path,
) -> tuple[Float[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"] | None]:
    """Points (float64) and colours (None where the file has none) of any PLY with vertices."""
    from plyfile import PlyData

    vertex = PlyData.read(str(path))["vertex"].data
    xyz = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
    if not {"red", "green", "blue"} <= set(vertex.dtype.names):
        return xyz, None
    rgb = np.stack([vertex[c] for c in ("red", "green", "blue")], axis=1)
    return xyz, rgb.astype(np.uint8)
