"""Warps in network pixels: a warp holds, at every cell of one photo, a position in its partner.

Pixel centres lie at +0.5; the cell (row i, column j) of stride s is centred on
((j + 0.5) s, (i + 0.5) s), so all strides share one coordinate system.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def own_positions(rows: int, columns: int, stride: int, device: torch.device) -> Tensor:
    """Centres of a grid of cells, 2 rows columns, x first."""
    y = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * stride
    x = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * stride
    return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)])


def to_unit(xy: Tensor, width: int, height: int) -> Tensor:
    """Pixels, x and y last, to [-1, 1]."""
    return xy * torch.tensor([2 / width, 2 / height], device=xy.device) - 1


def sample(values: Tensor, warp: Tensor, stride: int) -> Tensor:
    """A map N C h w of stride s, read at a warp N 2 r c in float32; zero outside.

    Positions keep float32: in bfloat16 they would be off by some pixels.
    """
    height, width = values.shape[-2] * stride, values.shape[-1] * stride
    grid = to_unit(warp.float().permute(0, 2, 3, 1), width, height)
    return F.grid_sample(
        values.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def doubled(warp: Tensor, stride: int) -> Tensor:
    """A warp of stride s on the grid of stride s / 2, by bilinear interpolation.

    The displacement is interpolated, not the position: interpolation holds a value constant in
    the outer half of a border cell, which would be a quarter of a cell off for a position.
    """
    rows, columns = warp.shape[-2:]
    coarse = own_positions(rows, columns, stride, warp.device)
    fine = own_positions(2 * rows, 2 * columns, stride // 2, warp.device)
    step = F.interpolate(warp - coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return step + fine
