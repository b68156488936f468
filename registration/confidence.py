"""How likely an answer is right: a monotone model of its evidence, fitted on simulated scans."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

FILE = Path(__file__).parent / "learned" / "weights" / "confidence.json"
INPUTS = (
    "log_support", "support_share", "vote_share", "overlap", "contradicted", "violations",
)  # fmt: skip
RIVAL_INPUTS = (*INPUTS, "margin")
RIGHT_DEGREES, RIGHT_VOXELS = 15.0, 6.0  # errors below which an answer counts as right
TIE_SLOPE = 2.0
AGAINST = ("contradicted", "violations")  # more of these speaks against an answer


def evidence_row(evidence: Mapping[str, float], names: tuple[str, ...]) -> np.ndarray:
    """The inputs of a model in its order."""
    return np.array([evidence[name] for name in names])


_given: dict = {}


def use(models: dict) -> None:
    """Take these models instead of the shipped ones: for fitting them. Empty = the shipped ones."""
    _given.clear()
    _given.update(models)


def _models() -> dict:
    return _given or _shipped()


@lru_cache(maxsize=1)
def _shipped() -> dict:
    return json.loads(FILE.read_text())


def score(rows: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """Log-odds that each hypothesis, by `INPUTS`, is the right one: what they are ranked by."""
    return _logit(rows, _models()["rank"])


def probability(row: Float[np.ndarray, " d"]) -> float:
    """Probability that the best hypothesis, by `RIVAL_INPUTS`, is right."""
    logit = float(_logit(row[None], _models()["confidence"])[0])
    return float(1 / (1 + np.exp(-logit)))


def share_among(scores: Float[np.ndarray, " k"]) -> float:
    """Most that the first of distinct hypotheses can be believed beside its rivals.

    Scores are log-odds of each by itself; a lead counts twice, as rivals are no independent draws.
    """
    return float(1 / np.exp(TIE_SLOPE * (scores - scores[0])).sum())


def right_share() -> float:
    """Share of right answers among those that the probability was fitted on."""
    return float(_models()["fitted_on"]["right_share"])


def _logit(rows: np.ndarray, model: dict) -> np.ndarray:
    """A sum of one curve per input, rising or falling as the input speaks for or against."""
    total = np.full(len(rows), model["bias"])
    for column, curve in zip(rows.T, model["curves"], strict=True):
        total += ramps(column, np.array(curve["knots"])) @ np.array(curve["steps"])
    return total


def ramps(values: Float[np.ndarray, " n"], knots: Float[np.ndarray, " k"]) -> np.ndarray:
    """How far a value has come between each two knots, 0..1: n x (k - 1).

    With weights of one sign a sum of these is a monotone curve, straight between the knots and
    flat beyond them.
    """
    return np.clip((values[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0)
