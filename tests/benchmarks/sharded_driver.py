"""An evaluation of as many pairs as SPair-71k's, on features made up: what does the driver cost?

`python -m tests.benchmarks.sharded_driver <folder> [pairs]` prints JSON; a process of its own, so
that its peak memory is the driver's. Seconds are of the processor: other work on the machine does
not count.
"""

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import psutil

from corr.semantic.datasets.base import KeypointPair, PairSet, Side
from corr.semantic.evaluation import predict as predicting
from corr.semantic.features.cache import FeatureCache, save_grid
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.transfer import Window
from corr.sharding import Parallel, ShardFolder
from corr.store import peak_memory_mb

PAIRS, PHOTOS, POINTS = 12_234, 300, 9
MEMORY_MB = 64.0  # of grids, which take 280: as in SPair-71k most pairs read one from disk
SHAPE = (24, 32, 304)  # of the default features of a photo of 4 : 3
IDS = tuple(map(str, range(POINTS)))
SIDE = {"width": 500, "height": 375}


def write_grids(cache: FeatureCache) -> None:
    """Grids of noise, as half precision keeps them, for all photos."""
    cache.place.mkdir(parents=True)
    rng = np.random.default_rng(1)
    step = np.array([SIDE["width"] / SHAPE[1], SIDE["height"] / SHAPE[0]])
    for k in range(PHOTOS):
        cells = rng.standard_normal(SHAPE).astype(np.float32)
        cells /= np.linalg.norm(cells, axis=-1, keepdims=True)
        save_grid(cache.file(str(k)), FeatureGrid(cells, step / 2, step, **SIDE))


def made_up_pairs(count: int) -> PairSet:
    """Pairs of few photos, with key-points anywhere."""
    rng = np.random.default_rng(0)
    pairs = []
    for k in range(count):
        a, b = rng.choice(PHOTOS, 2, replace=False)
        uv = rng.uniform(0, [SIDE["width"], SIDE["height"]], (2, POINTS, 2))
        sides = [side(str(n), xy) for n, xy in zip((a, b), uv, strict=True)]
        pairs.append(KeypointPair(f"{k:05d}", "thing", *sides, IDS))
    return PairSet("made up", "test", tuple(pairs), "image")


def side(name: str, uv: np.ndarray) -> Side:
    """A photo with key-points; no file is needed."""
    return Side(name, Path(name), **SIDE, uv=uv)


class Clock:
    """Replaces a function by one whose seconds are added up."""

    def __init__(self, owner: Any, name: str):
        self.seconds, self.calls = 0.0, 0
        original = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            start = process_time()
            answer = original(*arguments, **named)
            self.seconds += process_time() - start
            self.calls += 1
            return answer

        setattr(owner, name, timed)


def main(arguments: Sequence[str]) -> None:
    """Evaluate, and print what it took."""
    folder, count = Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else PAIRS
    pairs, cache = made_up_pairs(count), FeatureCache(folder, None, MEMORY_MB, key="made_up")
    write_grids(cache)
    import_module("fsspec.core")  # as torch does in any other evaluation
    # Names, checksums, files: few calls each, so that the clock does not measure itself.
    shards = [Clock(ShardFolder, "read"), Clock(ShardFolder, "keep"), Clock(Parallel, "clear")]
    writing = Clock(predicting, "write_predictions")
    memory: list[float] = []

    keep = ShardFolder.keep

    def kept(*arguments: Any) -> None:
        memory.append(psutil.Process().memory_info().rss / 2**20)
        keep(*arguments)

    ShardFolder.keep = kept  # type: ignore[method-assign]
    start = process_time()
    found = predicting.predict(pairs, cache, Window(), folder / "predictions.jsonl")
    seconds = process_time() - start
    memory.append(psutil.Process().memory_info().rss / 2**20)
    assert len(found) == count
    row = {
        "pairs": count, "seconds": seconds, "results": writing.seconds,
        "bookkeeping": sum(clock.seconds for clock in shards),
        "rss_quarter_mb": memory[len(memory) // 4], "rss_end_mb": memory[-1],
        "peak_mb": peak_memory_mb(),
    }  # fmt: skip
    print(json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1:])
