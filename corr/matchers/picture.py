"""What a matcher looks at: a photo's working copy, a tile of it, or either one turned."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8

from corr.photos import Image

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Place:
    """Where a picture lies in the original photo.

    The picture is `width` x `height` pixels, as turned counter-clockwise by `turns` quarter turns;
    `origin_px` is the unturned picture's top-left corner in the working copy.
    """

    width: int
    height: int
    original_per_px: Float[np.ndarray, " 2"]  # original pixels per working pixel, along x and y
    origin_px: Float[np.ndarray, " 2"]
    turns: int = 0

    def to_original(self, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Pixels of the picture to original pixels of the photo."""
        x, y = uv[:, 0], uv[:, 1]
        unturned = {
            0: (x, y),
            1: (self.height - y, x),
            2: (self.width - x, self.height - y),
            3: (y, self.width - x),
        }[self.turns]
        return (np.stack(unturned, axis=-1) + self.origin_px) * self.original_per_px


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels and where they come from."""

    rgb: UInt8[np.ndarray, "h w 3"]
    usable: Bool[np.ndarray, "h w"] | None  # None: everywhere
    place: Place

    @classmethod
    def whole(cls, image: Image) -> "Picture":
        """The working copy of a photo."""
        rgb = image.load()
        place = Place(rgb.shape[1], rgb.shape[0], 1.0 / image.work_per_original, np.zeros(2))
        return cls(rgb, image.load_mask(), place)

    def cut(self, left: int, top: int, right: int, bottom: int) -> "Picture":
        """A part of an unturned picture, pixels."""
        place = replace(
            self.place, width=right - left, height=bottom - top,
            origin_px=self.place.origin_px + np.array([left, top]),
        )  # fmt: skip
        usable = None if self.usable is None else self.usable[top:bottom, left:right]
        return Picture(self.rgb[top:bottom, left:right], usable, place)

    def turned(self, turns: int) -> "Picture":
        """Turned counter-clockwise by quarter turns."""
        if not turns % 4:
            return self
        rgb = np.ascontiguousarray(np.rot90(self.rgb, turns))
        place = replace(
            self.place, width=rgb.shape[1], height=rgb.shape[0],
            turns=(self.place.turns + turns) % 4,
        )  # fmt: skip
        return Picture(rgb, None if self.usable is None else np.rot90(self.usable, turns), place)


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """A picture as a network sees it, whole extent resized onto whole extent."""

    pixels: "torch.Tensor"  # 1 3 h w in [0, 1], RGB; unusable pixels hold the mean colour
    usable: "torch.Tensor | None"  # h w, share of usable picture pixels, 0 … 1; None: all of them
    px: Float[np.ndarray, " 2"]  # picture pixels per network pixel, along x and y

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, network pixels."""
        return self.pixels.shape[3], self.pixels.shape[2]

    def grey(self) -> "torch.Tensor":
        """1 1 h w, the weights of ITU-R BT.601."""
        r, g, b = self.pixels[:, 0:1], self.pixels[:, 1:2], self.pixels[:, 2:3]
        return 0.299 * r + 0.587 * g + 0.114 * b

    def usable_cells(self, rows: int, columns: int) -> "torch.Tensor | None":
        """Rows x columns, True where at least half of a cell is usable; None: everywhere."""
        import torch.nn.functional as F

        if self.usable is None:
            return None
        return F.adaptive_avg_pool2d(self.usable[None, None], (rows, columns))[0, 0] >= 0.5


def tensors(
    picture: Picture, device: "torch.device"
) -> tuple["torch.Tensor", "torch.Tensor | None"]:
    """Pixels, 1 3 h w in [0, 1], and mask, 1 1 h w (bool, None: all usable).

    Masked-out pixels get the mean colour of the others: no edge of an unknown shade arises there.
    """
    import torch

    # A copy: the picture's own memory may be read-only or turned.
    rgb = torch.tensor(np.ascontiguousarray(picture.rgb), device=device)
    rgb = rgb.permute(2, 0, 1)[None] / 255.0
    if picture.usable is None:
        return rgb, None
    usable = torch.tensor(np.ascontiguousarray(picture.usable), device=device)[None, None]
    mean = (rgb * usable).sum((2, 3), keepdim=True) / usable.sum().clamp(min=1)
    return torch.where(usable, rgb, mean), usable


def network_input(
    picture: Picture, device: "torch.device", *, max_side: int, multiple: int = 1
) -> NetworkInput:
    """Shrink a picture so that its longer side fits; nothing is enlarged but by rounding.

    Args:
        picture: Any size.
        device: Where the tensors go.
        max_side: Longest side, network pixels; 0 = no limit.
        multiple: Both sides are rounded to multiples of it; the exact scales are kept.
    """
    import torch.nn.functional as F

    rgb, usable = tensors(picture, device)
    height, width = rgb.shape[-2:]
    scale = min(1.0, max_side / max(height, width)) if max_side else 1.0
    rows, columns = (max(multiple, round(s * scale / multiple) * multiple) for s in (height, width))
    if (rows, columns) != (height, width):
        shrinks = rows < height or columns < width
        rgb = F.interpolate(
            rgb, (rows, columns), mode="bilinear", align_corners=False, antialias=shrinks
        )
    share = None
    if usable is not None:
        share = F.adaptive_avg_pool2d(usable.to(rgb.dtype), (rows, columns))[0, 0]
    return NetworkInput(rgb, share, np.array([width / columns, height / rows]))
