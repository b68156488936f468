"""From estimates and matches to the numbers that are reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from corr.evaluation.estimate import Estimate, Job, Seen
from corr.evaluation.predict import Matched, load
from corr.evaluation.sets import PairSet

AUC_AT = {"pose": (5.0, 10.0, 20.0), "homography": (3.0, 5.0, 10.0)}  # degrees; pixels
CURVE_POINTS = 60


@dataclass(frozen=True)
class Row:
    """One estimator at one threshold, over all pairs; AUC in 0..1."""

    estimator: str
    threshold: float
    auc: tuple[float, float, float]
    median_error: float  # infinite where most pairs have no answer
    failures: int  # pairs without an answer
    inliers: float  # mean
    seconds: float  # mean


@dataclass(frozen=True)
class PairScore:
    """One pair: its matches, and its error under the headline's estimator."""

    key: str
    group: str
    matches: int
    precision: float  # share of the matches that are right; NaN without matches
    error: float


@dataclass(frozen=True)
class Scores:
    """All numbers of one run."""

    benchmark: str
    kind: str
    pairs: int
    official_pairs: int
    complete: bool
    matches: float  # mean per pair
    precision: float  # mean over pairs; a pair without matches counts 0
    seconds: float  # mean per pair, of matching
    rows: tuple[Row, ...]
    headline: Row
    groups: tuple[tuple[str, int, tuple[float, float, float]], ...]  # name, pairs, headline's AUC
    per_pair: tuple[PairScore, ...]
    curve: tuple[tuple[float, float], ...]  # recall, precision as the least score falls
    notes: tuple[str, ...]


def auc(errors: Float[np.ndarray, " n"], limits: Sequence[float]) -> tuple[float, ...]:
    """Area under recall over error up to each limit, divided by the limit.

    The exact trapezoid of the piecewise linear curve through (error, share of pairs at most that
    wrong), with the last share held flat up to the limit; pairs without an answer are infinitely
    wrong.

    Source: the definition of Sarlin et al., SuperGlue, CVPR 2020, section 5.
    """
    errors = np.sort(np.nan_to_num(errors, nan=np.inf))
    if not len(errors):
        return tuple(float("nan") for _ in limits)
    finite = errors[np.isfinite(errors)]
    x = np.concatenate([[0.0], finite])
    y = np.arange(len(finite) + 1) / len(errors)
    areas = []
    for limit in limits:
        last = int(np.searchsorted(x, limit))
        up_to_x = np.concatenate([x[:last], [limit]])
        up_to_y = np.concatenate([y[:last], [y[max(last - 1, 0)]]])
        area = (0.5 * (up_to_y[1:] + up_to_y[:-1]) * np.diff(up_to_x)).sum()
        areas.append(float(area / limit))
    return tuple(areas)


def score(
    whole: PairSet,
    matched: Mapping[str, Matched],
    estimates: Mapping[Job, Estimate],
    folder: Path,
    *,
    estimators: Sequence[str],
    thresholds: Sequence[float],
) -> Scores:
    """Score all pairs; the headline is the first estimator at its best threshold."""
    limits = AUC_AT[whole.kind]
    rows = tuple(
        _row(estimator, threshold, [estimates[p.key, estimator, threshold] for p in whole.pairs],
             limits)
        for estimator in estimators for threshold in thresholds
    )  # fmt: skip
    headline = max((r for r in rows if r.estimator == estimators[0]), key=lambda r: r.auc[0])
    right, score_of = [], []
    per_pair = []
    for pair in whole.pairs:
        matches = load(folder, pair.key)
        correct = Seen.of(pair, matches, whole).correct(whole.correct_epipolar)
        right.append(correct)
        score_of.append(matches.score)
        per_pair.append(PairScore(
            pair.key, pair.group, len(matches),
            float(correct.mean()) if len(correct) else float("nan"),
            estimates[pair.key, headline.estimator, headline.threshold].error,
        ))  # fmt: skip
    precision = np.nan_to_num([p.precision for p in per_pair])
    return Scores(
        whole.name, whole.kind, len(whole.pairs), whole.official_pairs, whole.complete,
        float(np.mean([p.matches for p in per_pair])), float(precision.mean()),
        float(np.mean([matched[p.key].seconds for p in whole.pairs])), rows, headline,
        _groups(per_pair, limits), tuple(per_pair),
        _curve(np.concatenate(right), np.concatenate(score_of)), whole.notes,
    )  # fmt: skip


def _row(
    estimator: str, threshold: float, found: Sequence[Estimate], limits: Sequence[float]
) -> Row:
    errors = np.array([e.error for e in found])
    first, second, third = auc(errors, limits)
    return Row(
        estimator, threshold, (first, second, third), float(np.median(errors)),
        int(np.isinf(errors).sum()), float(np.mean([e.inliers for e in found])),
        float(np.mean([e.seconds for e in found])),
    )  # fmt: skip


def _groups(
    per_pair: Sequence[PairScore], limits: Sequence[float]
) -> tuple[tuple[str, int, tuple[float, float, float]], ...]:
    rows = []
    for name in sorted({p.group for p in per_pair if p.group}):
        errors = np.array([p.error for p in per_pair if p.group == name])
        first, second, third = auc(errors, limits)
        rows.append((name, len(errors), (first, second, third)))
    return tuple(rows)


def _curve(
    right: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> tuple[tuple[float, float], ...]:
    """Recall (of the right matches found at all) and precision, least score falling."""
    if not right.any():
        return ()
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    at = np.unique(np.linspace(0, len(order) - 1, CURVE_POINTS).round().astype(int))
    return tuple((float(hits[k] / hits[-1]), float(hits[k] / (k + 1))) for k in at)


def worst_first(scores: Scores) -> list[int]:
    """Pairs by error, largest first, then by least precision."""
    key = [(-p.error, np.nan_to_num(p.precision), n) for n, p in enumerate(scores.per_pair)]
    return [n for _, _, n in sorted(key)]
