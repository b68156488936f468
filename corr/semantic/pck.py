"""PCK, the share of key-points found: one table of errors, from which every average is taken.

A key-point is found if ||predicted - true|| <= alpha * max(w, h) with w, h of the *target's* box or
image, all in original pixels, where x and y have one scale. Every variant that papers report is a
reduction of the same `PointErrors`, so they are of the same predictions by construction.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from corr.semantic.datasets.base import KeypointPair, PairSet

ALPHAS = (0.01, 0.05, 0.1, 0.15)
# A distance that equals its limit on paper must not fail by the last bit of a float.
_LAST_BITS = 1e-9
Predictions = Mapping[str, Float[np.ndarray, "_ 2"]]  # by the pair's key; NaN rows = no answer


@dataclass(frozen=True, eq=False)
class PointErrors:
    """One row per key-point, pair after pair.

    Args:
        pair: Index of the pair, k.
        error_px: Distance from the truth, original pixels; infinite where there is no answer, k.
        extent_px: What alpha multiplies, k.
        category: Index of each pair's category, one per pair.
        categories: Their names.
    """

    pair: Int[np.ndarray, " k"]
    error_px: Float[np.ndarray, " k"]
    extent_px: Float[np.ndarray, " k"]
    category: Int[np.ndarray, " pairs"]
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pair)


@dataclass(frozen=True)
class Averages:
    """The four averages in use, 0..1; NaN over nothing.

    `per_image`: mean over pairs of the share found in each. `per_point`: found over all points.
    `category_mean`: per-image value of each category, their unweighted mean. `weighted`: per-point
    value of each category, weighted by its number of pairs.
    """

    per_image: float
    per_point: float
    category_mean: float
    weighted: float


def point_errors(pairs: PairSet, predictions: Predictions, extent: str = "") -> PointErrors:
    """Errors of all predictions.

    Args:
        pairs: The truth.
        predictions: Places in the target photo, original pixels, in the order of each pair's ids.
        extent: box, image or points; empty = the benchmark's own.

    Raises:
        ValueError: A pair has no prediction, one of another length, or no extent.
    """
    extent = extent or pairs.extent
    errors, extents, index = [], [], []
    for k, pair in enumerate(pairs.pairs):
        errors.append(_distances(pair, predictions))
        index.append(np.full(len(pair.ids), k))
        extents.append(np.full(len(pair.ids), _extent(pair, extent)))
    return PointErrors(
        np.concatenate(index).astype(np.int64),
        np.concatenate(errors),
        np.concatenate(extents),
        *category_index(pairs),
    )


def category_index(pairs: PairSet) -> tuple[Int[np.ndarray, " pairs"], tuple[str, ...]]:
    """Each pair's category as an index into the sorted names."""
    names = pairs.categories
    number = {name: k for k, name in enumerate(names)}
    return np.array([number[p.category] for p in pairs.pairs], dtype=np.int64), names


def _distances(pair: KeypointPair, predictions: Predictions) -> Float[np.ndarray, " n"]:
    if pair.key not in predictions:
        raise ValueError(f"{pair.key} has no prediction")
    uv = np.asarray(predictions[pair.key], dtype=np.float64)
    if uv.shape != pair.target.uv.shape:
        raise ValueError(f"{pair.key}: predictions must be {pair.target.uv.shape}, got {uv.shape}")
    distance = np.hypot(*(uv - pair.target.uv).T)
    return np.where(np.isfinite(distance), distance, np.inf)


def _extent(pair: KeypointPair, extent: str) -> float:
    if not pair.ids:
        return 0.0  # multiplies nothing
    size = pair.target.extent_px(extent)
    if not size > 0:
        raise ValueError(f"{pair.key}: the target's {extent} has no size; is it annotated?")
    return size


def correct(errors: PointErrors, alpha: float, *, strict: bool = False) -> Bool[np.ndarray, " k"]:
    """Which points are found: within alpha times the extent (`strict`: nearer than that)."""
    limit = alpha * errors.extent_px
    if strict:
        return errors.error_px < limit * (1 - _LAST_BITS)
    return errors.error_px <= limit * (1 + _LAST_BITS)


def averages(
    errors: PointErrors,
    found: Bool[np.ndarray, " k"],
    among: Bool[np.ndarray, " k"] | None = None,
) -> Averages:
    """All four averages over the points in `among` (all by default).

    A pair without such points takes no part in any of them.
    """
    among = np.ones(len(errors), bool) if among is None else among
    pairs = len(errors.category)
    points = np.bincount(errors.pair[among], minlength=pairs)
    hits = np.bincount(errors.pair[among & found], minlength=pairs)
    used = points > 0
    if not used.any():
        return Averages(*[float("nan")] * 4)
    share = hits[used] / points[used]
    category, n = errors.category[used], len(errors.categories)
    of_category = np.bincount(category, minlength=n)
    there = of_category > 0
    by_image = np.bincount(category, share, minlength=n)[there] / of_category[there]
    by_point = (
        np.bincount(category, hits[used], minlength=n)[there]
        / np.bincount(category, points[used], minlength=n)[there]
    )
    return Averages(
        per_image=float(share.mean()),
        per_point=float(hits.sum() / points.sum()),
        category_mean=float(by_image.mean()),
        weighted=float((by_point * of_category[there]).sum() / of_category[there].sum()),
    )
