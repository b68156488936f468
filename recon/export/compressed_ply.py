"""PlayCanvas' compressed PLY: chunks of 256 neighbouring splats with 16 bytes for each.

Positions and sizes are 11, 10 and 11 bits between the chunk's least and greatest, colours 8 bits
likewise, quaternions the smallest three of ten bits, harmonics one byte in [-4, 4].

Source: the format as documented by PlayCanvas (developer.playcanvas.com, compressed PLY) and as
its reader decodes it.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from recon.export.packing import (
    from_smallest_three,
    logits_from_bytes,
    opacity_bytes,
    smallest_three,
)
from recon.splats.gaussians import SH_C0, Gaussians

_CHUNK = 256
_LARGEST_DEGREE = 3
_RANGES = ("", "scale_", "")  # of positions, sizes, colours
_AXES = ("xyz", "xyz", "rgb")
_WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_MOST_LOG_SCALE = 20.0


def write_compressed_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Write the splats, in Morton order so that a chunk's splats lie together.

    Raises:
        ValueError: Degree over 3.
    """
    from plyfile import PlyData, PlyElement

    if gaussians.sh_degree > _LARGEST_DEGREE:
        raise ValueError(f"compressed PLY holds degree 3 at most, got {gaussians.sh_degree}")
    g = gaussians.detached().to("cpu").to(torch.float32)
    g = g.select(torch.from_numpy(_morton_order(g.means.double().numpy())))
    scales = g.log_scales.clamp(-_MOST_LOG_SCALE, _MOST_LOG_SCALE).numpy()
    colours = 0.5 + SH_C0 * g.sh[:, 0].numpy()
    units, chunk = [], np.zeros((-(-len(g) // _CHUNK), 0), np.float32)
    for values in (g.means.numpy(), scales, colours):
        low, high = _ranges(values)
        chunk = np.concatenate([chunk, low, high], axis=1)
        units.append(_between(values, low, high))
    words = np.empty(len(g), dtype=[(name, "<u4") for name in _WORDS])
    words["packed_position"] = _join(units[0], (11, 10, 11))
    words["packed_rotation"] = _pack_quaternions(g.quats_wxyz.double().numpy())
    words["packed_scale"] = _join(units[1], (11, 10, 11))
    words["packed_color"] = (_join(units[2], (8, 8, 8)) << 8) | opacity_bytes(g.logit_opacities)
    names = [n for pair in zip(_RANGES, _AXES, strict=True) for n in _range_names(*pair)]
    elements = [PlyElement.describe(_table(chunk, names, "<f4"), "chunk"),
                PlyElement.describe(words, "vertex")]  # fmt: skip
    if g.sh_degree:
        rest = g.sh[:, 1:].transpose(1, 2).reshape(len(g), -1).numpy()
        coded = np.clip(np.floor((rest / 8 + 0.5) * 256), 0, 255).astype(np.uint8)
        names = [f"f_rest_{i}" for i in range(coded.shape[1])]
        elements.append(PlyElement.describe(_table(coded, names, "u1"), "sh"))
    PlyData(elements, byte_order="<").write(str(path))


def read_compressed_ply(path: str | Path) -> Gaussians:
    """Read a compressed PLY, with or without colour ranges and harmonics.

    Raises:
        ValueError: The file lacks an element or property of the layout.
    """
    from plyfile import PlyData

    data = PlyData.read(str(path))
    if "chunk" not in data or not set(_WORDS) <= set(data["vertex"].data.dtype.names):
        raise ValueError(f"{path}: not a compressed splat PLY, it lacks chunks or packed words")
    chunk, words = data["chunk"].data, data["vertex"].data
    if len(chunk) * _CHUNK < len(words):
        raise ValueError(f"{path}: {len(chunk)} chunks are too few for {len(words)} splats")
    row = np.arange(len(words)) // _CHUNK

    def stretched(units: np.ndarray, stem: str, axes: str) -> np.ndarray:
        names = _range_names(stem, axes)
        if names[0] not in chunk.dtype.names:
            return units  # files before SuperSplat 2 have no colour ranges
        low, high = (np.stack([chunk[n][row] for n in part], axis=1)
                     for part in (names[:3], names[3:]))  # fmt: skip
        return low + (high - low) * units

    xyz = stretched(_split(words["packed_position"], (11, 10, 11)), _RANGES[0], _AXES[0])
    scales = stretched(_split(words["packed_scale"], (11, 10, 11)), _RANGES[1], _AXES[1])
    rgb = stretched(_split(words["packed_color"] >> 8, (8, 8, 8)), _RANGES[2], _AXES[2])
    sh = [((rgb - 0.5) / SH_C0)[:, None]]
    if "sh" in data:
        table = data["sh"].data
        rest = np.stack([table[f"f_rest_{i}"] for i in range(len(table.dtype.names))], axis=1)
        unit = np.where(rest == 0, 0, np.where(rest == 255, 1, (rest + 0.5) / 256))
        sh.append((8 * unit - 4).reshape(len(words), 3, -1).transpose(0, 2, 1))
    arrays = (xyz, scales, _unpack_quaternions(words["packed_rotation"]), np.concatenate(sh, 1))
    means, log_scales, quats, harmonics = (torch.from_numpy(a.astype(np.float32)) for a in arrays)
    logits = logits_from_bytes(words["packed_color"] & 255)
    return Gaussians(means, log_scales, quats, logits, harmonics.contiguous())


def _range_names(stem: str, axes: str) -> list[str]:
    return [f"{end}_{stem}{axis}" for end in ("min", "max") for axis in axes]


def _table(columns: np.ndarray, names: list[str], kind: str) -> np.ndarray:
    packed = np.ascontiguousarray(columns, dtype=kind)
    return packed.view([(name, kind) for name in names])[:, 0]


def _morton_order(xyz: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " n"]:
    """Order along a space-filling curve of 2^10 cells a side."""
    if not len(xyz):
        return np.zeros(0, np.int64)
    low, size = xyz.min(axis=0), np.maximum(np.ptp(xyz, axis=0), 1e-30)
    cell = np.minimum((xyz - low) / size * 1024, 1023).astype(np.int64)
    code = np.zeros(len(xyz), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")


def _ranges(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest of every chunk."""
    starts = np.arange(0, len(values), _CHUNK)
    if not len(starts):
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
    return np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)


def _between(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    row = np.arange(len(values)) // _CHUNK
    width = (high - low)[row].astype(np.float64)
    return np.where(width > 0, (values - low[row]) / np.where(width > 0, width, 1), 0)


def _join(units: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Numbers in [0, 1] rounded to so many bits, the first one highest."""
    word = np.zeros(len(units), np.uint32)
    for column, count in zip(units.T, bits, strict=True):
        largest = 2**count - 1
        rounded = np.clip(np.floor(column * largest + 0.5), 0, largest)
        word = (word << np.uint32(count)) | rounded.astype(np.uint32)
    return word


def _split(word: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    columns, shift = [], 0
    for count in reversed(bits):
        columns.append(((word >> shift) & (2**count - 1)) / (2**count - 1))
        shift += count
    return np.stack(columns[::-1], axis=1)


def _pack_quaternions(wxyz: Float[np.ndarray, "n 4"]) -> np.ndarray:
    largest, three = smallest_three(wxyz)
    return _join(three * np.sqrt(0.5) + 0.5, (10, 10, 10)) | (largest.astype(np.uint32) << 30)


def _unpack_quaternions(word: np.ndarray) -> Float[np.ndarray, "n 4"]:
    three = (_split(word, (10, 10, 10)) - 0.5) * np.sqrt(2)
    return from_smallest_three((word >> 30).astype(np.int64), three)
