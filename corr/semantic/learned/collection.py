"""A collection aligned without labels: objects by their surfaces, photos by their likeness.

The objects of a category are brought into the world of the one that the others agree on best; its
middle and half its size make the unit. Photos add matches: mutual nearest neighbours, on objects
by masks or boxes, between each photo and those that look most alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from corr.semantic.datasets.base import Side
from corr.semantic.features.cache import FeatureCache
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.lessons import ShapeTeacher, on_object

ALIKE = 4  # photos that each one is matched with
BACK_CELLS = 1.1  # a match must lead back so near to its origin


@dataclass(frozen=True, eq=False)
class Placed:
    """A frame whose cells' canonical places are known.

    Args:
        side: The frame.
        cells: Indices of cells on the object, row by row.
        place: Their canonical coordinates.
    """

    side: Side
    cells: Int[np.ndarray, " n"]
    place: Float[np.ndarray, "n 3"]


@dataclass(frozen=True, eq=False)
class Alike:
    """Two photos and cells that show the same, as far as features tell.

    Args:
        a: One photo.
        b: The other.
        cells_a: Indices of cells, row by row.
        cells_b: Their matches.
    """

    a: Side
    b: Side
    cells_a: Int[np.ndarray, " n"]
    cells_b: Int[np.ndarray, " n"]


def placed_frames(teacher: ShapeTeacher, cache: FeatureCache) -> list[Placed]:
    """Canonical coordinates of all frames' cells; objects without a map to the middle one stay out.

    Args:
        teacher: Surfaces and their alignments, of one category.
        cache: For the shape of the grids.
    """
    middle = reference(teacher.maps, len(teacher.views))
    moved = {
        k: [v.xyz @ m[:3] + m[3] for v in teacher.views[k]]
        for k in range(len(teacher.views))
        if (m := teacher.maps.get((k, middle))) is not None
    }
    every = np.concatenate([xyz for views in moved.values() for xyz in views])
    centre, unit = np.median(every, 0), teacher.sizes[middle] / 2
    axes = principal_axes(every - centre)
    found = []
    for k, views in moved.items():
        for seen, xyz in zip(teacher.views[k], views, strict=True):
            cells = cell_indices(cache.get(seen.frame.side), seen.uv)
            found.append(Placed(seen.frame.side, cells, (xyz - centre) @ axes / unit))
    down = sum(float(np.cov(seen.uv[:, 1], one.place[:, 1])[0, 1]) for seen, one in zip(
        [v for k in moved for v in teacher.views[k]], found, strict=True
    ) if len(seen.uv) > 1)  # fmt: skip
    # Photos are mostly upright: the second axis points up in them; half a turn keeps handedness.
    turn = np.array([1.0, -1.0, -1.0]) if down > 0 else np.ones(3)
    return [replace(one, place=one.place * turn) for one in found]


def principal_axes(x: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 3"]:
    """A rotation whose columns are the axes from the longest to the shortest extent."""
    _, axes = np.linalg.eigh(np.cov(x.T))
    axes = axes[:, ::-1]
    # An eigenvector's sign is arbitrary: the one with the larger third moment is taken.
    axes = axes * np.where((((x - x.mean(0)) @ axes) ** 3).sum(0) < 0, -1.0, 1.0)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    return axes


def reference(maps: Mapping[tuple[int, int], np.ndarray], count: int) -> int:
    """The object into whose world the most others have a map, and the most consistent ones.

    A map is consistent if it is nearly the same by way of a third object.
    """
    scores = []
    for r in range(count):
        others = [a for a in range(count) if a != r and (a, r) in maps]
        off = [
            np.linalg.norm(_composed(maps[a, b], maps[b, r]) - m) / np.linalg.norm(m)
            for a in others for m in [maps[a, r]]
            for b in others if a != b and (a, b) in maps
        ]  # fmt: skip
        scores.append((-len(others), float(np.median(off)) if off else np.inf, r))
    return min(scores)[2]


def _composed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.vstack([first[:3] @ second[:3], first[3] @ second[:3] + second[3]])


def alike_photos(photos: Sequence[Side], cache: FeatureCache) -> list[Alike]:
    """Every photo's mutual matches with the photos that look most like it."""
    found = []
    inside = {s.name: np.flatnonzero(on_object(s, cache.get(s))) for s in photos}
    for one in photos:
        grid, own = cache.get(one), inside[one.name]
        others = [s for s in photos if s.name != one.name]
        cosines = [grid.flat[own] @ cache.get(s).flat[inside[s.name]].T for s in others]
        order = np.argsort([-c.max(1).mean() for c in cosines], kind="stable")[:ALIKE]
        for k in order:
            best = cosines[k].argmax(1)
            back = own[cosines[k].argmax(0)[best]]
            uv = grid.centres()
            trip = np.linalg.norm(uv[back] - uv[own], axis=1)
            kept = trip < BACK_CELLS * float(grid.step_uv.max())
            theirs = inside[others[k].name][best[kept]]
            found.append(Alike(one, others[k], own[kept], theirs))
    return [m for m in found if len(m.cells_a)]


def cell_indices(grid: FeatureGrid, uv: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
    """Of the cells that are centred at these places, row by row."""
    at = np.rint(grid.cell_of(uv)).astype(int)
    return at[:, 1] * grid.shape[1] + at[:, 0]
