"""Stage 2: match pairs of photos, one file each; an interrupted run continues where it stopped."""

import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

from corr.matchers.base import Matcher
from corr.matches import Matches
from corr.photos import Image
from corr.store import write_atomic

log = logging.getLogger(__name__)

PAIRS_FILE = "pairs.json"


def match_photos(
    images: Sequence[Image],
    matcher: Matcher,
    folder: Path,
    pairs: Sequence[tuple[int, int]],
) -> None:
    """Write `<i>_<j>.npz` per pair and `pairs.json`; finished pairs are not computed again.

    The folder must belong to these photos and this matcher (the stage store sees to that).
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [pair for pair in pairs if not pair_file(folder, pair).exists()]
    if len(missing) < len(pairs):
        log.info("%d of %d pairs were already matched", len(pairs) - len(missing), len(pairs))
    start, total = perf_counter(), 0
    progress = tqdm(
        matcher.match_pairs(images, missing), total=len(missing), desc="match", unit="pair"
    )
    for pair, matches in progress:
        buffer = io.BytesIO()
        matches.save(buffer)
        write_atomic(pair_file(folder, pair), buffer.getvalue())
        total += len(matches)
    write_atomic(folder / PAIRS_FILE, json.dumps([list(pair) for pair in pairs]))
    log.info(
        "%d pairs matched in %.1f s, %d matches a pair",
        len(missing), perf_counter() - start, total // max(1, len(missing)),
    )  # fmt: skip


def load_matches(folder: Path) -> dict[tuple[int, int], Matches]:
    """What `match_photos` wrote, by pair of photo indices."""
    pairs = [(int(i), int(j)) for i, j in json.loads((folder / PAIRS_FILE).read_text())]
    return {pair: Matches.load(pair_file(folder, pair)) for pair in pairs}


def pair_file(folder: Path, pair: tuple[int, int]) -> Path:
    """Where the matches of a pair lie."""
    return folder / f"{pair[0]}_{pair[1]}.npz"
