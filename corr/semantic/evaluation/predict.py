"""Predict every pair of a set that is not predicted yet, from cached features."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corr.semantic.datasets.base import KeypointPair, PairSet, Twins
from corr.semantic.evaluation.predictions import (
    Prediction,
    from_bytes,
    read_predictions,
    to_bytes,
    write_predictions,
)
from corr.semantic.features.cache import FeatureCache
from corr.semantic.pose_alignment import align
from corr.semantic.transfer import Transfer
from corr.sharding import Parallel, Task, map_sharded, refuse_failures, split
from corr.store import digest

PAIRS_PER_SHARD = 64  # pairs take hundredths of a second


@dataclass
class PairAnswers:
    """Answers pairs from their photos' features."""

    cache: FeatureCache
    transfer: Transfer
    twins: Twins
    pose: bool

    def __call__(self, pairs: Sequence[KeypointPair]) -> Iterator[bytes]:
        """The bytes of a prediction per pair."""
        for pair in pairs:
            yield to_bytes(self._answer(pair))

    def _answer(self, pair: KeypointPair) -> Prediction:
        if self.pose:
            twins = self.twins.get(pair.category, {})
            found = align(pair, twins, self.cache, self.transfer).found
        else:
            source, target = self.cache.get(pair.source), self.cache.get(pair.target)
            found = self.transfer.transfer(source, target, pair.source.uv)
        return Prediction(
            pair.key, found.uv, found.confidence, found.similarity, found.margin,
            found.round_trip_px,
        )  # fmt: skip


def predict(
    pairs: PairSet,
    cache: FeatureCache,
    transfer: Transfer,
    file: Path,
    *,
    pose: bool = False,
    parallel: Parallel | None = None,
) -> dict[str, Prediction]:
    """Answer all pairs that `file` does not hold yet; it then holds all, in their order.

    Until then finished shards are kept beside it.

    Args:
        pairs: What is to be answered.
        cache: Of the features, filled.
        transfer: How a match is read out.
        file: JSON lines.
        pose: Match from the flipped source where it fits the target better.
        parallel: Where it is computed; None = in this process.

    Raises:
        UserError: Pairs failed; the others are kept.
    """
    parallel = parallel or Parallel()
    done = read_predictions(file)
    todo = in_cache_order([p for p in pairs.pairs if p.key not in done])
    if todo:
        work = PairAnswers(cache if parallel.here else cache.reading(), transfer, pairs.twins, pose)
        shards = split(todo, parallel.executor.shard_size or PAIRS_PER_SHARD)
        store = parallel.store(file, _key(cache, transfer, pose))
        failures = map_sharded(
            Task(work), shards, store, parallel.executor, workers=parallel.workers, label="pairs"
        )
        found = map(from_bytes, store.payloads(shards))
        done |= {p.key: p for p in found}
        write_predictions(file, [done[p.key] for p in pairs.pairs if p.key in done])
        parallel.clear(file, store, shards)
        refuse_failures(failures, len(pairs.pairs), name=lambda p: p.key)
    return {p.key: done[p.key] for p in pairs.pairs}


def _key(
    cache: FeatureCache, transfer: Transfer, pose: bool
) -> Callable[[Sequence[KeypointPair]], str]:
    """Names of shards: by the features, how matches are read out, the pairs and their points."""
    how = digest(cache.key, transfer, pose)

    def key(pairs: Sequence[KeypointPair]) -> str:
        asked = hashlib.sha256(how.encode())
        for p in pairs:
            names = f"{p.key}\0{p.source.name}\0{p.target.name}\0{len(p.source.uv)}\0"
            asked.update(names.encode() + p.source.uv.tobytes())
        return asked.hexdigest()[:32]

    return key


def in_cache_order(pairs: list[KeypointPair]) -> list[KeypointPair]:
    """Category by category and source by source, so that few photos are needed at a time."""
    return sorted(pairs, key=lambda p: (p.category, p.source.name, p.target.name, p.key))
