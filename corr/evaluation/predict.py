"""Match every pair of a set that is not matched yet: matches in files, one line per pair."""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

from PIL import Image as PilImage

from corr.errors import UserError
from corr.evaluation.sets import PhotoFile, TruePair, safe_key
from corr.lines import appended, complete_lines
from corr.matchers.base import Matcher
from corr.matches import Matches
from corr.photos import Image
from corr.sharding import Parallel, Store, Task, map_sharded, refuse_failures, split
from corr.store import write_atomic

PAIRS_PER_SHARD = 8  # a photo's features are computed anew for every shard


@dataclass(frozen=True)
class Matched:
    """One pair is matched; the matches lie in `matches_file`."""

    key: str
    matches: int
    seconds: float  # of matching, features included where they were not at hand


def matches_file(folder: Path, key: str) -> Path:
    """Where a pair's matches lie."""
    return folder / "matches" / f"{safe_key(key)}.npz"


def shard(pairs: Sequence[TruePair], text: str) -> list[TruePair]:
    """The k-th of n contiguous stretches, `text` being "k/n"."""
    part, parts = (int(v) for v in text.split("/"))
    return list(pairs[len(pairs) * (part - 1) // parts : len(pairs) * part // parts])


def shard_file(folder: Path, stem: str, text: str) -> Path:
    """Lines of one shard: `<stem>.jsonl`, or `<stem>_<k>of<n>.jsonl`."""
    part, parts = text.split("/")
    return folder / (f"{stem}.jsonl" if parts == "1" else f"{stem}_{part}of{parts}.jsonl")


def from_line(line: str) -> Matched:
    """The reverse of a line of predictions.

    Raises:
        ValueError: It is something else.
    """
    try:
        return Matched(**json.loads(line))
    except TypeError as error:
        raise ValueError(f"not a prediction: {error}") from None


def read_matched(folder: Path) -> dict[str, Matched]:
    """What all shards have matched; a pair whose file is gone is not."""
    files = sorted(folder.glob("predictions*.jsonl"))
    lines = [m for file in files for m in complete_lines(file, from_line)]
    return {m.key: m for m in lines if matches_file(folder, m.key).is_file()}


@dataclass
class TimedPairs:
    """Matches pairs of indices; of each the number of matches, the seconds, and a file's bytes."""

    images: Sequence[Image]
    matcher: Matcher

    def __call__(self, pairs: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """A line of JSON and the bytes of a file of matches, per pair."""
        start = perf_counter()
        for _, found in self.matcher.match_pairs(self.images, pairs):
            seconds, buffer = perf_counter() - start, io.BytesIO()
            found.save(buffer)
            head = json.dumps({"matches": len(found), "seconds": round(seconds, 4)})
            yield head.encode() + b"\n" + buffer.getvalue()
            start = perf_counter()


@dataclass
class MatchedPairs(Store):
    """Keeps the matches of pairs in files, and then a line for each.

    Args:
        keys: Of the pairs, by their indices.
        folder: Of the whole evaluation.
        add: Appends a line.
    """

    keys: Mapping[tuple[int, int], str]
    folder: Path
    add: Callable[[str], None]

    def holds(self, items: Sequence[tuple[int, int]]) -> bool:
        """Never: what is matched is not asked for."""
        return False

    def keep(self, items: Sequence[tuple[int, int]], payloads: Sequence[bytes]) -> None:
        """Write a file and a line per pair."""
        for item, payload in zip(items, payloads, strict=True):
            head, _, matches = payload.partition(b"\n")
            key = self.keys[item]
            write_atomic(matches_file(self.folder, key), matches)
            self.add(json.dumps({"key": key, **json.loads(head)}))


def predict(
    pairs: Sequence[TruePair],
    matcher: Matcher,
    folder: Path,
    file: Path,
    parallel: Parallel | None = None,
) -> None:
    """Match the pairs that are still to be matched, keeping each as it comes.

    Args:
        pairs: Of one shard.
        matcher: Gets the photos at their full size; its `max_side` says what it looks at.
        folder: Of the whole evaluation.
        file: Lines of this shard.
        parallel: Where it is computed; None = in this process.

    Raises:
        UserError: Pairs failed; the others are kept.
    """
    parallel = parallel or Parallel()
    done = read_matched(folder)
    todo = [p for p in pairs if p.key not in done]
    (folder / "matches").mkdir(parents=True, exist_ok=True)
    own = [json.dumps(asdict(m)) for m in complete_lines(file, from_line) if m.key in done]
    with appended(file, own) as add:
        if not todo:
            return
        files = {p.name: p for pair in todo for p in (pair.a, pair.b)}
        images = [as_image(f) for f in files.values()]
        number = {name: k for k, name in enumerate(files)}
        keys = {(number[p.a.name], number[p.b.name]): p.key for p in todo}
        size = parallel.executor.shard_size or (1 if parallel.here else PAIRS_PER_SHARD)
        failures = map_sharded(
            Task(TimedPairs(images, matcher if parallel.here else replace(matcher))),
            split(list(keys), size), MatchedPairs(keys, folder, add), parallel.executor,
            workers=parallel.workers, label="match",
        )  # fmt: skip
    refuse_failures(failures, len(todo), name=lambda pair: keys[pair])


def as_image(photo: PhotoFile) -> Image:
    """The file itself as a working copy: benchmarks count pixels as it stores them.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with PilImage.open(photo.path) as file:
            width, height = file.size
    except OSError as error:
        raise UserError(f"photo {photo.path} cannot be read ({error})") from None
    return Image(photo.name, photo.path, width, height, None, photo.path, width, height)


def load(folder: Path, key: str) -> Matches:
    """A pair's matches.

    Raises:
        UserError: The file is damaged.
    """
    path = matches_file(folder, key)
    try:
        return Matches.load(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it to have it made again") from None
