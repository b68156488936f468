"""Features of one photo at strides 2, 4 and 8: RepVGG as it is used, one 3 x 3 kernel a layer.

Source: Ding et al., RepVGG, CVPR 2021; Wang et al., Efficient LoFTR, CVPR 2024, section 3.1.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 32  # network extents must divide by this: stride 8, and 4 x 4 cells per token


@dataclass(frozen=True)
class Stage:
    """Layers of one width; the first one may shrink."""

    width: int
    stride: int
    layers: int


STAGES = (Stage(64, 2, 1), Stage(64, 1, 2), Stage(128, 2, 4), Stage(256, 2, 14))


@dataclass(frozen=True, eq=False)
class Pyramid:
    """What the backbone says of one photo, all 1 c h w."""

    half: Tensor  # 64 channels
    quarter: Tensor  # 128 channels
    eighth: Tensor  # 256 channels


class Backbone(nn.Module):
    """22 layers of a 3 x 3 convolution and a ReLU.

    Trained, each layer is the sum of a 3 x 3, a 1 x 1 and an identity branch with a batch norm
    each; `weights.py` adds them up to the one kernel that they are together.
    """

    def __init__(self):
        super().__init__()
        layers, before = [], 1
        for stage in STAGES:
            for k in range(stage.layers):
                stride = stage.stride if k == 0 else 1
                layers.append(nn.Conv2d(before, stage.width, 3, stride, padding=1))
                before = stage.width
        self.layers = nn.ModuleList(layers)

    def forward(self, grey: Tensor) -> Pyramid:
        """N 1 h w in [0, 1] to the three maps."""
        x, maps, layer = grey.contiguous(memory_format=torch.channels_last), [], 0
        for stage in STAGES:
            for convolution in self.layers[layer : layer + stage.layers]:
                x = F.relu_(convolution(x))
            layer += stage.layers
            maps.append(x)
        return Pyramid(*maps[1:])
