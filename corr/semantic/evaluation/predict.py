"""Predict every pair of a set that is not predicted yet, from cached features."""

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from corr.semantic.datasets.base import KeypointPair, PairSet, Twins
from corr.semantic.evaluation.predictions import Prediction, read_predictions, store
from corr.semantic.features.cache import FeatureCache
from corr.semantic.pose_alignment import align
from corr.semantic.transfer import Transfer


def predict(
    pairs: PairSet, cache: FeatureCache, transfer: Transfer, file: Path, *, pose: bool = False
) -> dict[str, Prediction]:
    """Answer all pairs and keep each answer in `file`; what it holds already is not repeated.

    Args:
        pairs: What is to be answered.
        cache: Of the features.
        transfer: How a match is read out.
        file: JSON lines.
        pose: Match from the flipped source where it fits the target better.
    """
    done = read_predictions(file)
    todo = [p for p in pairs.pairs if p.key not in done]
    if todo:
        answers = _answers(in_cache_order(todo), pairs.twins, cache, transfer, pose)
        bar = tqdm(
            store(file, list(done.values()), answers), desc="pairs", unit="pair",
            total=len(pairs.pairs), initial=len(pairs.pairs) - len(todo),
        )  # fmt: skip
        for prediction in bar:
            done[prediction.key] = prediction
    return {p.key: done[p.key] for p in pairs.pairs}


def in_cache_order(pairs: list[KeypointPair]) -> list[KeypointPair]:
    """Category by category and source by source, so that few photos are needed at a time."""
    return sorted(pairs, key=lambda p: (p.category, p.source.name, p.target.name, p.key))


def _answers(
    pairs: list[KeypointPair], twins: Twins, cache: FeatureCache, transfer: Transfer, pose: bool
) -> Iterator[Prediction]:
    for pair in pairs:
        if pose:
            found = align(pair, twins.get(pair.category, {}), cache, transfer).found
        else:
            source, target = cache.get(pair.source), cache.get(pair.target)
            found = transfer.transfer(source, target, pair.source.uv)
        yield Prediction(
            pair.key, found.uv, found.confidence, found.similarity, found.margin,
            found.round_trip_px,
        )  # fmt: skip
