"""Matches that nobody annotated: nearest neighbours between two photos that stand several tests.

Forward and backward must agree, the best must beat its rivals elsewhere, and together they must
follow one affine map up to a few cells, which one pose of the object seen twice nearly does.

Sources: the filters of MatchMe are not published; round trips: Aberman et al., Neural Best-Buddies,
2018; a relaxed agreement as in Dünkel et al., DIY-SC, 2025.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from corr.semantic.features.grid import FeatureGrid
from corr.semantic.transfer import Window

LEAST = 6  # matches, fewer tell nothing
_TRIALS = 100  # of three matches each
_SCALE = 3.0  # largest change of size between two photos
_MIRROR = 0.05  # least determinant of the map: no flips, no collapse


@dataclass(frozen=True)
class Filters:
    """What a pseudo match must stand."""

    back_cells: float = 1.0  # the round trip may end this far off, cells
    margin: float = 0.0  # least cosine above the best rival elsewhere
    affine_cells: float = 2.5  # largest distance from the common affine map, cells


@dataclass(frozen=True, eq=False)
class PseudoMatches:
    """Matches of two photos, original pixels, and the cosine of each."""

    uv_a: Float[np.ndarray, "n 2"]
    uv_b: Float[np.ndarray, "n 2"]
    similarity: Float[np.ndarray, " n"]


def pseudo_matches(
    a: FeatureGrid,
    b: FeatureGrid,
    inside_a: Bool[np.ndarray, " cells"],
    rng: np.random.Generator,
    *,
    filters: Filters,
    inside_b: Bool[np.ndarray, " more"] | None = None,
) -> PseudoMatches:
    """Centres of the inside cells of one photo, and where they lie in the other; maybe none.

    Args:
        a: One photo.
        b: The other.
        inside_a: Its cells that are asked for.
        rng: Draws the trials of the affine map.
        filters: What they must stand.
        inside_b: Cells of the other in which the answers must lie.
    """
    uv = a.centres()[inside_a]
    found = Window().transfer(a, b, uv)
    kept = found.round_trip_px <= filters.back_cells * float(a.step_uv.max())
    kept &= found.margin >= filters.margin
    if inside_b is not None and len(uv):
        nearest = np.rint(b.cell_of(found.uv)).astype(int)
        column, row = np.clip(nearest, 0, np.array(b.shape[::-1]) - 1).T
        kept &= inside_b[row * b.shape[1] + column]
    p, q = a.cell_of(uv[kept]), b.cell_of(found.uv[kept])
    common = affine_inliers(p, q, rng, filters.affine_cells)
    order = np.flatnonzero(kept)[common]
    return PseudoMatches(uv[order], found.uv[order], found.similarity[order])


def affine_inliers(
    p: Float[np.ndarray, "n 2"],
    q: Float[np.ndarray, "n 2"],
    rng: np.random.Generator,
    within: float,
) -> Bool[np.ndarray, " n"]:
    """Which matches follow the affine map that most of them follow; none if fewer than `LEAST`."""
    best = np.zeros(len(p), dtype=bool)
    if len(p) < LEAST:
        return best
    ones = np.concatenate([p, np.ones((len(p), 1))], 1)
    drawn = np.array([rng.choice(len(p), 3, replace=False) for _ in range(_TRIALS)])
    corners = ones[drawn]
    drawn = drawn[np.abs(np.linalg.det(corners)) > 1e-6]
    if not len(drawn):
        return best
    maps = np.linalg.solve(ones[drawn], q[drawn])
    linear = maps[:, :2]
    possible = (np.linalg.det(linear) > _MIRROR) & (np.abs(linear).max((1, 2)) < _SCALE)
    if not possible.any():
        return best
    near = np.linalg.norm(ones @ maps[possible] - q, axis=2) <= within
    best = near[near.sum(1).argmax()]
    return best if best.sum() >= LEAST else np.zeros(len(p), dtype=bool)
