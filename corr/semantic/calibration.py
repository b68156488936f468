"""How likely a transferred point is right: a logistic model of its evidence, where one is shipped.

Right means within a tenth of the longer side of the object's box (PCK at alpha 0.1). A curve is of
one kind of features and one way of matching; it was fitted on the training photos of the rendered
cows of `corr.semantic.datasets.tiny` by `python -m corr.semantic.fit_confidence`. Elsewhere, and
without a curve, the confidence is an order of trust and no probability.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize

FILE = Path(__file__).parent / "confidence.json"
ALPHA = 0.1  # what "right" means
SIGNS = (1.0, 1.0, -1.0)  # a higher similarity and margin speak for a match, a longer trip against
_FLOOR = 0.01  # share of the photo's longer side below which round trips are alike
_RIDGE = 1e-5  # keeps inputs that say nothing at zero
_NOT_IN_KEY = ("weights", "min_confidence")  # where files lie and who abstains


@dataclass(frozen=True)
class Curve:
    """Log-odds as a sum of weighted inputs, each rising or falling as it must.

    Args:
        bias: Log-odds where all inputs are zero.
        weights: Of similarity, margin and the logarithm of the round trip, signs as `SIGNS`.
    """

    bias: float
    weights: tuple[float, float, float]

    def probability(
        self,
        similarity: Float[np.ndarray, " n"],
        margin: Float[np.ndarray, " n"],
        trip_share: Float[np.ndarray, " n"],
    ) -> Float[np.ndarray, " n"]:
        """That each point is right, 0..1.

        Args:
            similarity: Cosine of the match.
            margin: Over the best rival elsewhere.
            trip_share: Where the way back ends, share of the source's longer side.
        """
        logit = inputs(similarity, margin, trip_share) @ np.array(self.weights) + self.bias
        return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))


def inputs(
    similarity: Float[np.ndarray, " n"],
    margin: Float[np.ndarray, " n"],
    trip_share: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n 3"]:
    """The evidence as the model takes it."""
    return np.stack([similarity, margin, np.log(trip_share + _FLOOR)], 1).astype(np.float64)


def fit(rows: Float[np.ndarray, "n 3"], right: Bool[np.ndarray, " n"]) -> Curve:
    """The likeliest curve whose weights have the signs of `SIGNS`.

    Raises:
        ValueError: All points are right, or none is.
    """
    if right.all() or not right.any():
        raise ValueError("a curve needs points that are right and points that are wrong")
    mean, spread = rows.mean(0), np.maximum(rows.std(0), 1e-9)
    x, y = (rows - mean) / spread, right.astype(np.float64)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = parameters[:-1], parameters[-1]
        logit = x @ weights + bias
        likelihood = np.logaddexp(0, logit) - y * logit
        slope = (1 / (1 + np.exp(-logit)) - y) / len(y)
        gradient = np.append(x.T @ slope + 2 * _RIDGE * weights, slope.sum())
        return float(likelihood.mean() + _RIDGE * weights @ weights), gradient

    bounds = [(0, None) if s > 0 else (None, 0) for s in SIGNS] + [(None, None)]
    found = minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = found[:-1] / spread
    a, b, c = (float(w) for w in weights)
    return Curve(float(found[-1] - mean @ weights), (a, b, c))


def setup_key(features: Mapping[str, Any], transfer: Any, align: str) -> str:
    """What a curve belongs to, as it stands in the file of curves.

    Args:
        features: Class and options, as `described` gives them.
        transfer: The way of reading out a match.
        align: `none` or `pose`.
    """
    options = {k: v for k, v in features.items() if k.split(".")[-1] not in _NOT_IN_KEY}
    way = {"class": type(transfer).__name__, **dataclasses.asdict(transfer)}
    way = {k: v for k, v in way.items() if k not in _NOT_IN_KEY}
    return json.dumps({"features": options, "transfer": way, "align": align}, sort_keys=True)


def curve_for(features: Mapping[str, Any], transfer: Any, align: str = "none") -> Curve | None:
    """The shipped curve for exactly these features and this way of matching, if there is one."""
    found = _shipped().get(setup_key(features, transfer, align))
    return None if found is None else Curve(found["bias"], tuple(found["weights"]))


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Any]:
    return {c["setup"]: c for c in json.loads(FILE.read_text())["curves"]}


@dataclass(frozen=True)
class Reliability:
    """How far stated probabilities are from what happens, in bins of equally many points.

    Args:
        stated: Mean confidence of each bin.
        happened: Share right in each bin.
        error: Expected calibration error: mean of their differences.
    """

    stated: tuple[float, ...]
    happened: tuple[float, ...]
    error: float


def reliability(
    sure: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = 10
) -> Reliability:
    """Compare confidences with what happened; NaN without points."""
    if not len(sure):
        return Reliability((), (), float("nan"))
    order = np.argsort(sure, kind="stable")
    parts = [p for p in np.array_split(order, bins) if len(p)]
    stated = [float(sure[p].mean()) for p in parts]
    happened = [float(right[p].mean()) for p in parts]
    gaps = [len(p) * abs(s - h) for p, s, h in zip(parts, stated, happened, strict=True)]
    return Reliability(tuple(stated), tuple(happened), float(sum(gaps) / len(sure)))


def risk_coverage(
    sure: Float[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    coverages: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
) -> tuple[tuple[float, float, float], ...]:
    """(coverage, share wrong among the surest so many, least confidence of these).

    Points of one confidence are taken together in the mean: a tie is no order.
    """
    if not len(sure):
        return ()
    order = np.argsort(-sure, kind="stable")
    levels, inverse, counts = np.unique(sure, return_inverse=True, return_counts=True)
    share = np.bincount(inverse, ~right, len(levels)) / counts
    wrong = np.cumsum(share[inverse][order])
    out = []
    for coverage in coverages:
        k = max(1, round(coverage * len(sure)))
        out.append((coverage, float(wrong[k - 1] / k), float(sure[order[k - 1]])))
    return tuple(out)
