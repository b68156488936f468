"""From cells to pixels, then below a pixel in photo b: the two-stage correlation.

Source: Wang et al., Efficient LoFTR, CVPR 2024, section 3.3.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corr.matchers.efficient_loftr.backbone import Pyramid
from corr.matchers.efficient_loftr.coarse import CELL

WIDTH = 64  # channels of the fine map
LAST = 8  # of them for the second stage
TEMPERATURE = 10.0  # of the second stage
OUTER = CELL + 2  # windows of photo b have one pixel around the cell
BLOCK = 512  # matches that are refined at a time
# Where the pixels of a window lie from their cell's point. The features of a cell belong to its
# top-left corner (three strides of two); what is upsampled from them moves along.
FIRST_PX = -(CELL // 2) + 0.5


class Fusion(nn.Module):
    """The transformed cells, joined with the backbone's maps at strides 4 and 2."""

    def __init__(self):
        super().__init__()
        self.deep = nn.Conv2d(256, 256, 1, bias=False)
        self.at_quarter = Joint(128, 256)
        self.at_half = Joint(64, 128)

    def forward(self, cells: Tensor, pyramid: Pyramid) -> Tensor:
        """The fine map at stride 2 (1 64 h w); windows of it are brought to stride 1."""
        deep = self.deep(cells / cells.shape[1] ** 0.5)
        return self.at_half(self.at_quarter(deep, pyramid.quarter), pyramid.half)


class Joint(nn.Module):
    """A coarser map, upsampled, plus a finer one, mixed; as wide as the finer one."""

    def __init__(self, fine: int, coarse: int):
        super().__init__()
        self.widen = nn.Conv2d(fine, coarse, 1, bias=False)
        self.mix = nn.Conv2d(coarse, coarse, 3, padding=1)
        self.narrow = nn.Conv2d(coarse, fine, 3, padding=1, bias=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """N c h w and n c' 2h 2w to n c' 2h 2w."""
        up = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.narrow(F.leaky_relu_(self.mix(self.widen(fine).add_(up))))


@dataclass(frozen=True, eq=False)
class FineMap:
    """The fine map of one photo, of which only windows are ever at full resolution."""

    half: Tensor  # 1 64 h w, stride 2

    def windows(self, cell: Tensor, *, margin: int) -> Tensor:
        """Pixels of cells, n (8 + 2 margin)² 64; zero outside the map.

        The same as upsampling the map bilinearly by two and cutting the windows out.

        Args:
            cell: n, indices row by row.
            margin: 0 or 1, pixels around the cell.
        """
        _, width, rows, columns = self.half.shape
        taps = torch.arange(-1, CELL // 2 + 1, device=self.half.device)
        across = columns * 2 // CELL
        top, left = cell // across * (CELL // 2), cell % across * (CELL // 2)
        y = (top[:, None] + taps).clamp(0, rows - 1)
        x = (left[:, None] + taps).clamp(0, columns - 1)
        flat = (y[:, :, None] * columns + x[:, None, :]).flatten()
        pixels = self.half[0].permute(1, 2, 0).reshape(-1, width)
        patch = pixels[flat].view(len(cell), len(taps), len(taps) * width)
        up = _doubling(margin, patch)
        rows_up = (up @ patch).view(len(cell), len(up), len(taps), width)
        window = torch.matmul(up, rows_up)
        if margin:
            offset = torch.arange(-margin, CELL + margin, device=cell.device)
            y, x = (2 * p[:, None] + offset for p in (top, left))
            inside_y, inside_x = (y >= 0) & (y < 2 * rows), (x >= 0) & (x < 2 * columns)
            window = window * (inside_y[:, :, None] & inside_x[:, None, :])[..., None]
        return window.flatten(1, 2)


def _doubling(margin: int, like: Tensor) -> Tensor:
    """Rows: pixels of a window; columns: the six pixels of half the resolution around it."""
    up = like.new_zeros(CELL + 2 * margin, CELL // 2 + 2)
    for k in range(len(up)):
        pixel = k - margin
        first = (pixel - 1) // 2 + 1  # of both taps; column 0 is half pixel -1
        up[k, first], up[k, first + 1] = (0.25, 0.75) if pixel % 2 == 0 else (0.75, 0.25)
    return up


def refine(a: FineMap, b: FineMap, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets from the cells' points in both photos, n 2 each, network pixels.

    First stage: the likeliest pair of pixels of the two cells, by the dual softmax over the
    pixels of a and of b. Second stage, in b: the mean of 3 x 3 pixels, weighted.

    Args:
        a: Photo a.
        b: Photo b.
        i: n, cells of a.
        j: n, cells of b.
    """
    offsets = [_refine_block(a, b, *c) for c in zip(i.split(BLOCK), j.split(BLOCK), strict=True)]
    return torch.cat([o[0] for o in offsets]), torch.cat([o[1] for o in offsets])


def _refine_block(a: FineMap, b: FineMap, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
    own, other = a.windows(i, margin=0), b.windows(j, margin=1)
    similarity = first_stage(own, other, WIDTH)
    p, q = best_pixels(similarity.log_softmax(1).add_(similarity.log_softmax(2)))
    below = second_stage(own, other, p, q)
    return from_point(p).to(below.dtype), from_point(q) + below


def first_stage(own: Tensor, other: Tensor, scale: int) -> Tensor:
    """Similarities of the pixels of two windows, n 64 100."""
    return torch.bmm(own[..., :-LAST], other[..., :-LAST].transpose(1, 2)).mul_(1 / scale)


def best_pixels(likely: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest pair of pixels inside both cells, each 0 … 63, row by row."""
    inner = likely.unflatten(2, (OUTER, OUTER))[..., 1:-1, 1:-1].flatten(1)
    best = inner.argmax(1)
    return best // CELL**2, best % CELL**2


def second_stage(own: Tensor, other: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Where the partner lies from the best pixel of b, n 2.

    The nine pixels lie around the place (row, column) of the *outer* window where the best pixel
    is (row + 1, column + 1), and row -1 is the last one. Both look like slips, but the weights
    were trained with them.

    Args:
        own: N 64 64, windows of a.
        other: N 100 64, windows of b.
        p: n, the best pixels of a.
        q: n, the best pixels of b.
    """
    n = torch.arange(len(p), device=p.device)
    step = torch.arange(-1, 2, device=p.device)
    row, column = (q // CELL)[:, None] + step, (q % CELL)[:, None] + step
    around = (row % OUTER)[:, :, None] * OUTER + (column % OUTER)[:, None, :]
    mine = own[n, p, -LAST:] / (LAST**0.5 * TEMPERATURE)
    theirs = other[n[:, None], around.flatten(1), -LAST:]
    weight = torch.bmm(theirs, mine[..., None])[..., 0].softmax(1).unflatten(1, (3, 3))
    return torch.stack([(weight.sum(1) * step).sum(1), (weight.sum(2) * step).sum(1)], -1)


def from_point(pixel: Tensor) -> Tensor:
    """Where the pixels of a cell lie from its point, n 2."""
    return torch.stack([pixel % CELL, pixel // CELL], -1) + FIRST_PX
