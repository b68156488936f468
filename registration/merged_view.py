"""The merged cloud of a set of scans, and a picture of it from above."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud

SIDE_PX = 1000
GOLDEN = 0.61803


@dataclass(frozen=True, eq=False)
class MergedCloud:
    """One cloud in the world frame that remembers which scan each point is from."""

    cloud: PointCloud
    scan: Int[np.ndarray, " n"]


def merged(
    clouds: Mapping[int, PointCloud], world_from_scan: Mapping[int, Rigid3], voxel: float
) -> MergedCloud:
    """All placed scans, one point per half voxel (of the scan that came first)."""
    xyz = np.vstack([world_from_scan[n].apply(clouds[n].xyz) for n in world_from_scan])
    scan = np.concatenate([np.full(len(clouds[n]), n) for n in world_from_scan])
    colours = [clouds[n].rgb for n in world_from_scan]
    known = [c for c in colours if c is not None]
    rgb = np.vstack(known) if len(known) == len(colours) else _scan_colours(scan)
    cell = np.floor(xyz / (voxel / 2)).astype(np.int64)
    _, first = np.unique(cell, axis=0, return_index=True)
    first = np.sort(first)
    return MergedCloud(PointCloud(xyz[first], rgb=rgb[first], name="merged"), scan[first])


def _scan_colours(scan: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """A hue per scan, neighbours in the order far apart."""
    hue = 2 * np.pi * ((scan * GOLDEN) % 1.0)
    waves = [0.62 + 0.3 * np.cos(hue - shift) for shift in (0.0, 2.094, 4.189)]
    return (255 * np.stack(waves, axis=1)).astype(np.uint8)


def top_view(whole: MergedCloud, path: Path) -> None:
    """A picture along the direction in which the cloud is thinnest, each scan in its colour."""
    flat = _flattened(whole.cloud.xyz)
    low, high = np.percentile(flat[:, :2], [0.1, 99.9], axis=0)
    scale = (SIDE_PX - 20) / max(float((high - low).max()), 1e-12)
    pixel = np.round((flat[:, :2] - low) * scale).astype(int) + 10
    width, height = (np.ceil((high - low) * scale).astype(int) + 21).tolist()
    inside = ((pixel >= 0) & (pixel < [width, height])).all(1)
    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    order = np.argsort(flat[inside, 2], kind="stable")  # near ones are drawn last
    u, v = pixel[inside][order].T
    picture[height - 1 - v, u] = _scan_colours(whole.scan[inside][order])
    Image.fromarray(picture).save(path)


def _flattened(xyz: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Coordinates along the principal directions, widest first."""
    centred = xyz - np.median(xyz, axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1] * np.sign(np.linalg.det(axes[:, ::-1]))
    return centred @ axes
