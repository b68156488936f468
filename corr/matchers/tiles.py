"""Large photos in overlapping tiles: which tiles there are, and which pairs of them to match."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

MARGIN_SHARE = 0.125  # of the tile's side, seen around its core
PARTNERS = 4  # tiles of photo b that are tried per tile of photo a, most shared matches first
MIN_SHARED = 3  # matches of the whole photos that two tiles must share


@dataclass(frozen=True)
class Tile:
    """What a network sees (`left` … `bottom`), and the core within, where its matches count.

    The cores cover the picture without overlap: a point belongs to one tile only.
    """

    left: int
    top: int
    right: int
    bottom: int
    core: tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Tiling:
    """The tiles of one picture, row by row."""

    tiles: tuple[Tile, ...]
    edges_x: tuple[int, ...]  # of the cores
    edges_y: tuple[int, ...]

    def of(self, uv: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """The tile in whose core each place, pixels of the picture, lies."""
        column = np.searchsorted(self.edges_x[1:-1], uv[:, 0], side="right")
        row = np.searchsorted(self.edges_y[1:-1], uv[:, 1], side="right")
        return row * (len(self.edges_x) - 1) + column


def tiling(width: int, height: int, side: int) -> Tiling:
    """Tiles of at most `side` x `side` pixels; one if the picture is not larger than that."""
    margin = round(side * MARGIN_SHARE)
    x, y = _edges(width, side, margin), _edges(height, side, margin)
    tiles = [
        Tile(
            max(0, left - margin), max(0, top - margin),
            min(width, right + margin), min(height, bottom + margin), (left, top, right, bottom),
        )
        for top, bottom in itertools.pairwise(y)
        for left, right in itertools.pairwise(x)
    ]  # fmt: skip
    return Tiling(tuple(tiles), x, y)


def _edges(length: int, side: int, margin: int) -> tuple[int, ...]:
    count = 1 if length <= side else math.ceil(length / (side - 2 * margin))
    return tuple(round(k * length / count) for k in range(count + 1))


def tile_pairs(
    tile_a: Int[np.ndarray, " n"], tile_b: Int[np.ndarray, " n"]
) -> list[tuple[int, int]]:
    """Pairs of tiles that share matches of the whole photos, at most `PARTNERS` per tile of a.

    Args:
        tile_a: The tile of every match in photo a.
        tile_b: The same in photo b.
    """
    pairs, counts = np.unique(np.stack([tile_a, tile_b], -1), axis=0, return_counts=True)
    order = np.lexsort((pairs[:, 1], -counts, pairs[:, 0]))
    used: dict[int, int] = {}
    chosen = []
    for a, b, shared in np.column_stack([pairs, counts])[order].tolist():
        if shared >= MIN_SHARED and used.get(a, 0) < PARTNERS:
            used[a] = used.get(a, 0) + 1
            chosen.append((a, b))
    return sorted(chosen)
