"""The contract of features, and the frame that all networks share: resize, never squash, pad."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from corr.semantic.features.grid import FeatureGrid, unit

if TYPE_CHECKING:
    import torch

_NOT_IN_KEY = ("device",)


@dataclass(frozen=True)
class Frame:
    """How a photo lies in a network's input.

    The photo's whole extent is resized to `columns` x `rows` network pixels (its sides keep their
    ratio up to the rounding to whole pixels, which the exact scales below account for) and padded
    with `lead` pixels at the left and top and as many as are needed at the right and bottom.
    """

    width: int
    height: int
    columns: int
    rows: int
    lead: int

    def grid(self, maps: Float[np.ndarray, "d h w"], *, stride: int, centre: float) -> FeatureGrid:
        """A network's map as a grid; cells centred outside of the photo are left out.

        Args:
            maps: Descriptors by cell.
            stride: Network pixels from cell to cell.
            centre: Network pixels from the padded input's corner to the first cell's centre.
        """
        scale = np.array([self.columns / self.width, self.rows / self.height])
        rows, columns = self.inside(maps.shape[-2:], stride=stride, centre=centre)
        skip = np.array([columns.start, rows.start])
        return FeatureGrid(
            unit(np.ascontiguousarray(maps[:, rows, columns].transpose(1, 2, 0))),
            (centre - self.lead + skip * stride) / scale,
            stride / scale,
            self.width,
            self.height,
        )

    def inside(self, shape: tuple[int, ...], *, stride: int, centre: float) -> tuple[slice, slice]:
        """Rows and columns of a map of this shape whose cells are centred in the photo."""
        first = centre - self.lead
        skip = max(0, math.ceil(-first / stride))
        ends = (
            min(math.ceil((size - first) / stride), most)
            for size, most in zip((self.rows, self.columns), shape, strict=True)
        )
        rows, columns = (slice(skip, end) for end in ends)
        return rows, columns


@dataclass
class Extractor(ABC):
    """Describes photos one by one; the same photo gives the same grid."""

    @abstractmethod
    def extract(self, rgb: UInt8[np.ndarray, "h w 3"]) -> FeatureGrid:
        """Descriptors of a photo, any size and ratio of sides."""

    def settings(self) -> dict[str, object]:
        """The options that decide what is computed; where it is computed does not."""
        options = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in options.items() if k not in _NOT_IN_KEY}

    def for_collection(
        self, photos: Sequence[str], read: Callable[[str], UInt8[np.ndarray, "_ _ 3"]]
    ) -> "Extractor":
        """The extractor to use for these photos: itself, unless it depends on all of them.

        Args:
            photos: Names.
            read: A photo's pixels by its name.
        """
        return self


class Adaptable(Extractor):
    """An extractor whose network can learn through adapters.

    Its work is split where they begin: what comes before is the same for every student and is
    computed once per photo.
    """

    @property
    @abstractmethod
    def adaptable(self) -> str:
        """Regular expression of the names of the layers that get adapters."""

    @property
    @abstractmethod
    def network(self) -> "torch.nn.Module":
        """The network, loaded once for this object."""

    @abstractmethod
    def begun(self, rgb: UInt8[np.ndarray, "h w 3"]) -> "tuple[torch.Tensor, Frame]":
        """What the frozen part of the network makes of a photo, and how the photo lies in it."""

    @abstractmethod
    def finished(self, begun: "torch.Tensor") -> "torch.Tensor":
        """The map, 1 x d x rows x columns, unit length, padding included; with gradients."""

    @property
    @abstractmethod
    def cells(self) -> tuple[int, float]:
        """Of `finished`: network pixels from cell to cell, and from the corner to the first."""

    def grid(self, maps: "torch.Tensor", frame: Frame) -> FeatureGrid:
        """What `finished` gave, as a grid."""
        stride, centre = self.cells
        return frame.grid(maps[0].detach().float().cpu().numpy(), stride=stride, centre=centre)

    def extract(self, rgb: UInt8[np.ndarray, "h w 3"]) -> FeatureGrid:
        """Descriptors of a photo, any size and ratio of sides."""
        import torch

        with torch.inference_mode():
            begun, frame = self.begun(rgb)
            return self.grid(self.finished(begun), frame)


def fit(
    rgb: UInt8[np.ndarray, "h w 3"],
    *,
    long_side: int,
    multiple: int,
    lead: int = 0,
    trail: int = 0,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple["torch.Tensor", Frame]:
    """A photo as a network's input, 1 x 3 x H x W, normalised, padding zero after it.

    Args:
        rgb: The photo.
        long_side: Network pixels that its longer side gets.
        multiple: What height and width must be multiples of.
        lead: Padding at the left and top, network pixels.
        trail: Least padding at the right and bottom, network pixels.
        mean: Of each channel, 0..1.
        std: Of each channel, 0..1.
    """
    import torch
    import torch.nn.functional as F

    height, width = rgb.shape[:2]
    scale = long_side / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255
    pixels = F.interpolate(
        pixels, (rows, columns), mode="bilinear", align_corners=False, antialias=scale < 1
    )
    pixels = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    bottom, right = (-(lead + n + trail) % multiple + trail for n in (rows, columns))
    padded = F.pad(pixels, (lead, right, lead, bottom))
    return padded, Frame(width, height, columns, rows, lead)


def device_of(name: str) -> "torch.device":
    """`auto` is the first GPU if there is one, else the processor."""
    import torch

    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
