"""Features of DINO, DINOv2 and DINOv3. Their weights are not on PyPI: see `vit_checkpoint`."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from corr.semantic.features.extractor import Adaptable, Frame, device_of, fit

if TYPE_CHECKING:
    import torch

FACETS = ("token", "query", "key", "value")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in training


@dataclass
class DinoFeatures(Adaptable):
    """Patch tokens of a layer of a vision transformer.

    The photo keeps its ratio of sides and is padded to whole patches at the right and bottom.
    """

    model: str = "dinov2_vitb14"  # dino_vit{s,b}{8,16}, dinov2_vit{s,b,l,g}14[_reg], dinov3_vit…16
    weights: str = ""  # path of the checkpoint; empty: torch hub's cache
    long_side: int = 840  # px, the longer side of the photo as the network sees it
    layer: int = -1  # block whose map is taken, from 0; negative from the end
    facet: str = "token"  # token, query, key, value
    norm: bool = False  # apply the network's last norm to tokens
    device: str = "auto"  # auto, cpu, cuda

    def __post_init__(self):
        if self.facet not in FACETS:
            raise ValueError(f"features.facet must be one of {', '.join(FACETS)}, got {self.facet}")
        if self.long_side < 64:
            raise ValueError(f"features.long_side must be at least 64, got {self.long_side}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"features.device must be auto, cpu or cuda, got {self.device}")

    @cached_property
    def _network(self) -> Any:
        from corr.errors import UserError
        from corr.semantic.features.vit_checkpoint import load_vit

        network = load_vit(self.model, self.weights)
        depth = network.shape.depth
        if not -depth <= self.layer < depth:
            raise UserError(f"features.layer must lie in 0 … {depth - 1}, got {self.layer}")
        return network.to(device_of(self.device))

    @property
    def network(self) -> Any:
        """The network with its weights."""
        return self._network

    @property
    def adaptable(self) -> str:
        """Attention's queries, keys and values, up to the layer whose map is taken."""
        last = self.layer % self._network.shape.depth
        return rf"blocks\.({'|'.join(map(str, range(last + 1)))})\.attn\.qkv"

    @property
    def cells(self) -> tuple[int, float]:
        """One cell per patch."""
        patch = self._network.shape.patch
        return patch, patch / 2

    def begun(self, rgb: UInt8[np.ndarray, "h w 3"]) -> "tuple[torch.Tensor, Frame]":
        """The network's input: adapters may act from its first block on."""
        patch = self._network.shape.patch
        pixels, frame = fit(rgb, long_side=self.long_side, multiple=patch, mean=_MEAN, std=_STD)
        return pixels.to(device_of(self.device)), frame

    def finished(self, begun: "torch.Tensor") -> "torch.Tensor":
        """The layer's map, one cell per patch."""
        import torch

        maps = self._network.patches(begun, layer=self.layer, facet=self.facet, norm=self.norm)
        return torch.nn.functional.normalize(maps.float(), dim=1)
