"""A canonical space for a category: which place of the common object a cell shows.

A small network over the frozen grid gives every cell three canonical coordinates c, in halves of
the object's size around its middle, and the chance p that it is on the object. Descriptors become

    unit([x, sqrt(weight * p) * phi(c)])

where phi are random Fourier features: phi(c) . phi(d) is about exp(-|c - d|^2 / (2 width^2)).
Cells are alike if they look alike and lie at the same place of the object.

Sources: a canonical space that a collection is mapped to without labels: Gupta et al., ASIC, ICCV
2023 (theirs is a plane; the two sides of an object need more); the features: Rahimi and Recht,
Random Features for Large-Scale Kernel Machines, NeurIPS 2007.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.trunk import Surroundings, as_maps, replaced

_WAVES = 64


@dataclass(frozen=True)
class CanonicalShape:
    """What decides the parameters, and how coordinates count in a match."""

    features: int  # numbers per cell of the frozen grid
    hidden: int = 64  # channels
    weight: float = 2.0  # of the place, compared to the look
    width: float = 0.3  # distance at which places become strangers, halves of the object's size


class CanonicalHead(nn.Module):
    """Frozen descriptors in; look and place out."""

    waves: Tensor

    def __init__(self, shape: CanonicalShape, dropout: float = 0.0):
        super().__init__()
        self.shape = shape
        self.trunk = Surroundings(shape.features, shape.hidden, dropout)
        self.leave = nn.Conv2d(shape.hidden, 4, 1)
        fixed = torch.Generator().manual_seed(0)
        self.register_buffer("waves", torch.randn(_WAVES, 3, generator=fixed))

    def places(
        self, x: Float[Tensor, "b d h w"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b h w"]]:
        """Canonical coordinates, and the logit of being on the object."""
        y = self.leave(self.trunk(x))
        return y[:, :3], y[:, 3]

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b k h w"]:
        """Descriptors of unit length: look and place."""
        place, logit = self.places(x)
        turn = torch.einsum("kc,bchw->bkhw", self.waves, place) / self.shape.width
        phi = torch.cat([turn.cos(), turn.sin()], 1) / _WAVES**0.5
        strength = (self.shape.weight * logit.sigmoid()).sqrt()[:, None]
        return F.normalize(torch.cat([x, strength * phi], 1), dim=1)

    def refined(self, grid: FeatureGrid) -> FeatureGrid:
        """The grid with look and place, at the same cells."""
        return replaced(grid, self.shape.features, self)

    def canonical(
        self, grid: FeatureGrid
    ) -> tuple[Float[np.ndarray, "rows columns 3"], Float[np.ndarray, "rows columns"]]:
        """Coordinates and the chance of being on the object, by cell."""
        with torch.inference_mode():
            place, logit = self.places(as_maps(grid)[None])
        return place[0].permute(1, 2, 0).numpy(), logit[0].sigmoid().numpy()
