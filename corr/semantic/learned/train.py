"""`corr train method=…`: the splits, the check that nothing tested is learned from, the method."""

import dataclasses
import json
import logging
import math
import time
from pathlib import Path

from corr.errors import UserError
from corr.folders import job_folder, make_folder
from corr.options import choice_name, extractors
from corr.semantic.datasets.base import PairSet
from corr.semantic.datasets.read import read_pairs
from corr.semantic.features.cache import described
from corr.semantic.learned.method import World
from corr.semantic.learned.unseen import (
    LearningCache,
    check_unseen,
    photo_digests,
    without_tested,
)
from corr.store import write_atomic
from corr.training_options import TrainOptions, methods

log = logging.getLogger(__name__)


def train(options: TrainOptions) -> str:
    """Train or continue a training; returns the lines to print.

    Raises:
        UserError: The folder is no such benchmark, its splits are not disjoint, or `out` holds
            another training.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        return _train(options)
    finally:
        torch.set_num_threads(threads)


def _train(options: TrainOptions) -> str:
    name = choice_name(options.method, methods())
    features = choice_name(options.features, extractors())
    start = time.monotonic()
    place = Path(options.out or f"outputs/train/{name}_{features}")
    world = opened(options, job_folder(place.expanduser().resolve()))
    try:
        done = options.method.train(world)
    except ValueError as error:
        raise UserError(str(error)) from None
    seconds = time.monotonic() - start
    result = {"method": name, "seconds": round(seconds, 1), **dataclasses.asdict(done)}
    result |= {"head": done.head.name, "out": world.out.name}
    known = {k: None if isinstance(v, float) and not math.isfinite(v) else v
             for k, v in result.items()}  # fmt: skip
    write_atomic(world.out / "result.json", json.dumps(known, indent=1))
    course = f"{done.figure} {done.before:.1f} → {done.after:.1f}"
    if not math.isfinite(done.after):
        course = f"{done.figure} unknown: there is no validation split"
    return (
        f"method={name} features={features}: {course}, {len(world.learned.photos)} photos, "
        f"{seconds:.0f} s\nhead: {done.head}\ncurve: {done.head.with_name('curve.svg')}"
    )


def opened(options: TrainOptions, out: Path) -> World:
    """Read the splits, prove that none of the test photos is among them, open the cache.

    Raises:
        UserError: They share photos, or the folder is no such benchmark.
    """
    learned, test = _split(options, "trn"), _split(options, "test")
    validated = _validation(options, learned)
    try:
        if options.shared == "drop":
            learned = without_tested(learned, test)
        for split in filter(None, (learned, validated)):
            check_unseen(split, test)
    except ValueError as error:
        advice = "" if options.shared == "drop" else " (shared=drop does)"
        raise UserError(f"{error}{advice}") from None
    make_folder(out)
    cache = LearningCache(
        Path(options.cache).expanduser(), options.features, options.memory_mb,
        barred=frozenset(test.photos),
    )  # fmt: skip
    about = {
        "benchmark": f"{learned.name} {learned.split}",
        "pairs": len(learned.pairs),
        "features": described(options.features),
        "photos": sorted(photo_digests(learned)),
    }
    log.info("%s: %d pairs of %d photos to learn from, none of the %d test photos among them",
             learned.name, len(learned.pairs), len(learned.photos), len(test.photos))  # fmt: skip
    return World(
        learned, validated, cache, out, options.seed, about, frozenset(photo_digests(test))
    )


def _split(options: TrainOptions, split: str) -> PairSet:
    pairs = read_pairs(
        options.benchmark, Path(options.data).expanduser(), split=split, size=options.size,
        subset=options.subset,
    )  # fmt: skip
    try:
        return pairs.chosen(categories=options.categories)
    except ValueError as error:
        raise UserError(str(error)) from None


def _validation(options: TrainOptions, learned: PairSet) -> PairSet | None:
    """The split val, less what is learned from; None where there is none."""
    try:
        found = _split(options, "val")
        check_unseen(learned, found)
    except UserError as error:
        log.info("no validation: %s", error)
        return None
    except ValueError as error:
        log.info("no validation, the splits trn and val are not disjoint: %s", error)
        return None
    return found
