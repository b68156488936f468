"""How far the stated probability can be trusted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers whose stated probability lies in [low, high)."""

    low: float
    high: float
    count: int
    stated: float  # mean probability
    true: float  # share that is right


@dataclass(frozen=True)
class Calibration:
    """Quality of the probabilities of one run; NaN where undefined."""

    ece: float  # expected calibration error, ten bins of equal width
    brier: float  # mean squared difference of probability and outcome
    auc: float  # chance that a right answer is ranked above a wrong one
    coverage_95: float  # largest share answered with at least 95 % of the answers right
    threshold_95: float  # the probability at which that is
    reliability: tuple[ReliabilityBin, ...]


def calibration(probability: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> Calibration:
    """All of it; answers that do not exist count as probability 0 and wrong."""
    coverage, threshold = coverage_at(probability, right, precision=0.95)
    table = reliability(probability, right)
    return Calibration(
        ece=expected_error(table),
        brier=float(np.mean((probability - right) ** 2)) if len(right) else float("nan"),
        auc=auc(probability, right),
        coverage_95=coverage,
        threshold_95=threshold,
        reliability=tuple(table),
    )


def reliability(
    probability: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = 10
) -> list[ReliabilityBin]:
    """Stated against true, bins of equal width; the last holds 1.0; empty bins are left out."""
    index = np.clip((probability * bins).astype(int), 0, bins - 1)
    table = []
    for k in range(bins):
        inside = index == k
        if inside.any():
            stated, true = float(probability[inside].mean()), float(right[inside].mean())
            table.append(ReliabilityBin(k / bins, (k + 1) / bins, int(inside.sum()), stated, true))
    return table


def expected_error(table: list[ReliabilityBin]) -> float:
    """Expected calibration error: |stated - true| averaged over the answers.

    Source: Naeini et al., AAAI 2015.
    """
    total = sum(b.count for b in table)
    if not total:
        return float("nan")
    return sum(b.count * abs(b.stated - b.true) for b in table) / total


def auc(score: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve (rank statistic, ties count half); NaN if all are right or wrong."""
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return float("nan")
    above = rankdata(score)[right].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def coverage_at(
    score: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], *, precision: float
) -> tuple[float, float]:
    """(largest share answered, threshold) such that answers scored at or above it are so precise.

    Answers of equal score are taken or left together. (0, NaN) where no threshold is enough.
    """
    if not len(score):
        return float("nan"), float("nan")
    order = np.argsort(-score, kind="stable")
    sorted_score = score[order]
    share_right = np.cumsum(right[order]) / np.arange(1, len(score) + 1)
    last_of_tie = np.append(sorted_score[1:] != sorted_score[:-1], True)
    enough = np.flatnonzero(last_of_tie & (share_right >= precision))
    if not len(enough):
        return 0.0, float("nan")
    return float((enough[-1] + 1) / len(score)), float(sorted_score[enough[-1]])
