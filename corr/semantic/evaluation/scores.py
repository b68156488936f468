"""From predictions and truth to every number that is reported."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from corr.semantic.calibration import Reliability, reliability, risk_coverage
from corr.semantic.datasets.base import PairSet
from corr.semantic.evaluation.predictions import Prediction
from corr.semantic.pck import ALPHAS, Averages, averages, correct, point_errors
from corr.semantic.pck_defects import DEFECTS
from corr.semantic.pck_subsets import Confusion, SubsetScore, confusion, subset_scores

HEADLINE = 0.1  # the alpha of figures that are given for one alpha only


@dataclass(frozen=True)
class Trust:
    """How well the confidence tells found points from others, at the headline's alpha.

    `auc`: chance that a found point is surer than one that is not. `surest_half`: share found among
    the surer half of the points. `calibrated`: the confidences are meant as probabilities, and
    `reliability` then says how well they are; points without an answer are left out there and in
    `risk`, whose rows are the share of the answered points, the share of them that is wrong and the
    least confidence among them.
    """

    auc: float
    surest_half: float
    calibrated: bool
    reliability: Reliability
    risk: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Scores:
    """All numbers of one run; averages are 0..1, in the order of `alphas`."""

    benchmark: str
    split: str
    extent: str
    pairs: int
    official_pairs: int
    complete: bool
    points: int
    without_points: int  # pairs that share no key-point: in no average
    unanswered: int  # points
    alphas: tuple[float, ...]
    averages: tuple[Averages, ...]
    strict: tuple[Averages, ...]
    subsets: tuple[SubsetScore, ...]
    confusion: Confusion
    defects: dict[str, Averages]  # the same predictions under defective evaluators, alpha 0.1
    trust: Trust
    notes: tuple[str, ...]


def score(
    pairs: PairSet,
    predictions: Mapping[str, Prediction],
    extent: str = "",
    *,
    calibrated: bool = False,
) -> Scores:
    """Score all pairs.

    Args:
        pairs: The truth.
        predictions: By the pair's key.
        extent: What alpha multiplies; empty = the benchmark's own.
        calibrated: The confidences are probabilities.

    Raises:
        ValueError: A pair has no prediction, or the annotation lacks the extent.
    """
    uv = {p.key: predictions[p.key].uv for p in pairs.pairs}
    errors = point_errors(pairs, uv, extent)
    found = correct(errors, HEADLINE)
    sure = np.concatenate([predictions[p.key].confidence for p in pairs.pairs])
    return Scores(
        benchmark=pairs.name,
        split=pairs.split,
        extent=extent or pairs.extent,
        pairs=len(pairs.pairs),
        official_pairs=pairs.official_pairs,
        complete=pairs.complete,
        points=len(errors),
        without_points=sum(not p.ids for p in pairs.pairs),
        unanswered=int(np.isinf(errors.error_px).sum()),
        alphas=ALPHAS,
        averages=tuple(averages(errors, correct(errors, a)) for a in ALPHAS),
        strict=tuple(averages(errors, correct(errors, a, strict=True)) for a in ALPHAS),
        subsets=subset_scores(pairs, errors, ALPHAS),
        confusion=confusion(pairs, uv, errors, HEADLINE),
        defects=_under_defects(pairs, uv, extent or pairs.extent),
        trust=_trust(sure, found, np.isfinite(errors.error_px), calibrated),
        notes=pairs.notes,
    )


def _under_defects(
    pairs: PairSet, uv: dict[str, Float[np.ndarray, "_ 2"]], extent: str
) -> dict[str, Averages]:
    """What the same predictions would score with the mistakes on record."""
    boxed = all(p.source.box is not None for p in pairs.pairs)
    out = {}
    for defect in DEFECTS:
        if defect.name == "source box" and extent == "box" and not boxed:
            continue
        if defect.name == "padded points" and extent != "points":
            continue
        errors = defect.score(pairs, uv, extent)
        out[defect.name] = averages(errors, correct(errors, HEADLINE))
    return out


def _trust(
    sure: Float[np.ndarray, " k"],
    found: Bool[np.ndarray, " k"],
    answered: Bool[np.ndarray, " k"],
    calibrated: bool,
) -> Trust:
    told, right = sure[answered], found[answered]
    return Trust(
        _auc(sure, found), _surest_half(sure, found), calibrated, reliability(told, right),
        risk_coverage(told, right),
    )  # fmt: skip


def _auc(sure: Float[np.ndarray, " k"], found: Bool[np.ndarray, " k"]) -> float:
    """Area under the ROC curve; ties count half."""
    positives, negatives = int(found.sum()), int((~found).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(sure, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((rank[found].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _surest_half(sure: Float[np.ndarray, " k"], found: Bool[np.ndarray, " k"]) -> float:
    order = np.argsort(-sure, kind="stable")[: (len(sure) + 1) // 2]
    return float(found[order].mean()) if len(order) else float("nan")
