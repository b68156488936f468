"""Maps of several depths of a network, brought to the cells of the finest and concatenated.

Source: Min et al., Hyperpixel Flow, ICCV 2019, section 3.1; every map is first brought to unit
length, so that each depth has the same say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Cells:
    """Where a map's cells lie in the network's input, pixels along both axes."""

    stride: int  # from cell to cell
    centre: float  # of the first cell, from the input's corner


def hyperpixels(
    maps: Sequence["torch.Tensor"], cells: Sequence[Cells]
) -> tuple["torch.Tensor", Cells]:
    """One map, b x (sum of channels) x h x w, and its cells: those of the finest map given.

    Raises:
        ValueError: There is no map, or not one `Cells` for each.
    """
    import torch

    if not maps or len(maps) != len(cells):
        raise ValueError(f"each map needs its cells, got {len(maps)} maps and {len(cells)} cells")
    finest = min(range(len(maps)), key=lambda k: cells[k].stride)
    height, width = maps[finest].shape[-2:]
    unit = [torch.nn.functional.normalize(m, dim=1) for m in maps]
    joined = [
        on_grid(m, own, cells[finest], (height, width)) for m, own in zip(unit, cells, strict=True)
    ]
    return torch.cat(joined, 1), cells[finest]


def on_grid(
    maps: "torch.Tensor", own: Cells, wanted: Cells, shape: tuple[int, int]
) -> "torch.Tensor":
    """A map at other cells, bilinear between the true centres of its own.

    Args:
        maps: b x d x rows x columns.
        own: Where its cells lie.
        wanted: Where the answer's cells lie.
        shape: Rows and columns of the answer.
    """
    import torch
    import torch.nn.functional as F

    if own == wanted and tuple(maps.shape[-2:]) == shape:
        return maps
    axes = []
    for n, size in zip(shape, maps.shape[-2:], strict=True):
        at = torch.arange(n, device=maps.device) * wanted.stride + wanted.centre
        cell = (at - own.centre) / own.stride
        axes.append(2 * (cell + 0.5) / size - 1)  # grid_sample counts cells from -1 to 1
    y, x = torch.meshgrid(*axes, indexing="ij")
    where = torch.stack([x, y], -1)[None].to(maps.dtype).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, where, mode="bilinear", padding_mode="border", align_corners=False)
