"""A photo on its way into the network: resized, padded, with a mask of what may be matched."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from corr.matchers.dense.encoder import MULTIPLE
from corr.photos import Image

TOKEN = 16


@dataclass
class WorkingCopy:
    """A photo at network size; it fills the upper left corner of the padded extent."""

    pixels: Tensor  # 1 3 H W in [0, 1], H and W multiples of 32
    usable: Tensor  # 1 1 H W, 1 where there is a photo and its mask allows it
    size: tuple[int, int]  # width and height of the photo itself, network pixels
    original_px: np.ndarray  # 2: original pixels per network pixel, along x and y

    @property
    def tokens(self) -> Tensor:
        """Which tokens may be matched: those of which half may be used, rows columns."""
        return F.avg_pool2d(self.usable, TOKEN)[0, 0] >= 0.5


def working_copy(image: Image, max_side: int, device: torch.device) -> WorkingCopy:
    """Shrink a photo to `max_side` (never enlarge it), pad it to multiples of 32.

    Pixels that the mask forbids get the mean colour of the others; the padding repeats the border.
    """
    rgb = torch.tensor(image.load(), device=device).permute(2, 0, 1)[None].float() / 255.0
    mask = image.load_mask()
    usable = torch.ones_like(rgb[:, :1])
    if mask is not None:
        usable = torch.tensor(mask, device=device)[None, None].float()
        mean = (rgb * usable).sum((2, 3), keepdim=True) / usable.sum().clamp(min=1)
        rgb = torch.where(usable > 0, rgb, mean)
    height, width = rgb.shape[-2:]
    scale = min(1.0, max_side / max(width, height))
    columns, rows = max(16, round(width * scale)), max(16, round(height * scale))
    if (rows, columns) != (height, width):
        rgb = F.interpolate(
            rgb, (rows, columns), mode="bilinear", align_corners=False, antialias=True
        )
        usable = F.interpolate(usable, (rows, columns), mode="area")
    right, bottom = -columns % MULTIPLE, -rows % MULTIPLE
    return WorkingCopy(
        F.pad(rgb, (0, right, 0, bottom), mode="replicate"),
        F.pad((usable > 0.5).float(), (0, right, 0, bottom)),
        (columns, rows),
        np.array([image.width / columns, image.height / rows]),
    )
