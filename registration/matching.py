"""Matches between descriptors: nearest neighbours in both directions, with their ambiguity."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit

BLOCK = 2048  # rows of the distance matrix held at once


@dataclass(frozen=True, eq=False)
class FeatureMatches:
    """Putative correspondences, best first within each source point."""

    source: Int[np.ndarray, " m"]
    target: Int[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]  # 0..1, from the ratio test: 1 = no rival

    def __len__(self) -> int:
        return len(self.source)


def match_features(
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "k d"],
    *,
    per_point: int = 1,
    mutual: bool = True,
    max_ratio: float = 1.0,
) -> FeatureMatches:
    """Nearest neighbours in descriptor space.

    Args:
        a: Descriptors of the source.
        b: Descriptors of the target.
        per_point: Candidates per point, in each direction (one-to-many above 1).
        mutual: Keep a match only where each point is among the other's candidates; else keep
            the union of both directions.
        max_ratio: Drop matches whose distance exceeds this share of the next candidate's.
    """
    top = min(per_point + 1, len(b), len(a))
    if top == 0:
        none = np.zeros(0, np.int64)
        return FeatureMatches(none, none, np.zeros(0))
    (ab, distance_ab), (ba, distance_ba) = _nearest(a, b, top)
    forward, weight_f = _table(ab, distance_ab, per_point)
    backward, weight_b = _table(ba, distance_ba, per_point)
    key_f = forward[:, 0] * len(b) + forward[:, 1]
    key_b = backward[:, 1] * len(b) + backward[:, 0]
    if mutual:
        keys, at_f, at_b = np.intersect1d(key_f, key_b, assume_unique=True, return_indices=True)
        ratio = np.maximum(weight_f[at_f], weight_b[at_b])
    else:
        keys, first = np.unique(np.concatenate([key_f, key_b]), return_index=True)
        ratio = np.concatenate([weight_f, weight_b])[first]
    keep = ratio <= max_ratio
    keys, ratio = keys[keep], ratio[keep]
    return FeatureMatches(keys // len(b), keys % len(b), 1 - np.minimum(ratio, 1.0) ** 2 + 0.05)


def alike(
    source: Float[np.ndarray, "n 3"] | None,
    target: Float[np.ndarray, "k 3"] | None,
    rows: Int[np.ndarray, "m 2"],
    most: float,
) -> Bool[np.ndarray, " m"]:
    """Matches (source, target index) whose colours differ by `most` or less.

    Raises:
        ValueError: A cloud has no colours.
    """
    if source is None or target is None:
        which = "the source" if source is None else "the target"
        raise ValueError(f"{which} has no colours; set colour=0")
    return np.linalg.norm(source[rows[:, 0]] - target[rows[:, 1]], axis=1) <= most


def _nearest(a: np.ndarray, b: np.ndarray, top: int):
    """Indices and distances of the `top` nearest rows, of b for each of a and the other way."""
    index_a = np.empty((len(a), top), np.int64)
    square_a = np.empty((len(a), top), np.float32)
    index_b = np.zeros((len(b), top), np.int64)
    square_b = np.full((len(b), top), np.inf, np.float32)
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    norm_b = (b**2).sum(1)
    for start in range(0, len(a), BLOCK):
        rows = a[start : start + BLOCK]
        square = norm_b - 2 * rows @ b.T + (rows**2).sum(1)[:, None]
        stop = start + len(rows)
        _keep_smallest(square, start, index_a[start:stop], square_a[start:stop], index_b, square_b)
    root_a, root_b = np.sqrt(np.maximum(square_a, 0)), np.sqrt(np.maximum(square_b, 0))
    return (index_a, root_a), (index_b, root_b)


@njit(inline="always")
def _insert(values, index, v, j):
    """Put v into an ascending list if it belongs there; ties keep what came first."""
    at = len(values) - 1
    if v < values[at]:
        while at > 0 and v < values[at - 1]:
            values[at], index[at] = values[at - 1], index[at - 1]
            at -= 1
        values[at], index[at] = v, j


@njit(cache=True, nogil=True)
def _keep_smallest(square, offset, index_a, square_a, index_b, square_b):
    """Update the smallest entries by row and by column with a block of rows."""
    square_a[:] = np.inf
    last = square_a.shape[1] - 1
    for i in range(len(square)):
        for j in range(square.shape[1]):
            v = square[i, j]
            if v < square_a[i, last]:
                _insert(square_a[i], index_a[i], v, j)
            if v < square_b[j, last]:
                _insert(square_b[j], index_b[j], v, offset + i)


def _table(index: np.ndarray, distance: np.ndarray, per_point: int):
    """(row, candidate) pairs and the ratio of each distance to the first one not used."""
    used = min(per_point, index.shape[1])
    last = np.maximum(distance[:, -1:], 1e-12)
    ratio = (distance[:, :used] / last).ravel()
    rows = np.repeat(np.arange(len(index)), used)
    return np.stack([rows, index[:, :used].ravel()], 1), ratio
