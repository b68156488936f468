"""What the trained networks over a frozen grid have in common."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from corr.errors import UserError
from corr.semantic.features.grid import FeatureGrid

_DILATIONS = (1, 2, 4)


class Surroundings(nn.Module):
    """Mixes the channels of a frozen map, looks around every cell, and at the photo as a whole."""

    def __init__(self, features: int, hidden: int, dropout: float):
        super().__init__()
        self.features = features
        self.drop = nn.Dropout2d(dropout)  # whole channels of the frozen descriptor
        self.enter = nn.Conv2d(features, hidden, 1)
        self.around = nn.ModuleList(
            nn.Conv2d(hidden, hidden, 3, padding=d, dilation=d, padding_mode="replicate")
            for d in _DILATIONS
        )
        self.whole = nn.Linear(hidden, hidden)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b hidden h w"]:
        """What every cell and its surroundings show.

        Args:
            x: Frozen descriptors of unit length.
        """
        # The numbers of a unit vector are of the order of 1 / sqrt(d), those wanted of 1.
        y = F.gelu(self.enter(self.drop(x * self.features**0.5)))
        for around in self.around:
            y = y + F.gelu(around(y))
        y = y + self.whole(y.mean((2, 3)))[..., None, None]
        return F.gelu(y)


def as_maps(grid: FeatureGrid) -> Float[Tensor, "d h w"]:
    """A grid's descriptors as a network wants them."""
    rows = np.ascontiguousarray(grid.descriptor.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(rows)


def replaced(
    grid: FeatureGrid, features: int, network: Callable[[Any], Float[Tensor, "1 k h w"]]
) -> FeatureGrid:
    """The grid with the descriptors that a network makes of its own, at the same places.

    Args:
        grid: Frozen.
        features: Numbers per cell that the network was trained on.
        network: Maps to maps.

    Raises:
        UserError: The grid's descriptors are of another length.
    """
    if grid.descriptor.shape[-1] != features:
        raise UserError(
            f"the head was trained on features of {features} numbers, these have "
            f"{grid.descriptor.shape[-1]}; give the features= that it was trained with"
        )
    with torch.inference_mode():
        maps = network(as_maps(grid)[None])[0]
    return replace(grid, descriptor=np.ascontiguousarray(maps.permute(1, 2, 0).numpy()))
