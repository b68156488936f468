"""The whole dense matcher: encoder, global matcher, refiners at strides 8, 4 and 2."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corr.matchers.dense.coarse import Coarse, GlobalMatcher, swap
from corr.matchers.dense.covariance import precision_factor
from corr.matchers.dense.encoder import Encoder, FrozenXFeat, Widths
from corr.matchers.dense.layers import Pointwise, resized, zeroed
from corr.matchers.dense.refiner import Refiner
from corr.matchers.dense.warps import doubled


@dataclass(frozen=True)
class Config:
    """Sizes of the network; stored with the weights."""

    two: int = 24  # channels at stride 2
    four: int = 48
    eight: int = 80
    sixteen: int = 160
    layers: int = 3  # of self- and cross-attention
    decoder_layers: int = 2
    refine_eight: int = 128  # channels of the refiners
    refine_four: int = 80
    refine_two: int = 48
    blocks: int = 5  # per refiner


@dataclass
class Refined:
    """A refiner's answer: the warp and its certainty at one stride."""

    stride: int
    warp: Tensor  # N 2 h w, network pixels of the partner
    logit: Tensor  # N 1 h w
    factor: Tensor | None = None  # N 3 h w, of the precision; at the finest stride


@dataclass
class Prediction:
    """All answers for N = 2n photos, the second half being the first half's partners."""

    coarse: Coarse
    refined: list[Refined] = field(default_factory=list)


class DenseNetwork(nn.Module):
    """Two photos in, warps in both directions out."""

    def __init__(self, config: Config, xfeat: Any):
        super().__init__()
        c = self.config = config
        self.frozen = FrozenXFeat(xfeat)
        self.encoder = Encoder(Widths(c.two, c.four, c.eight, c.sixteen))
        self.matcher = GlobalMatcher(c.sixteen, c.layers, c.decoder_layers)
        sizes = (
            (8, c.eight, c.refine_eight, 3),
            (4, c.four, c.refine_four, 2),
            (2, c.two, c.refine_two, 1),
        )
        self.refiners = nn.ModuleList(
            [Refiner(stride, inputs, width, c.blocks, r) for stride, inputs, width, r in sizes]
        )
        widths = (c.sixteen, c.refine_eight, c.refine_four, c.refine_two)
        self.hand = nn.ModuleList([Pointwise(a, b) for a, b in pairwise(widths)])
        self.to_factor = Pointwise(c.refine_two, 3)
        zeroed(self.to_factor)

    def encode(self, images: Tensor) -> dict[int, Tensor]:
        """Maps by stride of N 3 H W photos in [0, 1]; H and W multiples of 32."""
        return self.encoder(images, self.frozen(images))

    def match(self, maps: dict[int, Tensor], usable: Tensor | None = None) -> Prediction:
        """Answers from the maps of 2n photos, the second half being the first half's partners.

        Args:
            maps: By stride, as `encode` gives them.
            usable: Which stride-16 tokens may be matched, 2n (h w); None = all.
        """
        coarse = self.matcher(maps[16], usable)
        prediction = Prediction(coarse)
        warp, logit, hidden, stride = coarse.warp, coarse.logit, coarse.hidden, 16
        for refiner, hand in zip(self.refiners, self.hand, strict=True):
            warp, logit = doubled(warp.detach(), stride), resized_by_two(logit.detach())
            stride //= 2
            own = maps[stride]
            handed = resized(hand(hidden), own)
            warp, logit, hidden = refiner(own, swap(own), warp, logit, handed)
            prediction.refined.append(Refined(stride, warp, logit))
        prediction.refined[-1].factor = precision_factor(self.to_factor(hidden).float())
        return prediction

    def forward(self, images: Tensor, usable: Tensor | None = None) -> Prediction:
        """`match` of what `encode` makes of the photos."""
        return self.match(self.encode(images), usable)

    def placed(self, device: torch.device) -> "DenseNetwork":
        """The network on a device, kernels in the channels-last layout."""
        return self.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def own_state(self) -> dict[str, Tensor]:
        """Parameters and statistics without the frozen ones."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("frozen.")}


def resized_by_two(x: Tensor) -> Tensor:
    """Bilinear upsampling of a map."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a training may change."""
    return [p for p in network.parameters() if p.requires_grad]


def count_parameters(network: nn.Module) -> int:
    """How many numbers a training changes."""
    return sum(p.numel() for p in trainable(network))
