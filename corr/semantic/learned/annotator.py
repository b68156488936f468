"""A trained head as an annotator: key-points of photos that nobody annotated.

Every annotated photo, or its mirror image if that fits better, sends its key-points to a new photo.
A guess must lead back to where it came from and beat its rivals elsewhere; guesses from several
photos must agree. What remains is as good as an annotation of its trust.

Sources: the idea is MatchMe's (naver-ai/matchme), whose filters are not published; forward-backward
agreement and pose consistency: Dünkel et al., DIY-SC, 2025.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from corr.semantic.datasets.base import Side, Twins
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.shots import Shot, mirrored
from corr.semantic.pose_alignment import mean_similarity
from corr.semantic.transfer import Window

Grids = Callable[[Side], FeatureGrid]


@dataclass(frozen=True)
class Guessing:
    """What a guess must stand."""

    back_cells: float = 2.0  # the round trip may end this far off, cells
    margin: float = 0.02  # least cosine above the best rival elsewhere
    agree_cells: float = 1.5  # guesses of one key-point that lie this near agree
    least: int = 2  # guesses that must agree


def annotated(
    photo: Shot, known: Sequence[Shot], grids: Grids, twins: Twins, guessing: Guessing
) -> Shot:
    """The photo with the key-points that the annotated photos of its category agree on.

    Args:
        photo: Whose own points, if it has any, are not looked at.
        known: Annotated photos.
        grids: The teacher's descriptors.
        twins: Left and right.
        guessing: What a guess must stand.
    """
    target = grids(photo.side)
    guesses: dict[str, list[np.ndarray]] = {}
    asked: dict[str, int] = {}
    for plain in known:
        if plain.category != photo.category or plain.side.name == photo.side.name:
            continue
        shot = nearer(plain, target, grids, twins)
        for name in shot.points:
            asked[name] = asked.get(name, 0) + 1
        for name, uv in sent(shot, grids(shot.side), target, guessing).items():
            guesses.setdefault(name, []).append(uv)
    points, trust = agreed(guesses, asked, float(target.step_uv.max()), guessing)
    return replace(photo, points=points, trust=trust)


def nearer(shot: Shot, target: FeatureGrid, grids: Grids, twins: Twins) -> Shot:
    """The shot or its mirror image, whichever shows the object in the target's pose."""
    turned = mirrored(shot, twins)
    scores = [
        mean_similarity(grid, target, near_points(one, grid))
        for one, grid in ((s, grids(s.side)) for s in (shot, turned))
    ]
    return turned if scores[1] > scores[0] else shot


def near_points(shot: Shot, grid: FeatureGrid) -> np.ndarray:
    """Cells inside the extent of the known points: the object, without its mask."""
    uv = np.array(list(shot.points.values()))
    centres = grid.centres()
    inside = np.all((centres >= uv.min(0)) & (centres <= uv.max(0)), axis=1)
    return inside if inside.any() else np.ones(len(centres), dtype=bool)


def sent(
    shot: Shot, source: FeatureGrid, target: FeatureGrid, guessing: Guessing
) -> dict[str, Float[np.ndarray, " 2"]]:
    """The shot's key-points in the target, those that stand both tests."""
    found = Window().transfer(source, target, np.array(list(shot.points.values())))
    kept = found.round_trip_px <= guessing.back_cells * float(source.step_uv.max())
    kept &= found.margin >= guessing.margin
    return {name: uv for name, uv, ok in zip(shot.points, found.uv, kept, strict=True) if ok}


def agreed(
    guesses: Mapping[str, Sequence[np.ndarray]],
    asked: Mapping[str, int],
    step_px: float,
    guessing: Guessing,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Points and trust: the mean of the largest group of guesses around one of them.

    Trust is the group's share of all photos that were asked: a key-point that the photo hides gets
    few guesses that agree.
    """
    points: dict[str, np.ndarray] = {}
    trust: dict[str, float] = {}
    for name, found in guesses.items():
        uv = np.array(found)
        near = np.linalg.norm(uv[:, None] - uv, axis=2) <= guessing.agree_cells * step_px
        group = near[near.sum(1).argmax()]
        # More than half of the guesses: two rival places are no agreement.
        if group.sum() >= guessing.least and 2 * group.sum() > len(uv):
            points[name] = uv[group].mean(0)
            trust[name] = float(group.sum() / asked[name])
    return points, trust
