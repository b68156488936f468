"""The whole network: features per photo, then pairs of them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corr.errors import UserError
from corr.matchers.efficient_loftr import CONVENTIONS
from corr.matchers.efficient_loftr.attention import Transformer
from corr.matchers.efficient_loftr.backbone import MULTIPLE, Backbone, Pyramid
from corr.matchers.efficient_loftr.coarse import CELL, Cells, match_cells
from corr.matchers.efficient_loftr.fine import FineMap, Fusion, refine
from corr.matchers.efficient_loftr.slots import Slots, refine_slots
from corr.matchers.nearest import SoftMatches

TRAINED_PX = 832  # longer side of the photos in training


@dataclass(frozen=True, eq=False)
class Seen:
    """One photo after what does not depend on the other."""

    pyramid: Pyramid
    cells: Tensor  # 1 256 h w, after the first look around
    usable: Tensor | None  # h w, bool, cells that may be matched; None: all
    extent: tuple[int, int]  # rows and columns of cells of the photo, the rest is padding
    stretch: float  # of positions


@dataclass(frozen=True, eq=False)
class Found:
    """Matches of cells, and where they are refined to."""

    cells: SoftMatches
    uv_a: Tensor  # n 2, network pixels
    uv_b: Tensor  # n 2
    point_a: Tensor  # n 2, the points that the cells stand for
    point_b: Tensor  # n 2


class EfficientLoftr(nn.Module):
    """EfficientLoFTR with fused layers.

    Args:
        threshold: Least confidence of a match of cells.
        convention: `official`: as the authors' code; `transformers`: the numbers of
            transformers' port, whose fine stage differs (see `slots.py`).
    """

    def __init__(self, threshold: float = 0.2, convention: str = "official"):
        super().__init__()
        if convention not in CONVENTIONS:
            raise ValueError(
                f"convention must be one of {', '.join(CONVENTIONS)}, got {convention}"
            )
        self.threshold, self.convention = threshold, convention
        self.backbone = Backbone()
        self.transformer = Transformer()
        self.fusion = Fusion()

    def see(self, grey: Tensor, share: Tensor | None = None) -> Seen:
        """What one photo says.

        Args:
            grey: 1 1 h w in [0, 1], any size; the right and bottom edges are repeated up to
                multiples of 32.
            share: H w, how much of each pixel may be used, 0 … 1; None: all.
        """
        height, width = grey.shape[2:]
        right, bottom = -width % MULTIPLE, -height % MULTIPLE
        usable = None
        if share is not None or right or bottom:
            share = grey.new_ones(height, width) if share is None else share
            share = F.pad(share, (0, right, 0, bottom))
            usable = F.avg_pool2d(share[None, None], CELL)[0, 0] >= 0.5
        pyramid = self.backbone(F.pad(grey, (0, right, 0, bottom), mode="replicate"))
        side = max(height + bottom, width + right)
        stretch = TRAINED_PX / side if self.convention == "official" else 1.0
        cells = self.transformer.look_around(pyramid.eighth, 0, usable, stretch)
        # The deepest map is not used again: it need not be kept with the photo.
        pyramid = Pyramid(pyramid.half, pyramid.quarter, pyramid.eighth.new_zeros(0))
        extent = (height + CELL // 2) // CELL, (width + CELL // 2) // CELL
        return Seen(pyramid, cells, usable, extent, stretch)

    def transformed(self, a: Seen, b: Seen) -> tuple[Cells, Cells]:
        """Cells of both photos as they are matched."""
        pair = self.transformer(a.cells, b.cells, (a.usable, b.usable), (a.stretch, b.stretch))
        return Cells(pair[0], a.usable, a.extent), Cells(pair[1], b.usable, b.extent)

    def forward(self, a: Seen, b: Seen) -> Found:
        """Matches of a pair.

        Raises:
            UserError: The convention is that of transformers and the photos differ in size.
        """
        cells_a, cells_b = self.transformed(a, b)
        found = match_cells(cells_a, cells_b, self.threshold)
        point_a, point_b = cells_a.corners(found.i), cells_b.corners(found.j)
        if not len(found.i):
            return Found(found, point_a, point_b, point_a, point_b)
        if self.convention == "transformers":
            slots = self._slots(a, b, cells_a, cells_b, found)
            return Found(found, slots.uv[0, found.j], slots.uv[1, found.i], point_a, point_b)
        fine_a, fine_b = self._fine(a, cells_a), self._fine(b, cells_b)
        move_a, move_b = refine(fine_a, fine_b, found.i, found.j)
        return Found(found, point_a + move_a, point_b + move_b, point_a, point_b)

    def slots(self, a: Seen, b: Seen) -> Slots:
        """The answer in the form of transformers, for photos of one size."""
        cells_a, cells_b = self.transformed(a, b)
        return self._slots(a, b, cells_a, cells_b, match_cells(cells_a, cells_b, self.threshold))

    def _slots(self, a: Seen, b: Seen, cells_a: Cells, cells_b: Cells, found: SoftMatches) -> Slots:
        if cells_a.features.shape != cells_b.features.shape:
            raise UserError(
                "matcher.convention=transformers needs two photos of one size, got "
                f"{_size(cells_a)} and {_size(cells_b)} cells; use convention=official"
            )
        fine_a, fine_b = self._fine(a, cells_a), self._fine(b, cells_b)
        return refine_slots(fine_a, fine_b, found, cells_a.columns)

    def _fine(self, seen: Seen, cells: Cells) -> FineMap:
        return FineMap(self.fusion(cells.features, seen.pyramid))


def _size(cells: Cells) -> str:
    return f"{cells.features.shape[3]} x {cells.features.shape[2]}"


def build(threshold: float, convention: str) -> EfficientLoftr:
    """A network to be filled, ready to answer."""
    with torch.device("meta"):
        network = EfficientLoftr(threshold, convention)
    return network.to_empty(device="cpu").eval().requires_grad_(False)
