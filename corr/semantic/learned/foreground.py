"""What a collection of photos shows, found without any annotation: not what lies at their borders.

A cell belongs to the background as far as it resembles cells at the borders of any photo of the
collection; Otsu's threshold splits the cells that lie further inside. The object must not fill the
photos, and most of it must lie away from the borders. Stands in for the co-segmentation of ASIC
(Gupta et al., ICCV 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from corr.semantic.features.grid import FeatureGrid

_LIKEST = 20  # border cells whose mean cosine counts; single ones may lie on the object
_RING = 2  # cells, width of the border
_MOST_BORDER = 6000  # border cells kept, so that large collections stay cheap
_ROWS = 2048  # cells compared at a time


@dataclass(frozen=True, eq=False)
class Backdrop:
    """The borders of a collection and the cosine that splits background from object."""

    border: Float[np.ndarray, "n d"]
    threshold: float

    def inside(self, grid: FeatureGrid) -> Bool[np.ndarray, " cells"]:
        """Cells of the object; all cells where none is."""
        found = likeness(grid, self.border) < self.threshold
        return found if found.any() else np.ones(len(found), dtype=bool)


def backdrop(grids: Sequence[FeatureGrid]) -> Backdrop:
    """Learn what the background of a collection looks like.

    Raises:
        ValueError: There is no photo.
    """
    if not grids:
        raise ValueError("a collection must have photos")
    border = np.concatenate([g.flat[_at_border(g.shape)] for g in grids])
    border = border[:: 1 + len(border) // _MOST_BORDER]
    inner = np.concatenate([likeness(g, border)[~_at_border(g.shape)] for g in grids])
    if len(inner) < 2:
        raise ValueError(f"the photos' grids must be larger than {2 * _RING + 1} x {2 * _RING + 1}")
    return Backdrop(border, otsu(inner))


def likeness(grid: FeatureGrid, border: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " cells"]:
    """Mean cosine of each cell and the border cells that it resembles most."""
    flat, out = grid.flat, []
    count = min(_LIKEST, len(border))
    for start in range(0, len(flat), _ROWS):
        cosine = flat[start : start + _ROWS] @ border.T
        out.append(np.partition(cosine, -count, axis=1)[:, -count:].mean(1))
    return np.concatenate(out)


def otsu(values: Float[np.ndarray, " n"]) -> float:
    """The threshold that separates two groups best: largest variance between their means."""
    ordered = np.sort(values)
    n = np.arange(1, len(ordered))
    total = np.cumsum(ordered)
    low, high = total[:-1] / n, (total[-1] - total[:-1]) / (len(ordered) - n)
    spread = n * (len(ordered) - n) * (high - low) ** 2
    k = int(spread.argmax())
    return float((ordered[k] + ordered[k + 1]) / 2)


def _at_border(shape: tuple[int, int]) -> Bool[np.ndarray, " cells"]:
    at = np.zeros(shape, dtype=bool)
    at[:_RING] = at[-_RING:] = at[:, :_RING] = at[:, -_RING:] = True
    return at.ravel()
