"""PCK of a head on pairs, from its cache's frozen grids: what the curves of a training show."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from corr.semantic.datasets.base import PairSet, Side
from corr.semantic.evaluation.predict import in_cache_order
from corr.semantic.features.cache import FeatureCache
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.files import Refiner
from corr.semantic.pck import averages, correct, point_errors
from corr.semantic.transfer import Transfer, Window

MOST_PAIRS = 300  # evenly spaced ones are looked at
_KEPT = 48  # refined grids in memory


def pck_percent(
    pairs: PairSet,
    cache: FeatureCache,
    head: Refiner | None = None,
    *,
    alpha: float = 0.1,
    transfer: Transfer | None = None,
) -> float:
    """PCK per image, per cent; of the frozen features where there is no head."""

    def refined(photo: Side) -> FeatureGrid:
        frozen = cache.get(photo)
        return frozen if head is None else head.refined(frozen)

    return pck_of(pairs, refined, alpha=alpha, transfer=transfer)


def pck_of(
    pairs: PairSet,
    grids: Callable[[Side], FeatureGrid],
    *,
    alpha: float = 0.1,
    transfer: Transfer | None = None,
) -> float:
    """PCK per image, per cent, of whatever gives a photo's features."""
    few = pairs.chosen(every=1 + (len(pairs.pairs) - 1) // MOST_PAIRS)
    transfer, photos = transfer or Window(), few.photos

    @lru_cache(maxsize=_KEPT)
    def grid(name: str) -> FeatureGrid:
        return grids(photos[name])

    answers: dict[str, np.ndarray] = {
        p.key: transfer.transfer(grid(p.source.name), grid(p.target.name), p.source.uv).uv
        for p in in_cache_order(list(few.pairs))
    }
    errors = point_errors(few, answers)
    return float(100 * averages(errors, correct(errors, alpha)).per_image)
