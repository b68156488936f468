"""The canonical grid of a collection: photos coloured by place, and their mean picture there.

Colours are the three canonical coordinates, so that equal colours in two photos are said to be the
same place. The canonical space is shown from both sides along its shortest axis, each as a grid
over its two longer ones: its colours, and the mean colour that the photos have there.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from corr.semantic.datasets.base import Side
from corr.semantic.dense_pictures import beside, over_photo
from corr.semantic.features.cache import FeatureCache, read_photo
from corr.semantic.learned.canonical import CanonicalHead

REACH = 1.4  # canonical coordinates shown, from -REACH to REACH
GRID = 64  # cells of the canonical grid on each side
ON_OBJECT = 0.5
_ROW = 6  # photos in a row
_SPREAD = 1.0  # cells of the grid that a pixel's colour is spread over


def collection_picture(
    photos: Sequence[Side], cache: FeatureCache, network: CanonicalHead, *, height: int = 110
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Rows of photos above their places, and the canonical grid with the mean photo below.

    Args:
        photos: Some of the collection.
        cache: Frozen features.
        network: Trained.
        height: Of a photo in the picture, pixels.
    """
    tiles, seen = [], []
    for side in photos:
        place, share = network.canonical(cache.get(side))
        rgb, grid = read_photo(side), cache.get(side)
        on = over_photo(share[..., None], grid)[..., 0] > ON_OBJECT
        where = over_photo(place, grid)
        tiles.append((rgb, coloured(rgb, where, on)))
        seen.append((where[on], rgb[on]))
    rows = []
    for k in range(0, len(tiles), _ROW):
        rows += [beside([t[layer] for t in tiles[k : k + _ROW]], height) for layer in (0, 1)]
    where = np.concatenate([s[0] for s in seen])
    colour = np.concatenate([s[1] for s in seen])
    sides = []
    for sign in (-1, 1):
        one = where[:, 2] * sign > 0
        sides += [canonical_grid(where[one], place_colours(where[one]), sign),
                  canonical_grid(where[one], colour[one], sign)]  # fmt: skip
    return stacked([*rows, beside(sides, 3 * height // 2)])


def place_colours(place: Float[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    """Canonical coordinates as red, green and blue."""
    share = np.clip(0.5 + 0.5 * place / [1.0, 0.7, 0.4], 0, 1)
    return np.rint(40 + 215 * share).astype(np.uint8)


def coloured(
    rgb: UInt8[np.ndarray, "h w 3"], place: Float[np.ndarray, "h w 3"], on: np.ndarray
) -> UInt8[np.ndarray, "h w 3"]:
    """The object's places over a faded grey photo."""
    grey = np.rint(0.3 * rgb.mean(-1, keepdims=True) + 170).astype(np.uint8)
    return np.where(on[..., None], place_colours(place), np.broadcast_to(grey, rgb.shape))


def canonical_grid(
    place: Float[np.ndarray, "n 3"], colour: UInt8[np.ndarray, "n 3"], sign: int
) -> UInt8[np.ndarray, "g g 3"]:
    """The mean colour over the two longer canonical axes; white where hardly anything is seen.

    Args:
        place: Canonical coordinates of pixels of one side.
        colour: Of these pixels.
        sign: Of the side; the one seen from behind is shown mirrored, as it would be seen.
    """
    from scipy.ndimage import gaussian_filter

    down, across = REACH - place[:, 1], REACH + place[:, 0] * sign
    edges = np.linspace(0, 2 * REACH, GRID + 1)

    def spread(weights: np.ndarray) -> np.ndarray:
        return gaussian_filter(
            np.histogram2d(down, across, bins=[edges, edges], weights=weights)[0], _SPREAD
        )

    count = spread(np.ones(len(place)))
    sums = [spread(channel) for channel in colour.astype(np.float64).T]
    mean = np.stack(sums, -1) / np.maximum(count, 1e-9)[..., None]
    known = count > 0.05 * np.percentile(count, 98)
    return np.where(known[..., None], np.rint(mean), 255).astype(np.uint8)


def stacked(
    rows: Sequence[UInt8[np.ndarray, "_ _ 3"]], gap_px: int = 8
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Rows below each other on white."""
    width = max(r.shape[1] for r in rows)
    high = sum(r.shape[0] for r in rows) + gap_px * (len(rows) - 1)
    canvas, top = np.full((high, width, 3), 255, np.uint8), 0
    for row in rows:
        canvas[top : top + row.shape[0], : row.shape[1]] = row
        top += row.shape[0] + gap_px
    return canvas
