"""The Image value: an input photo before anything is known about its camera pose."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image as PilImage


@dataclass(frozen=True)
class Image:
    """An upright input photo and its downscaled working copy on disk.

    `width` and `height` are the original's, after EXIF orientation was applied. The working copy
    spans the same image plane with fewer pixels: with pixel centres at +0.5 the map between the
    two is one multiplication per axis, exact also when the sizes do not divide.
    """

    name: str  # path relative to the scene folder: the identity everywhere
    path: Path  # the original file
    width: int
    height: int
    focal_prior_px: float | None  # from EXIF, original pixels; None = unknown
    work_path: Path  # upright 8-bit RGB PNG
    work_width: int
    work_height: int
    mask_path: Path | None = None  # 8-bit PNG of the working size; 0 = ignore

    @property
    def work_per_original(self) -> Float[np.ndarray, " 2"]:
        """Working pixels per original pixel, along x and y."""
        return np.array([self.work_width / self.width, self.work_height / self.height])

    def to_work(self, uv: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Original pixels to working pixels."""
        return uv * self.work_per_original

    def to_original(self, uv_work: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Working pixels to original pixels."""
        return uv_work / self.work_per_original

    def load(self) -> UInt8[np.ndarray, "h w 3"]:
        """The working copy."""
        with PilImage.open(self.work_path) as file:
            return np.asarray(file.convert("RGB"))

    def load_mask(self) -> Bool[np.ndarray, "h w"] | None:
        """True where the photo may be used, at working size; None when everything may."""
        if self.mask_path is None:
            return None
        with PilImage.open(self.mask_path) as file:
            return np.asarray(file.convert("L")) > 127

    def usable_at(self, uv: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Which original pixel positions lie inside the photo and on a usable pixel."""
        xy = np.floor(self.to_work(uv)).astype(np.int64)
        inside = ((xy >= 0) & (xy < [self.work_width, self.work_height])).all(-1)
        mask = self.load_mask()
        if mask is not None:
            inside[inside] &= mask[xy[inside, 1], xy[inside, 0]]
        return inside
