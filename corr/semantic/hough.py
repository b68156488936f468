"""Regularised Hough matching: candidates that agree on one shift support each other.

Every pair of cells votes for its shift with its similarity; a key-point's candidates are then
weighted by how much the whole photo votes for their shift. Votes are cast in bins as wide as
three cells and smoothed, as in the voting of rigid motions: wide bins alone would split a peak.

    h(x) = sum over cells (s, t) with t - s in bin x of max(cos(s, t), 0)^power
    weighted cos(p, t) = cos(p, t) * (floor + (1 - floor) * h(t - p) / max h)

Sources: Cho et al., CVPR 2015 (probabilistic Hough matching); Min et al., Hyperpixel Flow,
ICCV 2019 (regularised form).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from corr.semantic.features.grid import FeatureGrid
from corr.semantic.transfer import Window

BIN_CELLS = 3.0
ROW_BLOCK = 1024  # source cells whose similarities are held at a time


@dataclass
class Hough(Window):
    """A window around the best cell after the photo's votes for its shift have been counted."""

    power: float = 3.0  # of the cosine in a vote; higher lets sure cells decide
    floor: float = 0.5  # 0 … 1, weight that a shift without votes keeps

    def __post_init__(self):
        super().__post_init__()
        if not self.power > 0:
            raise ValueError(f"transfer.power must be positive, got {self.power}")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"transfer.floor must lie in 0 … 1, got {self.floor}")

    def _weigh(
        self,
        similarity: Float[np.ndarray, "n cells"],
        source: FeatureGrid,
        target: FeatureGrid,
        uv: Float[np.ndarray, "n 2"],
    ) -> Float[np.ndarray, "n cells"]:
        votes = shift_votes(source, target, self.power)
        shift = target.centres()[None] - uv[:, None]
        support = votes.at(shift)
        return similarity * (self.floor + (1 - self.floor) * support).astype(similarity.dtype)


@dataclass(frozen=True, eq=False)
class ShiftVotes:
    """Votes by shift in the target less the source, smoothed, the most voted bin at 1."""

    votes: Float[np.ndarray, "rows columns"]
    low: Float[np.ndarray, " 2"]  # shift at the middle of the first bin, original pixels
    step: Float[np.ndarray, " 2"]  # between bins, original pixels

    def at(self, shift: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
        """Votes for shifts, bilinear between the middles of bins."""
        from scipy.ndimage import map_coordinates

        place = (shift - self.low) / self.step
        return map_coordinates(self.votes, [place[..., 1], place[..., 0]], order=1, mode="nearest")


def shift_votes(source: FeatureGrid, target: FeatureGrid, power: float) -> ShiftVotes:
    """Count the votes of all pairs of cells."""
    from scipy.ndimage import gaussian_filter

    a, b = source.centres(), target.centres()
    step = BIN_CELLS * target.step_uv
    low = b.min(0) - a.max(0)
    columns, rows = np.ceil((b.max(0) - a.min(0) - low) / step).astype(int) + 1
    counts = np.zeros(rows * columns)
    other = target.flat
    for start in range(0, len(a), ROW_BLOCK):
        part = slice(start, start + ROW_BLOCK)
        votes = np.maximum(source.flat[part] @ other.T, 0.0) ** power
        bins = np.rint((b[None] - a[part, None] - low) / step).astype(np.int64)
        counts += np.bincount(
            (bins[..., 1] * columns + bins[..., 0]).ravel(), votes.ravel(), minlength=rows * columns
        )
    smooth = gaussian_filter(counts.reshape(rows, columns), 1.0, mode="constant")
    return ShiftVotes(smooth / max(smooth.max(), 1e-12), low, step)
