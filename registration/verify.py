"""Does an alignment fit the clouds themselves? Overlap, normals and free space."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

EDGE = 60  # cells along an edge of a cube face, 1.5 degrees each


@dataclass(frozen=True, eq=False)
class RangeImage:
    """Nearest surface in every direction from where a scan was taken; inf = nothing seen.

    Directions are those of a cube's faces, cells of equal angle: no direction is special.
    """

    sensor: Float[np.ndarray, " 3"]
    range: Float[np.ndarray, "6 edge edge"]

    @classmethod
    def of(cls, xyz: Float[np.ndarray, "n 3"], sensor: Float[np.ndarray, " 3"]) -> "RangeImage":
        """From a scan's points and its sensor's place; cells next to points count as seen."""
        distance, face, row, column = _cells(xyz - sensor)
        image = np.full((6, EDGE + 2, EDGE + 2), np.inf)
        for down in (0, 1, 2):
            for right in (0, 1, 2):
                np.minimum.at(image, (face, row + down, column + right), distance)
        return cls(sensor, image[:, 1:-1, 1:-1])

    def in_front(self, xyz: Float[np.ndarray, "n 3"], margin: float) -> np.ndarray:
        """Points that hide, from the sensor, a surface which it saw more than `margin` behind."""
        distance, face, row, column = _cells(xyz - self.sensor)
        seen = self.range[face, row, column]
        return np.isfinite(seen) & (distance < seen - margin)

    def scaled(self, factor: float) -> "RangeImage":
        """What the same sensor saw of a world `factor` times as large."""
        return RangeImage(factor * self.sensor, factor * self.range)


def _cells(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distance, cube face, row and column of each direction."""
    distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-12)
    rows = np.arange(len(offset))
    axis = np.argmax(np.abs(offset), axis=1)
    depth = offset[rows, axis]
    face = 2 * axis + (depth < 0)
    depth = np.maximum(np.abs(depth), 1e-12)
    place = [
        np.arctan2(offset[rows, (axis + turn) % 3], depth) / (np.pi / 2) + 0.5 for turn in (1, 2)
    ]
    row, column = (np.clip((p * EDGE).astype(np.int64), 0, EDGE - 1) for p in place)
    return distance, face, row, column


@dataclass(frozen=True, eq=False)
class Surface:
    """A prepared cloud as something that others can be held against."""

    xyz: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    oriented: bool
    tree: cKDTree
    range_image: RangeImage | None

    def scaled(self, factor: float) -> "Surface":
        """The surface `factor` times as large about its origin."""
        image = None if self.range_image is None else self.range_image.scaled(factor)
        xyz = factor * self.xyz
        return replace(self, xyz=xyz, tree=cKDTree(xyz), range_image=image)


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
