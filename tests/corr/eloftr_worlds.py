"""EfficientLoFTR with random weights in both layouts, and photos for it."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS, LAYERS, STRIDES = (64, 64, 128, 256), (1, 2, 4, 14), (2, 1, 2, 2)


def transformers_model(threshold: float = 0.0):
    """Transformers' model whose features differ from cell to cell and are of order one."""
    from transformers import EfficientLoFTRConfig, EfficientLoFTRForKeypointMatching

    model = EfficientLoFTRForKeypointMatching(
        EfficientLoFTRConfig(coarse_matching_threshold=threshold)
    )
    randomise(model)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the statistics of one pass: every layer answers of order one
    photos = torch.stack([photo(96, 128, 5)[0], photo(96, 128, 6)[0]])[None]
    with torch.no_grad():
        model.train()(photos.expand(-1, -1, 3, -1, -1))
    for norm in norms:  # channels that hardly ever answer would be blown up
        norm.running_var.clamp_(min=0.1)
    return model.eval().requires_grad_(False)


def randomise(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            fan = part.weight[0].numel()
            normal = torch.randn(part.weight.shape, generator=generator)
            part.weight.data = normal * (1.5 / fan) ** 0.5
        elif isinstance(part, nn.BatchNorm2d):
            part.weight.data = uniform(part.weight, 0.5, 0.7)
            part.bias.data = uniform(part.bias, -0.2, 0.2)
            part.running_mean.data = uniform(part.bias, -0.2, 0.2)
            part.running_var.data = uniform(part.bias, 0.5, 1.5)
        elif isinstance(part, nn.LayerNorm):
            part.weight.data = uniform(part.weight, 0.1, 0.4)
            part.bias.data = uniform(part.bias, -0.2, 0.2)


def photo(height: int, width: int, seed: int = 1) -> Tensor:
    """1 1 h w in [0, 1]: blobs with grain."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, height // 4, width // 4, generator=generator)
    blobs = F.interpolate(coarse, (height, width), mode="bicubic")
    return (blobs + 0.1 * torch.rand(1, 1, height, width, generator=generator)).clamp(0, 1)


def picture(height: int, width: int, seed: int = 1) -> np.ndarray:
    """The same as RGB."""
    grey = photo(height, width, seed)[0, 0].numpy()
    return np.round(255 * grey).astype(np.uint8)[..., None].repeat(3, 2)


class Branches(nn.Module):
    """A RepVGG layer as it is trained, by the authors' names."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.rbr_dense = self._branch(before, width, 3, stride)
        self.rbr_1x1 = self._branch(before, width, 1, stride)
        self.rbr_identity = nn.BatchNorm2d(width) if before == width and stride == 1 else None

    @staticmethod
    def _branch(before: int, width: int, side: int, stride: int) -> nn.Sequential:
        branch = nn.Sequential()
        conv = nn.Conv2d(before, width, side, stride, padding=side // 2, bias=False)
        branch.add_module("conv", conv)
        branch.add_module("bn", nn.BatchNorm2d(width))
        return branch

    def forward(self, x: Tensor) -> Tensor:
        total = self.rbr_dense(x) + self.rbr_1x1(x)
        return F.relu(total if self.rbr_identity is None else total + self.rbr_identity(x))


class Official(nn.Module):
    """The names and shapes of `eloftr_outdoor.ckpt`; of its network only the backbone runs."""

    def __init__(self):
        super().__init__()
        self.backbone, before = nn.Module(), 1
        for s, (width, layers, stride) in enumerate(zip(WIDTHS, LAYERS, STRIDES, strict=True)):
            blocks = []
            for k in range(layers):
                blocks.append(Branches(before, width, stride if k == 0 else 1))
                before = width
            self.backbone.add_module(f"layer{s}", nn.ModuleList(blocks) if s else blocks[0])
        self.loftr_coarse = nn.Module()
        self.loftr_coarse.layers = nn.ModuleList(self._attention() for _ in range(8))
        self.fine_preprocess = fine = nn.Module()
        fine.layer3_outconv = nn.Conv2d(256, 256, 1, bias=False)
        for k, (fine_width, coarse_width) in {2: (128, 256), 1: (64, 128)}.items():
            mix = nn.Sequential(
                nn.Conv2d(coarse_width, coarse_width, 3, padding=1, bias=False),
                nn.BatchNorm2d(coarse_width), nn.LeakyReLU(),
                nn.Conv2d(coarse_width, fine_width, 3, padding=1, bias=False),
            )  # fmt: skip
            widen = nn.Conv2d(fine_width, coarse_width, 1, bias=False)
            fine.add_module(f"layer{k}_outconv", widen)
            fine.add_module(f"layer{k}_outconv2", mix)
        randomise(self)

    @staticmethod
    def _attention() -> nn.Module:
        layer = nn.Module()
        layer.aggregate = nn.Conv2d(256, 256, 4, 4, groups=256, bias=False)
        for name in ("q_proj", "k_proj", "v_proj", "merge"):
            layer.add_module(name, nn.Linear(256, 256, bias=False))
        layer.mlp = nn.Sequential(
            nn.Linear(512, 512, bias=False), nn.LeakyReLU(), nn.Linear(512, 256, bias=False)
        )
        layer.norm1, layer.norm2 = nn.LayerNorm(256), nn.LayerNorm(256)
        return layer

    def maps(self, x: Tensor) -> list[Tensor]:
        """The backbone's maps at strides 2, 4 and 8."""
        found = []
        for s in range(4):
            stage = getattr(self.backbone, f"layer{s}")
            for block in stage if s else [stage]:
                x = block(x)
            found.append(x)
        return found[1:]
