"""k-CyPCK: how many points come back from a walk over k photos. It needs no annotation.

A point is carried from a photo through k - 1 others of its category and back to where it started;
it counts if it ends within alpha times the extent of its beginning. k = 2 is there and back. High
values are necessary, not sufficient: a matcher that maps everything to one place and back is
consistent too.

Source: Gupta et al., ASIC, ICCV 2023, section 4 (k-CyPCK); theirs starts from key-points of
benchmarks, as here where there are any, else from cells of the object.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from corr.semantic.datasets.base import PairSet, Side
from corr.semantic.features.cache import FeatureCache
from corr.semantic.pck import ALPHAS
from corr.semantic.pose_alignment import object_cells
from corr.semantic.transfer import Transfer

WALKS = 200  # per category and length, or as many as there are
_MOST_POINTS = 20  # of a photo without key-points


@dataclass(frozen=True)
class CyclePck:
    """One length of walks.

    Args:
        length: Photos that a walk visits, k.
        walks: How many there were.
        points: How many points went on them.
        shares: Of them that came back, 0..1, for every alpha of `ALPHAS`; NaN without points.
    """

    length: int
    walks: int
    points: int
    shares: tuple[float, ...]


def cycle_pck(
    pairs: PairSet,
    cache: FeatureCache,
    transfer: Transfer,
    lengths: Sequence[int],
    *,
    extent: str = "",
    seed: int = 0,
    walks: int = WALKS,
) -> tuple[CyclePck, ...]:
    """Send points of random photos on random walks.

    Args:
        pairs: Whose photos are used; their pairs only tell the categories.
        cache: Features of the photos.
        transfer: Carries points from photo to photo; a point without an answer does not come back.
        lengths: Numbers of photos, 2 or more.
        extent: What alpha multiplies, of the first photo; empty = the benchmark's own.
        seed: Of the walks; the same seed gives the same ones to every matcher.
        walks: Per category and length.

    Raises:
        ValueError: A length is below 2.
    """
    if min(lengths, default=2) < 2:
        raise ValueError(f"cycles must be 2 or more, got {min(lengths)}")
    found = []
    for length in lengths:
        ways = list(_walks(pairs, length, walks, np.random.default_rng([seed, length])))
        ends = [_ends(way, cache, transfer, extent or pairs.extent)
                for way in tqdm(ways, desc=f"cycles of {length}", unit="walk")]  # fmt: skip
        relative = np.concatenate(ends) if ends else np.zeros(0)
        shares = [float((relative <= a).mean()) if len(relative) else np.nan for a in ALPHAS]
        found.append(CyclePck(length, len(ways), len(relative), tuple(shares)))
    return tuple(found)


def _walks(
    pairs: PairSet, length: int, count: int, rng: np.random.Generator
) -> Iterator[list[Side]]:
    """Walks over different photos of one category; none where a category has too few."""
    for category in pairs.categories:
        photos = {s.name: s for p in pairs.pairs if p.category == category
                  for s in (p.source, p.target)}  # fmt: skip
        names = sorted(photos)
        if len(names) < length:
            continue
        for _ in range(count):
            yield [photos[names[k]] for k in rng.permutation(len(names))[:length]]


def _ends(
    way: Sequence[Side], cache: FeatureCache, transfer: Transfer, extent: str
) -> Float[np.ndarray, " n"]:
    """How far from their beginning points end, in shares of the extent; infinite if lost."""
    first = way[0]
    start = starting_points(first, cache)
    size = first.extent_px(extent)
    uv, there = start, np.arange(len(start))
    for a, b in zip(way, [*way[1:], first], strict=True):
        uv = transfer.transfer(cache.get(a), cache.get(b), uv).uv
        answered = np.isfinite(uv).all(1)
        uv, there = uv[answered], there[answered]
    off = np.full(len(start), np.inf)
    off[there] = np.hypot(*(uv - start[there]).T) / size
    return off


def starting_points(side: Side, cache: FeatureCache) -> Float[np.ndarray, "n 2"]:
    """Key-points of the photo, or evenly chosen cells of the object where it has none."""
    if len(side.all_uv):
        return side.all_uv
    grid = cache.get(side)
    uv = grid.centres()[object_cells(side, grid)]
    return uv[:: 1 + (len(uv) - 1) // _MOST_POINTS]


def cycle_table(cycles: Sequence[CyclePck]) -> str:
    """The report's section."""
    rows = [
        f"| {c.length} | {c.walks} | {c.points} | "
        + " | ".join("-" if np.isnan(s) else f"{100 * s:.1f}" for s in c.shares) + " |"
        for c in cycles
    ]  # fmt: skip
    head = ["| k | walks | points | " + " | ".join(f"@{a:g}" for a in ALPHAS) + " |",
            "| --- " * (3 + len(ALPHAS)) + "|"]  # fmt: skip
    about = (
        "Points carried over k photos and back to the first, found within alpha of where they "
        "started; no annotation of a correspondence is used. Necessary, not sufficient."
    )
    return "\n".join(["## k-CyPCK (%)", "", *head, *rows, "", about, ""])
