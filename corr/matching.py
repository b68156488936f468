"""Stage 2: match pairs of photos, one file each; an interrupted run continues where it stopped."""

import io
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from corr.matchers.base import Matcher
from corr.matchers.photo_matcher import PhotoMatcher
from corr.matches import Matches
from corr.photos import Image
from corr.sharding import ItemFiles, Parallel, Task, map_sharded, refuse_failures, split
from corr.store import write_atomic

log = logging.getLogger(__name__)

PAIRS_FILE = "pairs.json"
PAIRS_PER_SHARD, PHOTOS_PER_SHARD = 16, 4


@dataclass
class PairWork:
    """Matches pairs of photos."""

    images: Sequence[Image]
    matcher: Matcher

    def __call__(self, pairs: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes of a file of matches per pair."""
        for _, matches in self.matcher.match_pairs(self.images, pairs):
            buffer = io.BytesIO()
            matches.save(buffer)
            yield buffer.getvalue()


@dataclass
class FeatureWork:
    """Describes photos."""

    images: Sequence[Image]
    matcher: PhotoMatcher

    def __call__(self, photos: Sequence[int]) -> Iterator[bytes]:
        """The bytes of a file of features per photo."""
        for photo in photos:
            yield self.matcher.described_bytes(photo, self.images[photo])


def match_photos(
    images: Sequence[Image],
    matcher: Matcher,
    folder: Path,
    pairs: Sequence[tuple[int, int]],
    parallel: Parallel | None = None,
) -> None:
    """Write `<i>_<j>.npz` per pair and `pairs.json`; finished pairs are not computed again.

    The folder must belong to these photos and this matcher (the stage store sees to that).

    Args:
        images: The photos.
        matcher: What matches them.
        folder: For the files.
        pairs: Indices of two photos each.
        parallel: Where it is computed; None = in this process.

    Raises:
        UserError: Pairs failed; the others are kept.
    """
    parallel = parallel or Parallel()
    folder.mkdir(parents=True, exist_ok=True)
    missing = [pair for pair in pairs if not pair_file(folder, pair).exists()]
    if len(missing) < len(pairs):
        log.info("%d of %d pairs were already matched", len(pairs) - len(missing), len(pairs))
    start, size = perf_counter(), parallel.executor.shard_size
    features = folder / "features"
    if missing and not parallel.here:
        size, matcher = size or PAIRS_PER_SHARD, replace(matcher)  # without what it has loaded
        if isinstance(matcher, PhotoMatcher):
            matcher = matcher.sharing(features)
            _describe(images, matcher, features, missing, parallel)
    failures = map_sharded(
        Task(PairWork(images, matcher)), split(missing, size or 1),
        ItemFiles(lambda pair: pair_file(folder, pair)), parallel.executor,
        workers=parallel.workers, label="match",
    )  # fmt: skip
    refuse_failures(
        failures, len(missing), name=lambda pair: " ".join(images[k].name for k in pair)
    )
    shutil.rmtree(features, ignore_errors=True)
    write_atomic(folder / PAIRS_FILE, json.dumps([list(pair) for pair in pairs]))
    log.info("%d pairs matched in %.1f s", len(missing), perf_counter() - start)


def _describe(
    images: Sequence[Image],
    matcher: PhotoMatcher,
    folder: Path,
    pairs: Sequence[tuple[int, int]],
    parallel: Parallel,
) -> None:
    """Features of all photos onto disk, so that no process computes what another one has."""
    folder.mkdir(exist_ok=True)
    photos = sorted({photo for pair in pairs for photo in pair})
    failures = map_sharded(
        Task(FeatureWork(images, matcher)), split(photos, PHOTOS_PER_SHARD),
        ItemFiles(matcher.features_file), parallel.executor, workers=parallel.workers,
        label="features", unit="photo",
    )  # fmt: skip
    refuse_failures(failures, len(photos), name=lambda k: images[k].name, unit="photo")


def load_matches(folder: Path) -> dict[tuple[int, int], Matches]:
    """What `match_photos` wrote, by pair of photo indices."""
    pairs = [(int(i), int(j)) for i, j in json.loads((folder / PAIRS_FILE).read_text())]
    return {pair: Matches.load(pair_file(folder, pair)) for pair in pairs}


def pair_file(folder: Path, pair: tuple[int, int]) -> Path:
    """Where the matches of a pair lie."""
    return folder / f"{pair[0]}_{pair[1]}.npz"
