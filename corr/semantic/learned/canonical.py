"""Every photo's cells mapped to one canonical grid, the same part to the same place.

Source: Gupta et al., ASIC, ICCV 2023. There a U-Net maps the pixels of one collection; here a small
network maps frozen descriptors, so that photos outside of the collection have a place too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.trunk import Surroundings, replaced

_TURNS = (0.5, 1.0, 2.0)  # of pi per unit: the slowest is monotonous from end to end of the grid


@dataclass(frozen=True)
class CanonicalShape:
    """What decides the network's parameters, and how it is read out."""

    features: int  # numbers per cell of the frozen grid
    hidden: int = 64
    share: float = 0.5  # of the canonical place in a descriptor, the rest is the frozen one's


class CanonicalNet(nn.Module):
    """Frozen descriptors in, canonical places and objectness out."""

    def __init__(self, shape: CanonicalShape, dropout: float = 0.0):
        super().__init__()
        self.shape = shape
        self.trunk = Surroundings(shape.features, shape.hidden, dropout)
        self.leave = nn.Conv2d(shape.hidden, 3, 1)

    def forward(
        self, x: Float[Tensor, "b d h w"]
    ) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b h w"]]:
        """Canonical places in -1..1 and the logit of belonging to the object."""
        out = self.leave(self.trunk(x))
        return torch.tanh(out[:, :2]), out[:, 2]

    def descriptors(self, x: Float[Tensor, "1 d h w"]) -> Float[Tensor, "1 k h w"]:
        """Frozen descriptors with the code of the canonical place appended; cosines add up."""
        place, logit = self(x)
        code = place_code(place.movedim(1, -1), torch.sigmoid(logit)).movedim(-1, 1)
        share = self.shape.share
        return torch.cat([x * (1 - share) ** 0.5, code * share**0.5], 1)

    def refined(self, grid: FeatureGrid) -> FeatureGrid:
        """The grid with these descriptors, at the same places."""
        return replaced(grid, self.shape.features, self.descriptors)


def place_code(
    place: Float[Tensor, "*n 2"], objectness: Float[Tensor, "*n"]
) -> Float[Tensor, "*n k"]:
    """Unit vectors whose cosine falls with the distance of canonical places.

    Cosines and sines of both coordinates at several rates; what is no object points elsewhere, to
    a direction of its own.
    """
    angle = (place[..., None] * torch.tensor(_TURNS) * torch.pi).flatten(-2)
    wave = torch.cat([angle.cos(), angle.sin()], -1) / (2 * len(_TURNS)) ** 0.5
    sure = objectness[..., None]
    return torch.cat([wave * sure, (1 - sure**2).clamp_min(0).sqrt()], -1)
