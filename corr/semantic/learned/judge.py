"""PCK of a head on pairs, from its cache's frozen grids: what the curves of a training show."""

import numpy as np

from corr.semantic.datasets.base import PairSet, Side
from corr.semantic.features.cache import FeatureCache
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.files import Refiner
from corr.semantic.pck import averages, correct, point_errors
from corr.semantic.transfer import Transfer, Window

MOST_PAIRS = 300  # evenly spaced ones are looked at


def pck_percent(
    pairs: PairSet,
    cache: FeatureCache,
    head: Refiner | None = None,
    *,
    alpha: float = 0.1,
    transfer: Transfer | None = None,
) -> float:
    """PCK per image, per cent; of the frozen features where there is no head."""
    few = pairs.chosen(every=1 + (len(pairs.pairs) - 1) // MOST_PAIRS)
    transfer, known = transfer or Window(), dict[str, FeatureGrid]()

    def grid(side: Side) -> FeatureGrid:
        if side.name not in known:
            frozen = cache.get(side)
            known[side.name] = frozen if head is None else head.refined(frozen)
        return known[side.name]

    answers: dict[str, np.ndarray] = {
        p.key: transfer.transfer(grid(p.source), grid(p.target), p.source.uv).uv for p in few.pairs
    }
    errors = point_errors(few, answers)
    return float(100 * averages(errors, correct(errors, alpha)).per_image)
