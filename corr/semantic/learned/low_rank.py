"""Low-rank adapters: a frozen network learns through a few numbers beside its weights.

A linear map or a 1 x 1 convolution with weight W computes with W + (alpha / r) B A, where A has r
rows and B r columns; B starts at zero, so that an untrained adapter changes nothing. Only A and B
are learned and stored.

Source: Hu et al., LoRA, ICLR 2022; there on attention's weights, here on any that is a matrix.
"""

import math
import re

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """The change of one weight matrix."""

    def __init__(self, rows: int, columns: int, rank: int, alpha: float):
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with the change; 1 x 1 convolutions keep their shape."""
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def matrices(network: nn.Module, where: str) -> dict[str, tuple[int, int]]:
    """Rows and columns of a network's weights that are matrices, by the layer's name.

    Args:
        network: Linear layers, and 1 x 1 convolutions over all channels, are looked at.
        where: Regular expression; a layer counts if its whole name fits.

    Raises:
        ValueError: There is none.
    """
    found = {
        name: (int(layer.weight.shape[0]), int(layer.weight.shape[1]))
        for name, layer in network.named_modules()
        if re.fullmatch(where, name) and is_matrix(layer)
    }
    if not found:
        raise ValueError(f"no linear layer or 1 x 1 convolution is named like {where}")
    return found


def is_matrix(layer: nn.Module) -> bool:
    """Whether a layer's weight is a matrix."""
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear)
