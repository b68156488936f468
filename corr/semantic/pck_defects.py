"""Evaluators with the mistakes that are on record, kept to show what each does to a number.

None of them scores anything here. The report prints them beside the right value, so that a
published figure can be recognised, and the self-check proves that its probes would notice them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from corr.semantic.datasets.base import KeypointPair, PairSet, Side
from corr.semantic.pck import PointErrors, Predictions, point_errors

SQUARE = 256.0  # px, the side that squashing codes bring every photo to; it cancels
PADDED = 20  # rows that codes pad their key-points to
Scorer = Callable[[PairSet, Predictions, str], PointErrors]


@dataclass(frozen=True)
class Defect:
    """One mistake: what it does, where it was found, and an evaluator that makes it."""

    name: str
    what: str
    source: str
    score: Scorer


def _of_source(pairs: PairSet, predictions: Predictions, extent: str) -> PointErrors:
    errors = point_errors(pairs, predictions, extent)
    size = [p.source.extent_px(extent or pairs.extent) for p in pairs.pairs]
    return replace(errors, extent_px=np.array(size)[errors.pair])


def _padded(pairs: PairSet, predictions: Predictions, extent: str) -> PointErrors:
    errors = point_errors(pairs, predictions, extent)
    size = []
    for pair in pairs.pairs:
        fill = np.full((max(0, PADDED - len(pair.ids)), 2), -1.0)
        size.append(np.ptp(np.concatenate([pair.target.uv, fill]), axis=0).max())
    return replace(errors, extent_px=np.array(size)[errors.pair])


def _squashed_pair(pair: KeypointPair, uv: np.ndarray) -> tuple[KeypointPair, np.ndarray]:
    """The pair in squares: x and y of each photo have their own scale."""
    scale = np.array([SQUARE / pair.target.width, SQUARE / pair.target.height])
    target: Side = replace(
        pair.target, uv=pair.target.uv * scale, width=int(SQUARE), height=int(SQUARE),
        box=None if pair.target.box is None else pair.target.box * [*scale, *scale],
    )  # fmt: skip
    return replace(pair, target=target), uv * scale


def _squash(pairs: PairSet, predictions: Predictions) -> tuple[PairSet, Predictions]:
    squashed = [_squashed_pair(p, np.asarray(predictions[p.key])) for p in pairs.pairs]
    keys = [p.key for p in pairs.pairs]
    return (
        replace(pairs, pairs=tuple(p for p, _ in squashed)),
        dict(zip(keys, (uv for _, uv in squashed), strict=True)),
    )


def _anisotropic(pairs: PairSet, predictions: Predictions, extent: str) -> PointErrors:
    return point_errors(*_squash(pairs, predictions), extent or pairs.extent)


def _scaled_by_y(pairs: PairSet, predictions: Predictions, extent: str) -> PointErrors:
    errors = _anisotropic(pairs, predictions, extent)
    right = point_errors(pairs, predictions, extent)
    scale = np.array([SQUARE / p.target.height for p in pairs.pairs])[errors.pair]
    return replace(errors, extent_px=right.extent_px * scale)


def _from_index(pairs: PairSet, predictions: Predictions, extent: str) -> PointErrors:
    shifted = {p.key: np.asarray(predictions[p.key]) - 0.5 for p in pairs.pairs}
    return point_errors(pairs, shifted, extent)


DEFECTS = (
    Defect("source box", "alpha multiplies the source's extent",
           "CATs issues 5, 9, 14", _of_source),
    Defect("padded points", "key-points padded with -1 stretch the extent",
           "dhpf issue 3, CATs issue 6", _padded),
    Defect("threshold by y", "photos are squashed, the threshold is scaled by y only",
           "distilldift issue 3", _scaled_by_y),
    Defect("squashed", "distances and boxes are measured in squashed photos",
           "the 240 and 256 pixel squares of DHPF and CATs", _anisotropic),
    Defect("pixel index", "predictions are indices of pixels, the truth is centres",
           "patch times stride, with and without half a stride", _from_index),
)  # fmt: skip
