"""Which photos to match with which: all pairs of a few, neighbours of many."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.photos import Image
from corr.sharding import Parallel

log = logging.getLogger(__name__)

ALL_PAIRS_UP_TO = 30  # photos
SIMILAR, NEXT = 12, 4  # neighbours per photo by look and by name order
TINY_PX, HUE_BINS = 12, 4
BLOCK_BYTES = 2**28  # of similarities at a time; 100 000 photos: 335 rows


def choose_pairs(
    images: Sequence[Image],
    *,
    all_up_to: int = ALL_PAIRS_UP_TO,
    max_pairs: int = 0,
    per_photo: int = 0,
    folder: Path | None = None,
    parallel: Parallel | None = None,
) -> list[tuple[int, int]]:
    """All pairs of up to `all_up_to` photos, else each photo's most promising neighbours.

    Args:
        images: The photos; the list is in shooting order if the names are.
        all_up_to: Up to how many photos every pair is tried.
        max_pairs: Try at most this many pairs, the most promising ones; 0 = no limit.
        per_photo: Of many photos, each is in at most so many pairs; 0 = no limit.
        folder: Keeps features of many photos; None = they are computed anew.
        parallel: Where those are computed; None = in this process.
    """
    n = len(images)
    if n <= all_up_to and (not max_pairs or max_pairs >= n * (n - 1) // 2):
        return all_pairs(n)
    found = looks(images, folder, parallel)
    similar = max(SIMILAR, per_photo)
    pairs = select_pairs(found, similar=similar, max_pairs=max_pairs, per_photo=per_photo)
    log.info(
        "%d photos: %d of %d pairs are tried, by look and by name order",
        n, len(pairs), n * (n - 1) // 2,
    )  # fmt: skip
    return pairs


def all_pairs(n: int) -> list[tuple[int, int]]:
    """Every pair of `n` photos, smaller index first, in order."""
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def select_pairs(
    descriptors: Float[np.ndarray, "n d"],
    *,
    similar: int = SIMILAR,
    following: int = NEXT,
    max_pairs: int = 0,
    per_photo: int = 0,
) -> list[tuple[int, int]]:
    """Pairs of each photo with its most similar ones and with the next ones in the list.

    A limit keeps, in this order: direct neighbours in the list (so that a sequence stays
    connected), then the most similar pairs. Similarities are computed a block at a time.

    Args:
        descriptors: One unit vector per photo, also behind a memory map.
        similar: Neighbours per photo by similarity.
        following: Neighbours per photo by position.
        max_pairs: At most this many; 0 = no limit.
        per_photo: Pairs that a photo is in, at most; 0 = no limit.
    """
    n = len(descriptors)
    alike: dict[tuple[int, int], float] = {}
    rows = max(1, BLOCK_BYTES // (8 * max(n, 1)))
    for first in range(0, n, rows):
        similarity = descriptors[first : first + rows] @ descriptors.T
        for i, row in enumerate(similarity, start=first):
            row[i] = -np.inf
            near_in_list = range(i + 1, min(n, i + 1 + following))
            for j in map(int, (*_largest(row, min(similar, n - 1)), *near_in_list)):
                alike[min(i, j), max(i, j)] = float(row[j])
    pairs = sorted(alike)
    if per_photo or (max_pairs and len(pairs) > max_pairs):
        pairs.sort(key=lambda p: (p[1] - p[0] != 1, -alike[p], p))
        pairs = sorted(_limited(pairs, n, per_photo)[: max_pairs or None])
    return pairs


def _largest(row: Float[np.ndarray, " n"], count: int) -> np.ndarray:
    """Indices of the largest values, largest first, smaller index first among equals."""
    if count < 1:
        return np.zeros(0, dtype=np.int64)
    least = np.partition(row, len(row) - count)[len(row) - count]
    candidates = np.flatnonzero(row >= least)
    return candidates[np.argsort(-row[candidates], kind="stable")][:count]


def _limited(
    pairs: Sequence[tuple[int, int]], photos: int, per_photo: int
) -> list[tuple[int, int]]:
    """The first pairs of which no photo has too many."""
    if not per_photo:
        return list(pairs)
    left, kept = [per_photo] * photos, []
    for i, j in pairs:
        if left[i] and left[j]:
            left[i] -= 1
            left[j] -= 1
            kept.append((i, j))
    return kept


def looks(
    images: Sequence[Image], folder: Path | None = None, parallel: Parallel | None = None
) -> Float[np.ndarray, "n d"]:
    """Unit vectors of the photos' looks: pooled local features and `describe`, half each.

    Of the nearest eight of 119 photos of six places 96.5 % show the same place, of `describe`
    alone 92.7 %, of pooled features alone 95.9 %. Without XFeat's weights `describe` has to do.
    """
    from corr.matchers.xfeat import load_xfeat
    from corr.retrieval import pooled_features

    whole = np.stack([describe(image) for image in images])
    try:
        network = load_xfeat()
    except UserError as error:
        log.info("pairs are chosen by tiny copies and colours alone: %s", error)
        return whole
    pooled = pooled_features(images, network, folder, parallel)
    return np.concatenate([whole, pooled], axis=1) / np.sqrt(2.0)


def describe(image: Image) -> Float[np.ndarray, " d"]:
    """A photo's look as a unit vector: a tiny grey copy and a colour histogram, half each."""
    import cv2

    rgb = image.load()
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    tiny = cv2.resize(grey, (TINY_PX, TINY_PX), interpolation=cv2.INTER_AREA).astype(np.float64)
    tiny = tiny.ravel() - tiny.mean()
    bins = (rgb[::4, ::4].reshape(-1, 3) // (256 // HUE_BINS)).astype(np.int64)
    index = (bins * [HUE_BINS**2, HUE_BINS, 1]).sum(-1)
    histogram = np.sqrt(np.bincount(index, minlength=HUE_BINS**3))
    parts = [part / max(float(np.linalg.norm(part)), 1e-12) for part in (tiny, histogram)]
    return np.concatenate(parts) / np.sqrt(2.0)
