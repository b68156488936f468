"""Cells with cells: mutual maxima of the dual softmax, away from the photos' borders.

Source: Sun et al., LoFTR, CVPR 2021, section 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from corr.matchers.nearest import SoftMatches, dual_softmax

CELL = 8  # network pixels
BORDER = 2  # cells along the border of the photo that are not matched
TEMPERATURE = 0.1


@dataclass(frozen=True, eq=False)
class Cells:
    """The map of one photo as it is matched."""

    features: Tensor  # 1 c h w
    usable: Tensor | None  # h w, bool; None: all
    extent: tuple[int, int]  # rows and columns of the photo in the map, the rest is padding

    @property
    def columns(self) -> int:
        """Of the map, padding included."""
        return self.features.shape[3]

    def listed(self) -> Tensor:
        """N c, row by row."""
        return self.features[0].flatten(1).T

    def corners(self, cell: Tensor) -> Tensor:
        """N 2, network pixels: the points that cells stand for."""
        place = torch.stack([cell % self.columns, cell // self.columns], 1)
        return place.to(self.features.dtype) * CELL

    def inner(self, cell: Tensor) -> Tensor:
        """Whether cells are away from the photo's border."""
        row, column = cell // self.columns, cell % self.columns
        rows, columns = self.extent
        inner = (row >= BORDER) & (row < rows - BORDER)
        return inner & (column >= BORDER) & (column < columns - BORDER)


def match_cells(a: Cells, b: Cells, threshold: float) -> SoftMatches:
    """Pairs of cells, by the cell of a.

    Args:
        a: Photo a.
        b: Photo b.
        threshold: Least confidence, exclusive.
    """
    found = dual_softmax(
        a.listed().contiguous(), b.listed().contiguous(),
        scale=1 / (a.features.shape[1] * TEMPERATURE), threshold=threshold,
        usable_a=None if a.usable is None else a.usable.flatten(),
        usable_b=None if b.usable is None else b.usable.flatten(),
    )  # fmt: skip
    keep = a.inner(found.i) & b.inner(found.j)
    return SoftMatches(found.i[keep], found.j[keep], found.confidence[keep])
