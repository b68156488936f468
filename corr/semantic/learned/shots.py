"""What trainings learn from: photos, plain and mirrored, with the key-points known in each.

A mirrored photo is another view of a possible object: its left is the other's right, so every
key-point takes its twin's name. Sources: Zhang et al., Telling Left from Right, CVPR 2024, section
4.3 (pose-variant augmentation).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from corr.semantic.datasets.base import KeypointPair, Side, Twins
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.pose_alignment import flipped_side

Points = Mapping[str, Float[np.ndarray, " 2"]]  # key-point: original pixels


@dataclass(frozen=True, eq=False)
class Shot:
    """A photo, or its mirror image, as a training sees it.

    Args:
        side: The photo; `mirrored` tells which.
        category: Its category.
        points: Known key-points, original pixels, under the names that they have in this shot.
        trust: 0..1 of those that were guessed; an annotated one is not in it and has 1.
    """

    side: Side
    category: str
    points: Points
    trust: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Couple:
    """Two shots and what they have in common.

    Args:
        a: One.
        b: The other.
        uv_a: Common points in the one, original pixels.
        uv_b: The same in the other.
        weight: Of each point in the loss.
    """

    a: Shot
    b: Shot
    uv_a: Float[np.ndarray, "n 2"]
    uv_b: Float[np.ndarray, "n 2"]
    weight: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.uv_a)


def known_points(pairs: Iterable[KeypointPair]) -> dict[str, dict[str, np.ndarray]]:
    """Of each photo, every key-point that a pair or the photo's own annotation states."""
    known: dict[str, dict[str, np.ndarray]] = {}
    for pair in pairs:
        for side in (pair.source, pair.target):
            here = known.setdefault(side.name, {})
            here.update(zip(side.all_ids, side.all_uv, strict=True))
            here.update(zip(pair.ids, side.uv, strict=True))
    return known


def mirrored(shot: Shot, twins: Twins) -> Shot:
    """The mirror image of a shot: u becomes width - u, every name its twin's."""
    of = twins.get(shot.category, {})
    points = {
        of.get(name, name): np.array([shot.side.width - uv[0], uv[1]])
        for name, uv in shot.points.items()
    }
    trust = {of.get(name, name): value for name, value in shot.trust.items()}
    return Shot(flipped_side(shot.side), shot.category, points, trust)


def couple(a: Shot, b: Shot) -> Couple:
    """Two shots with the key-points that both know."""
    common = [name for name in a.points if name in b.points]
    uv_a, uv_b = (
        np.array([shot.points[name] for name in common], dtype=np.float64).reshape(-1, 2)
        for shot in (a, b)
    )
    weight = [a.trust.get(name, 1.0) * b.trust.get(name, 1.0) for name in common]
    return Couple(a, b, uv_a, uv_b, np.array(weight, dtype=np.float64))


def cells(grid: FeatureGrid, uv: Float[np.ndarray, "n 2"]) -> Float[Tensor, "n 2"]:
    """(column, row) of original pixels, fractions, within the grid."""
    at = np.clip(grid.cell_of(uv), 0, np.array(grid.shape[::-1]) - 1)
    return torch.from_numpy(at.astype(np.float32))


def sampled(maps: Float[Tensor, "1 d h w"], at: Float[Tensor, "n 2"]) -> Float[Tensor, "n d"]:
    """Descriptors at (column, row), bilinear, of unit length."""
    size = torch.tensor(maps.shape[:-3:-1], dtype=torch.float32)
    where = (2 * (at + 0.5) / size - 1)[None, None]
    found = torch.nn.functional.grid_sample(
        maps, where, mode="bilinear", padding_mode="border", align_corners=False
    )
    return torch.nn.functional.normalize(found[0, :, 0].T, dim=1)


def flat_centres(shape: tuple[int, int]) -> Float[Tensor, "cells 2"]:
    """(column, row) of all cells, row by row."""
    rows, columns = shape
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2).float()
