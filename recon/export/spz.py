"""Niantic's `.spz`, version 3: a gzipped stream of planes, about ten times smaller than the PLY.

Positions are 24-bit fixed point, sizes 8-bit logarithms in steps of 1/16, opacities and colours 8
bits, quaternions the smallest three of ten bits, harmonics 8 bits. The format's frame is RUB (y up,
z towards the viewer) where a splat PLY's is taken as RDF, so y and z change their sign on the way
out and in, and a file converted to PLY by another tool is in our frame again.

Source: the description in https://github.com/nianticlabs/spz (README, format of version 3).
"""

import gzip
import logging
import math
import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from corr.geometry import Sim3
from recon.export.packing import (
    from_smallest_three,
    logits_from_bytes,
    opacity_bytes,
    smallest_three,
)
from recon.splats.gaussians import Gaussians
from recon.splats.transform import moved

log = logging.getLogger(__name__)
_HEADER = struct.Struct("<IIIBBBB")  # magic, version, splats, degree, fraction bits, flags, zero
_MAGIC, _VERSION = 0x5053474E, 3
_LARGEST_DEGREE = 3
_MOST_FRACTION_BITS = 20
_LARGEST_FIXED = 2**23 - 1
_COLOUR = 0.15  # of the constant harmonic per unit of a colour byte's range
_LOG_SCALES = (-10.0, 5.9375)  # what the byte can say
_COMPONENT = 511 * math.sqrt(2)  # a quaternion's three smaller components are under 1/sqrt(2)
_RUB_FROM_RDF = Sim3(1.0, np.diag([1.0, -1.0, -1.0]), np.zeros(3))  # its own inverse


def write_spz(path: str | Path, gaussians: Gaussians) -> None:
    """Write the splats, degree 3 at most.

    The fraction of a position has as many bits as the largest coordinate leaves: the finest grid
    that the 24 bits allow. Harmonics are stored to 8 bits in [-1, 1], not to the five and four
    bits that Niantic's own writer keeps; readers do not see a difference.

    Raises:
        ValueError: Degree over 3, or a coordinate too large for the format.
    """
    if gaussians.sh_degree > _LARGEST_DEGREE:
        raise ValueError(f"spz holds harmonics up to degree 3, got {gaussians.sh_degree}")
    g = moved(gaussians.to(torch.float32), _RUB_FROM_RDF)
    xyz = g.means.double().numpy()
    bits = _fraction_bits(xyz)
    fixed = np.rint(xyz * 2.0**bits).astype("<i4")
    scales = g.log_scales.double().numpy()
    outside = int(((scales < _LOG_SCALES[0]) | (scales > _LOG_SCALES[1])).any(axis=1).sum())
    if outside:
        log.warning("spz: %d splats are smaller or larger than it can say (e^-10 to e^6)", outside)
    planes = [
        fixed.view(np.uint8).reshape(-1, 4)[:, :3],
        opacity_bytes(g.logit_opacities),
        _byte(g.sh[:, 0].double().numpy() * (_COLOUR * 255) + 127.5),
        _byte((scales + 10) * 16),
        _packed_quaternions(g.quats_wxyz.double().numpy()),
        _byte(g.sh[:, 1:].double().numpy() * 128 + 128),
    ]
    header = _HEADER.pack(_MAGIC, _VERSION, len(g), g.sh_degree, bits, 0, 0)
    body = b"".join(np.ascontiguousarray(p).tobytes() for p in planes)
    Path(path).write_bytes(gzip.compress(header + body, compresslevel=9, mtime=0))


def read_spz(path: str | Path) -> Gaussians:
    """Read versions 2 and 3.

    Raises:
        ValueError: The file is no spz, of another version, cut off, or has vendor extensions.
    """
    try:
        data = gzip.decompress(Path(path).read_bytes())
        magic, version, n, degree, bits, flags, _ = _HEADER.unpack_from(data)
    except (OSError, EOFError, struct.error) as error:
        raise ValueError(f"{path}: not an spz file ({error})") from None
    if magic != _MAGIC or version not in (2, 3) or degree > _LARGEST_DEGREE or flags & 2:
        raise ValueError(
            f"{path}: only plain spz of version 2 or 3 and degree 0 to 3 is read, this is version "
            f"{version}, degree {degree}, flags {flags}"
        )
    rest = (degree + 1) ** 2 - 1
    widths = (9, 1, 3, 3, 4 if version == 3 else 3, 3 * rest)
    if len(data) < _HEADER.size + n * sum(widths):
        raise ValueError(f"{path}: the file ends before its {n} splats do")
    planes, at = [], _HEADER.size
    for width in widths:
        planes.append(np.frombuffer(data, np.uint8, n * width, at).reshape(n, width))
        at += n * width
    fixed = np.zeros((n, 3, 4), np.uint8)
    fixed[:, :, 1:] = planes[0].reshape(n, 3, 3)
    xyz = (fixed.view("<i4")[..., 0] >> 8) / 2.0**bits  # the shift keeps the sign
    unpack = _unpacked_quaternions if version == 3 else _first_three
    colour = (planes[2] / 255 - 0.5) / _COLOUR
    sh = np.concatenate([colour[:, None], (planes[5].reshape(n, rest, 3) - 128.0) / 128], axis=1)
    arrays = (xyz, planes[3] / 16 - 10, unpack(planes[4]))
    means, scales, quats = (torch.from_numpy(a.astype(np.float32)) for a in arrays)
    logits = logits_from_bytes(planes[1][:, 0])
    stored = Gaussians(means, scales, quats, logits, torch.from_numpy(sh.astype(np.float32)))
    return moved(stored, _RUB_FROM_RDF)


def _fraction_bits(xyz: Float[np.ndarray, "n 3"]) -> int:
    largest = float(np.abs(xyz).max(initial=0.0))
    if largest >= _LARGEST_FIXED:
        raise ValueError(f"spz holds coordinates under {_LARGEST_FIXED}, got {largest:g}")
    if largest == 0:
        return _MOST_FRACTION_BITS
    return min(_MOST_FRACTION_BITS, math.floor(math.log2(_LARGEST_FIXED / largest)))


def _byte(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _packed_quaternions(wxyz: Float[np.ndarray, "n 4"]) -> np.ndarray:
    """Two bits: which of x y z w is largest; then sign and nine bits for each of the others."""
    largest, three = smallest_three(np.roll(wxyz, -1, axis=1))
    size = np.minimum(np.rint(np.abs(three) * _COMPONENT), 511).astype(np.uint32)
    coded = size | (np.signbit(three).astype(np.uint32) << 9)
    word = (largest.astype(np.uint32) << 30) | (coded[:, 0] << 20) | (coded[:, 1] << 10)
    return (word | coded[:, 2]).astype("<u4").view(np.uint8).reshape(-1, 4)


def _unpacked_quaternions(plane: np.ndarray) -> Float[np.ndarray, "n 4"]:
    word = np.ascontiguousarray(plane).view("<u4")[:, 0]
    coded = np.stack([word >> 20, word >> 10, word], axis=1) & 1023
    three = np.where(coded & 512, -1.0, 1.0) * (coded & 511) / _COMPONENT
    return np.roll(from_smallest_three((word >> 30).astype(np.int64), three), 1, axis=1)


def _first_three(plane: np.ndarray) -> Float[np.ndarray, "n 4"]:
    """Version 2: x y z of the quaternion with w >= 0, eight bits each."""
    three = plane / 127.5 - 1
    return from_smallest_three(np.zeros(len(three), np.int64), three)
