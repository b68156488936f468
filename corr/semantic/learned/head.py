"""A small network over the frozen grid: a residual that looks at a cell's neighbourhood.

The descriptor of a cell becomes unit(x + f(x)); f mixes channels, looks around by dilated 3 x 3
convolutions and starts at zero, so that an untrained head changes nothing. It tells apart what
looks alike and differs by where it sits, such as a left and a right eye.

Source of the idea, a trained post-processor of frozen features: Zhang et al., Telling Left from
Right, CVPR 2024, section 4.2 (theirs are bottleneck blocks, one per frozen network).
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.trunk import Surroundings, replaced


@dataclass(frozen=True)
class HeadShape:
    """What decides the network's parameters."""

    features: int  # numbers per cell of the frozen grid
    hidden: int = 64  # channels of the residual


class FeatureHead(nn.Module):
    """Frozen descriptors in, descriptors of the same length out."""

    def __init__(self, shape: HeadShape, dropout: float = 0.0):
        super().__init__()
        self.shape = shape
        self.trunk = Surroundings(shape.features, shape.hidden, dropout)
        self.leave = nn.Conv2d(shape.hidden, shape.features, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Descriptors of unit length, from frozen ones of unit length."""
        return F.normalize(x + self.leave(self.trunk(x)) / self.shape.features**0.5, dim=1)

    def refined(self, grid: FeatureGrid) -> FeatureGrid:
        """The grid with this head's descriptors, at the same places."""
        return replaced(grid, self.shape.features, self)
