"""Does an alignment fit the clouds themselves? Overlap, normals and free space."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

AZIMUTHS, ELEVATIONS = 240, 120  # cells of a range image, 1.5 degrees each


@dataclass(frozen=True, eq=False)
class RangeImage:
    """Nearest surface in every direction from where a scan was taken; inf = nothing seen."""

    sensor: Float[np.ndarray, " 3"]
    range: Float[np.ndarray, "elevations azimuths"]

    @classmethod
    def of(cls, xyz: Float[np.ndarray, "n 3"], sensor: Float[np.ndarray, " 3"]) -> "RangeImage":
        """From a scan's points and its sensor's place; cells next to points count as seen."""
        row, column, distance = _cells(xyz - sensor)
        image = np.full((ELEVATIONS, AZIMUTHS), np.inf)
        np.minimum.at(image, (row, column), distance)
        return cls(sensor, _nearest_around(image))

    def in_front(self, xyz: Float[np.ndarray, "n 3"], margin: float) -> np.ndarray:
        """Points that hide, from the sensor, a surface which it saw more than `margin` behind."""
        row, column, distance = _cells(xyz - self.sensor)
        seen = self.range[row, column]
        return np.isfinite(seen) & (distance < seen - margin)


def _cells(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-12)
    elevation = np.arccos(np.clip(offset[:, 2] / distance, -1, 1)) / np.pi
    azimuth = np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi) + 0.5
    row = np.minimum((elevation * ELEVATIONS).astype(np.int64), ELEVATIONS - 1)
    column = np.minimum((azimuth * AZIMUTHS).astype(np.int64), AZIMUTHS - 1)
    return row, column, distance


def _nearest_around(image: np.ndarray) -> np.ndarray:
    """Minimum over each cell and its eight neighbours; azimuth wraps."""
    rows = np.pad(image, ((1, 1), (0, 0)), constant_values=np.inf)
    best = np.minimum(np.minimum(rows[:-2], rows[1:-1]), rows[2:])
    return np.minimum(np.minimum(np.roll(best, 1, 1), best), np.roll(best, -1, 1))


@dataclass(frozen=True, eq=False)
class Surface:
    """A prepared cloud as something that others can be held against."""

    xyz: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    oriented: bool
    tree: cKDTree
    range_image: RangeImage | None


@dataclass(frozen=True)
class Fit:
    """How well a source lies on a target. Shares are of the source's sampled points."""

    overlap: float  # on the target's surface, normals agreeing, weighted by closeness
    contradicted: float  # near the target's surface, but with another normal
    violations: float  # in front of what the target's sensor saw, or the other way round


def surface_fit(
    source: Surface,
    target: Surface,
    R: Float[np.ndarray, "3 3"],
    t: Float[np.ndarray, " 3"],
    *,
    near: float,
    sample: int = 800,
) -> Fit:
    """Compare an aligned source with its target.

    Args:
        source: The cloud that moves.
        target: The cloud that stays.
        R: Rotation of `target_from_source`.
        t: Translation of `target_from_source`.
        near: Distance within which points lie on a surface, unit of the clouds.
        sample: Points of each cloud that are looked at, evenly spaced by index.
    """
    pick = np.linspace(0, len(source.xyz) - 1, min(sample, len(source.xyz))).astype(np.int64)
    moved = source.xyz[pick] @ R.T + t
    distance, index = target.tree.query(moved, distance_upper_bound=near)
    hit = np.flatnonzero(np.isfinite(distance))
    cosine = np.einsum("ni,ni->n", source.normals[pick[hit]] @ R.T, target.normals[index[hit]])
    if not (source.oriented and target.oriented):
        cosine = np.abs(cosine)
    agree = cosine > 0.7
    weight = 1 - (distance[hit] / near) ** 2
    share = float((weight * agree).sum() / len(pick))
    against = float((~agree).sum() / len(pick))
    return Fit(share, against, _violations(source, target, R, t, moved, 2 * near, sample))


def _violations(source, target, R, t, moved, margin: float, sample: int) -> float:
    shares = []
    if target.range_image is not None:
        shares.append(target.range_image.in_front(moved, margin).mean())
    if source.range_image is not None:
        pick = np.linspace(0, len(target.xyz) - 1, min(sample, len(target.xyz))).astype(np.int64)
        back = (target.xyz[pick] - t) @ R
        shares.append(source.range_image.in_front(back, margin).mean())
    return float(np.mean(shares)) if shares else 0.0
