"""An atlas of coloured, tileable textures with mip levels, read by bilinear look-ups."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from corr.matchers.dense.data.noise import Draws, fractal, patterns, stretched

LEVELS = 7  # mip levels: size … size / 64


@dataclass
class Atlas:
    """Textures as rows of texels, RGB in [0, 1]; levels of one texture lie one after another."""

    texels: Tensor  # (count * texels per texture) 4; the fourth number is unused
    size: int
    count: int

    def read(self, index: Tensor, uv: Tensor, lod: Tensor) -> Tensor:
        """Colours *n 3 at positions that repeat with period 1.

        Args:
            index: Which texture, *n.
            uv: Where, *n 2.
            lod: Mip level, *n; fractional levels are blended.
        """
        lod = lod.clamp(0, LEVELS - 1.001)
        level = lod.floor()
        share = (lod - level)[..., None]
        level = level.long()
        low, high = self._bilinear(index, uv, level), self._bilinear(index, uv, level + 1)
        return low + (high - low) * share

    def _bilinear(self, index: Tensor, uv: Tensor, level: Tensor) -> Tensor:
        side = self.size >> level
        first, per_texture = _level_starts(self.size, uv.device)
        start = index * per_texture + first[level]
        place = (uv % 1) * side[..., None] - 0.5
        corner = place.floor()
        part = place - corner
        x0, y0 = corner.long().unbind(-1)
        mask = side - 1  # sides are powers of two, so & wraps
        x0, x1, y0, y1 = x0 & mask, (x0 + 1) & mask, y0 & mask, (y0 + 1) & mask
        u, v = part[..., :1], part[..., 1:]
        top0, top1 = start + y0 * side, start + y1 * side
        above = self._take(top0 + x0) * (1 - u) + self._take(top0 + x1) * u
        below = self._take(top1 + x0) * (1 - u) + self._take(top1 + x1) * u
        return above * (1 - v) + below * v

    def _take(self, row: Tensor) -> Tensor:
        return self.texels.index_select(0, row.flatten()).view(*row.shape, 4)[..., :3].float()


def _level_starts(size: int, device: torch.device) -> tuple[Tensor, int]:
    starts, total = [], 0
    for level in range(LEVELS):
        starts.append(total)
        total += (size >> level) ** 2
    return torch.tensor(starts, device=device), total


def make_atlas(draws: Draws, count: int, size: int, photos: Tensor | None) -> Atlas:
    """Procedural textures, and crops of photos for about a third of the places.

    Args:
        draws: Decides everything.
        count: Textures.
        size: Texels per side, a power of two and at least 64.
        photos: n 3 h w in [0, 1], or None.
    """
    images = coloured(draws, count, size)
    if photos is not None and len(photos):
        images[: count // 3] = crops(draws, photos, count // 3, size)
    parts: list[Tensor] = []
    level = images
    for k in range(LEVELS):
        if k:
            level = F.avg_pool2d(level, 2)
        parts.append(F.pad(level.flatten(2).transpose(1, 2), (0, 1)))
    texels = torch.cat(parts, 1).flatten(0, 1)
    dtype = torch.float16 if draws.device.type == "cuda" else torch.float32
    return Atlas(texels.to(dtype).contiguous(), size, count)


def coloured(draws: Draws, count: int, size: int) -> Tensor:
    """Two patterns under a mask, through a random palette, with stains and fine noise."""
    one, two = patterns(draws, count, size), patterns(draws, count, size)
    mask = ((fractal(draws, count, size) - draws.uniform(0.4, 0.75, count, 1, 1)) * 20).sigmoid()
    mask = torch.where(draws.happens(0.5, count, 1, 1), mask, 0.0)
    grey = torch.where(draws.happens(0.3, count, 1, 1), one * (0.5 + two), one + (two - one) * mask)
    first, second = palette(draws, count), palette(draws, count)
    image = first + (second - first) * grey.clamp(0, 1.5)[:, None]
    third = palette(draws, count)
    image = image + (third - image) * (mask * draws.uniform(0, 0.7, count, 1, 1))[:, None]
    stain = 1 + draws.uniform(0, 0.5, count, 1, 1, 1) * (fractal(draws, count, size)[:, None] - 0.5)
    fine = draws.log_uniform(0.003, 0.12, count, 1, 1, 1) * (
        stretched(draws.normal(count, size, size))[:, None] - 0.5
    )
    return (image * stain + fine).clamp(0, 1)


def palette(draws: Draws, count: int) -> Tensor:
    """Colours count 3 1 1: any lightness, mostly little saturation."""
    light = draws.uniform(0.05, 0.95, count, 1, 1, 1)
    chroma = draws.normal(count, 3, 1, 1) * draws.log_uniform(0.01, 0.25, count, 1, 1, 1)
    return (light + chroma).clamp(0.01, 1)


def crops(draws: Draws, photos: Tensor, count: int, size: int) -> Tensor:
    """Random square crops of photos, turned and recoloured, blended to be tileable."""
    height, width = photos.shape[-2:]
    side = draws.log_uniform(0.25, 0.98, count) * min(height, width)
    centre_x = side / 2 + draws.uniform(0, 1, count) * (width - side)
    centre_y = side / 2 + draws.uniform(0, 1, count) * (height - side)
    step = torch.linspace(-0.5, 0.5, size, device=photos.device)
    x = (centre_x[:, None] + step * side[:, None]) / width * 2 - 1
    y = (centre_y[:, None] + step * side[:, None]) / height * 2 - 1
    flip = torch.where(draws.happens(0.5, count, 1), -1.0, 1.0)
    x = torch.where(flip > 0, x, x.flip(1))
    grid = torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
    which = draws.integers(len(photos), count)
    image = torch.cat(
        [
            F.grid_sample(photos[w : w + 1].float(), grid[k : k + 1], align_corners=False)
            for k, w in enumerate(which.tolist())
        ]
    )
    gain = draws.uniform(0.7, 1.3, count, 3, 1, 1)
    order = torch.where(draws.happens(0.3, count, 1, 1, 1), image.flip(1), image)
    return (order * gain).clamp(0, 1)
