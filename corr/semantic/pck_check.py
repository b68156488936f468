"""The evaluator checks itself before every run, on cases whose answer is known by hand.

Each probe is a pair whose points are right or wrong by definition; each is made so that a defect
on record answers differently, and `self_check` proves both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corr.semantic.datasets.base import KeypointPair, PairSet, Side
from corr.semantic.pck import Averages, PointErrors, averages, correct, point_errors
from corr.semantic.pck_defects import DEFECTS, Scorer

Decide = Callable[..., np.ndarray]


@dataclass(frozen=True, eq=False)
class Probe:
    """A case: what is predicted, what is right, and which defect it is there to notice."""

    defect: str
    pairs: PairSet
    predictions: dict[str, np.ndarray]
    extent: str
    alpha: float
    found: tuple[bool, ...]


def _probe(
    defect: str, truth: list, predicted: list, found: tuple[bool, ...], *, extent: str = "box",
    alpha: float = 0.1, size: tuple[int, int] = (400, 200), box: list | None = None,
    source_box: list | None = None,
) -> Probe:  # fmt: skip
    """One pair; boxes default to 100 x 60 pixels."""
    n = len(truth)
    ids = tuple(map(str, range(n)))
    uv = np.array(truth, dtype=float)
    source = Side("s", Path("s.jpg"), 300, 300, uv=np.zeros((n, 2)),
                  box=np.array(source_box or [10, 10, 110, 70], dtype=float))  # fmt: skip
    target = Side("t", Path("t.jpg"), *size, uv=uv,
                  box=np.array(box or [10, 10, 110, 70], dtype=float))  # fmt: skip
    pairs = PairSet("probe", "test", (KeypointPair("p", "c", source, target, ids),), extent)
    return Probe(defect, pairs, {"p": np.array(predicted, dtype=float)}, extent, alpha, found)


def probes() -> tuple[Probe, ...]:
    """One case or more per defect."""
    return (
        # The source's box is ten times as large: 60 pixels off would pass.
        _probe("source box", [[50, 50], [50, 50]], [[58, 50], [110, 50]], (True, False),
               source_box=[0, 0, 1000, 400], size=(1200, 500)),
        # The points span 100 pixels, from 200 on; with a padded -1 they would span 301.
        _probe("padded points", [[200, 200], [300, 250]], [[200, 209], [300, 275]], (True, False),
               extent="points", size=(500, 500)),
        # Twice as wide as high: squashed, x counts half, and a limit scaled by y counts double.
        _probe("threshold by y", [[50, 50], [50, 50]], [[62, 50], [50, 62]], (False, False)),
        # In the square the box is 25 % wide and 30 % high, so its height would set the limit.
        _probe("squashed", [[50, 50], [50, 50]], [[59.9, 50], [50, 61]], (True, False)),
        _probe("squashed", [[50, 50]], [[61, 50]], (False,)),
        # One pixel is the limit: half a pixel to the lower right is in, half of the other is not.
        _probe("pixel index", [[50, 50], [50, 50]], [[50.9, 50], [49.6, 49.6]], (True, True),
               alpha=0.01),
        # A 3-4-5 triangle exactly at the limit counts; a box at the border keeps its own size.
        _probe("strict", [[50, 50]], [[56, 58]], (True,)),
        _probe("strict", [[2, 2]], [[7, 2]], (True,), box=[0, 0, 50, 30]),
        # Without an answer a point is wrong, not left out.
        _probe("no answer", [[50, 50], [50, 50]], [[50, 50], [np.nan, 50]], (True, False)),
    )  # fmt: skip


def _averages_case() -> tuple[PointErrors, np.ndarray, Averages]:
    """Two categories: two pairs with 4 points (4 found) and 1 (0 found), one pair with 3 (1)."""
    errors = PointErrors(
        np.array([0, 0, 0, 0, 1, 2, 2, 2]), np.zeros(8), np.ones(8),
        np.array([0, 0, 1]), ("a", "b"),
    )  # fmt: skip
    found = np.array([1, 1, 1, 1, 0, 1, 0, 0], dtype=bool)
    # By image (1 + 0 + 1/3) / 3; by point 5 / 8; categories (1/2 + 1/3) / 2; weighted by pairs
    # (2 * 4/5 + 1 * 1/3) / 3.
    return errors, found, Averages(4 / 9, 5 / 8, 5 / 12, 29 / 45)


def self_check(
    score: Scorer = point_errors,
    decide: Decide = correct,
    average: Callable[..., Averages] = averages,
) -> None:
    """Prove the evaluator on all probes.

    Raises:
        ValueError: It answers one of them wrongly; the text names the defect.
    """
    for probe in probes():
        got = _answer(probe, score, decide)
        if got != probe.found:
            raise ValueError(
                f"the evaluator fails the check against {probe.defect!r}: found {got} instead of "
                f"{probe.found} at alpha {probe.alpha}"
            )
    errors, found, expected = _averages_case()
    got_averages = average(errors, found)
    if not np.allclose(list(vars(got_averages).values()), list(vars(expected).values())):
        raise ValueError(f"the evaluator averages wrongly: {got_averages} instead of {expected}")


def _answer(probe: Probe, score: Scorer, decide: Decide) -> tuple[bool, ...]:
    errors = score(probe.pairs, probe.predictions, probe.extent)
    return tuple(bool(v) for v in decide(errors, probe.alpha))


def noticed(defect: str) -> bool:
    """Whether some probe of that name would reject the defect."""
    score = {d.name: d.score for d in DEFECTS}[defect]
    return any(_answer(p, score, correct) != p.found for p in probes() if p.defect == defect)
