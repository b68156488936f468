"""Where the points are lost: by category, by difficulty, left against right."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from corr.semantic.datasets.base import KeypointPair, PairSet
from corr.semantic.pck import Averages, PointErrors, Predictions, averages, correct

LEVELS = {
    "viewpoint": ("easy", "medium", "hard"),
    "scale": ("easy", "medium", "hard"),
    "truncation": ("none", "source", "target", "both"),
    "occlusion": ("none", "source", "target", "both"),
}


@dataclass(frozen=True)
class SubsetScore:
    """PCK over some of the points."""

    group: str  # category, viewpoint, scale, truncation, occlusion, mirror, geometry
    level: str
    pairs: int
    points: int
    averages: tuple[Averages, ...]  # one per alpha


@dataclass(frozen=True)
class Confusion:
    """What became of key-points whose left or right twin the target shows, shares 0..1.

    A point is at its twin when it is not found, but lies within alpha of the twin and nearer to it
    than to the truth.
    """

    points: int
    found: float
    at_twin: float
    elsewhere: float


def subset_scores(
    pairs: PairSet, errors: PointErrors, alphas: tuple[float, ...]
) -> tuple[SubsetScore, ...]:
    """PCK of every category, level and subset that the annotation knows."""
    found = [correct(errors, a) for a in alphas]
    rows = []
    for group, level, among in _subsets(pairs, errors):
        rows.append(
            SubsetScore(
                group, level, len(np.unique(errors.pair[among])), int(among.sum()),
                tuple(averages(errors, f, among) for f in found),
            )
        )  # fmt: skip
    return tuple(rows)


def _subsets(
    pairs: PairSet, errors: PointErrors
) -> Iterator[tuple[str, str, Bool[np.ndarray, " k"]]]:
    for k, name in enumerate(errors.categories):
        yield "category", name, errors.category[errors.pair] == k
    for group, names in LEVELS.items():
        levels = [getattr(p.difficulty, group) for p in pairs.pairs]
        # -1 stands for an annotation that does not state it.
        level = np.array([-1 if v is None else v for v in levels])[errors.pair]
        for k, name in enumerate(names):
            if (level == k).any():
                yield group, name, level == k
    mirror = np.array([p.mirror for p in pairs.pairs])[errors.pair]
    if mirror.any() and not mirror.all():
        yield "mirror", "no", ~mirror
        yield "mirror", "yes", mirror
    if pairs.groups:
        aware = geometry_aware(pairs)
        yield "geometry", "aware", aware
        yield "geometry", "other", ~aware


def geometry_aware(pairs: PairSet) -> Bool[np.ndarray, " k"]:
    """Points that only geometry tells apart: two or more of their group are seen in the target.

    Source: Zhang et al., Telling Left from Right, CVPR 2024, section 3.
    """
    return np.array([flag for p in pairs.pairs for flag in _aware(p, pairs)], dtype=bool)


def _aware(pair: KeypointPair, pairs: PairSet) -> list[bool]:
    seen = {*pair.target.all_ids, *pair.ids}
    group = {i: g for g in pairs.groups.get(pair.category, ()) for i in g}
    return [len(seen.intersection(group.get(i, ()))) >= 2 for i in pair.ids]


def confusion(
    pairs: PairSet, predictions: Predictions, errors: PointErrors, alpha: float
) -> Confusion:
    """How often a left part is taken for the right one and the other way round."""
    found = correct(errors, alpha)
    twin, start = np.full(len(errors), np.nan), 0
    for pair in pairs.pairs:
        end = start + len(pair.ids)
        twin[start:end] = _twin_distance(pair, pairs, predictions)
        start = end
    known = np.isfinite(twin)
    if not known.any():
        return Confusion(0, *[float("nan")] * 3)
    near = (twin <= alpha * errors.extent_px) & (twin < errors.error_px)
    at_twin = float((near & ~found)[known].mean())
    right = float(found[known].mean())
    return Confusion(int(known.sum()), right, at_twin, max(0.0, 1 - right - at_twin))


def _twin_distance(pair: KeypointPair, pairs: PairSet, predictions: Predictions) -> np.ndarray:
    """From each prediction to the truth of its twin; NaN where the target does not show it."""
    where = dict(zip(pair.target.all_ids, pair.target.all_uv, strict=True))
    where |= dict(zip(pair.ids, pair.target.uv, strict=True))
    twins = pairs.twins.get(pair.category, {})
    out = np.full(len(pair.ids), np.nan)
    for k, (name, uv) in enumerate(zip(pair.ids, predictions[pair.key], strict=True)):
        if twins.get(name) in where:
            distance = np.hypot(*(np.asarray(uv) - where[twins[name]]))
            out[k] = distance if np.isfinite(distance) else 1e18  # no answer is nowhere
    return out
