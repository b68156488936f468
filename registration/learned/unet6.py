"""The vote refiner: a sparse six-dimensional U-Net that scores the occupied bins of a Hough space.

Source: the network of Lee et al., Deep Hough Voting for Robust Global Registration, ICCV 2021
(three levels, skips, one logit per occupied bin). Its 3^6 kernels of 729 offsets are one choice
here; crosses of 13 offsets or six one-dimensional kernels are the ones that run on a CPU.
"""

import torch
from torch import nn

from registration.learned.lattice import Lattice
from registration.learned.sparse_conv import (
    SparseConv,
    SparseConvTransposed,
    make_conv,
)

BIN_FEATURES = 3


class Block(nn.Module):
    """Convolution at one level, normalisation over each site's channels, ReLU."""

    def __init__(self, inputs: int, outputs: int, dimension: int, kernel: str):
        super().__init__()
        self.convolution = make_conv(inputs, outputs, dimension, shape=kernel)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: torch.Tensor, lattice: Lattice) -> torch.Tensor:
        """Features on the same lattice."""
        return torch.relu(self.norm(self.convolution(x, lattice)))


class VoteUNet(nn.Module):
    """Logits of occupied bins.

    Halvings are hypercubes of 2^D cells in every variant: each bin lies in exactly one, so they
    cost one product per bin.

    Args:
        kernel: "cross", "separable" or "hypercube".
        widths: Channels at the three levels.
        dimension: D of the Hough space: 6, or 7 with a scale.
    """

    def __init__(
        self, kernel: str = "cross", widths: tuple[int, int, int] = (16, 32, 64), dimension: int = 6
    ):
        super().__init__()
        a, b, c = widths
        half = {"size": 2, "strides": (2,) * dimension, "bias": True}
        self.strides = (2,) * dimension
        self.entry = Block(BIN_FEATURES, a, dimension, kernel)
        self.down1 = SparseConv(a, b, dimension, **half)  # type: ignore[arg-type]
        self.middle1 = Block(b, b, dimension, kernel)
        self.down2 = SparseConv(b, c, dimension, **half)  # type: ignore[arg-type]
        self.middle2 = Block(c, c, dimension, kernel)
        self.up2 = SparseConvTransposed(c, b, dimension, **half)  # type: ignore[arg-type]
        self.merge2 = Block(2 * b, b, dimension, kernel)
        self.up1 = SparseConvTransposed(b, a, dimension, **half)  # type: ignore[arg-type]
        self.merge1 = Block(2 * a, a, dimension, kernel)
        self.last = nn.Linear(a + BIN_FEATURES, 1)

    def forward(self, x: torch.Tensor, fine: Lattice) -> torch.Tensor:
        """Inputs (n x BIN_FEATURES) on the occupied bins to n logits."""
        middle = fine.down(self.strides)
        coarse = middle.down(self.strides)
        x0 = self.entry(x, fine)
        x1 = self.middle1(torch.relu(self.down1(x0, fine)), middle)
        x2 = self.middle2(torch.relu(self.down2(x1, middle)), coarse)
        x1 = self.merge2(torch.cat([x1, torch.relu(self.up2(x2, middle))], 1), middle)
        x0 = self.merge1(torch.cat([x0, torch.relu(self.up1(x1, fine))], 1), fine)
        return self.last(torch.cat([x0, x], 1))[:, 0]


def bin_inputs(weights: torch.Tensor) -> torch.Tensor:
    """Network inputs of n bins from their vote weights (> 0, any scale): n x BIN_FEATURES."""
    top, mean = weights.max().clamp(min=1e-12), weights.mean().clamp(min=1e-12)
    columns = [weights / top, torch.log1p(weights / mean), torch.ones_like(weights)]
    return torch.stack(columns, 1).to(torch.float32)


def bin_lattice(keys: torch.Tensor) -> Lattice:
    """The lattice of n x D int64 bin indices."""
    return Lattice(torch.cat([torch.zeros_like(keys[:, :1]), keys], 1))
