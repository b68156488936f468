"""SIFT: needs no weights; sub-pixel key points, best on sharp textured photos close together."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from corr.matchers.photo_matcher import PhotoMatcher
from corr.matchers.picture import Picture
from corr.matches import Matches

ROW_BLOCK = 2048  # rows of the similarity matrix held at a time


@dataclass(frozen=True, eq=False)
class _Features:
    uv: Float[np.ndarray, "n 2"]  # picture pixels
    descriptor: Float[np.ndarray, "n 128"]  # unit length

    def __len__(self) -> int:
        return len(self.uv)


@dataclass
class Sift(PhotoMatcher):
    """OpenCV's SIFT with RootSIFT descriptors, mutual nearest neighbours and the ratio test.

    Sources: Lowe, IJCV 2004; Arandjelović and Zisserman, CVPR 2012 (RootSIFT).
    """

    SIGMA_PX: ClassVar[float] = 0.25  # tests/benchmarks/match_sigma.py

    max_side: int = 0  # px, whole photos are shrunk to this; 0 = not at all
    max_keypoints: int = 8000  # per photo, the strongest ones
    ratio: float = 0.85  # largest ratio of the nearest to the second nearest distance, 0 … 1
    contrast: float = 0.02  # least contrast of a key point; lower finds more in flat photos

    def __post_init__(self):
        super().__post_init__()
        if self.max_keypoints < 1:
            raise ValueError(f"matcher.max_keypoints must be positive, got {self.max_keypoints}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"matcher.ratio must lie in (0, 1], got {self.ratio}")
        if not self.contrast >= 0:
            raise ValueError(f"matcher.contrast must not be negative, got {self.contrast}")

    def _describe(self, picture: Picture) -> _Features:
        import cv2

        grey = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY)
        mask: Any = None if picture.usable is None else picture.usable.astype(np.uint8) * 255
        scale = min(1.0, self.max_side / max(grey.shape)) if self.max_side else 1.0
        if scale < 1.0:
            size = tuple(max(1, round(s * scale)) for s in grey.shape[::-1])
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
            mask = mask if mask is None else cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        picture_px = np.array([picture.place.width, picture.place.height]) / grey.shape[::-1]
        # cv2's own limit drops equal responses in an order that depends on threads.
        sift = cv2.SIFT.create(contrastThreshold=self.contrast)
        keypoints, descriptor = sift.detectAndCompute(grey, mask)
        if descriptor is None:
            return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
        xy = np.array([k.pt for k in keypoints], dtype=np.float64)
        response = np.array([k.response for k in keypoints])
        order = np.lexsort((xy[:, 1], xy[:, 0], -response))[: self.max_keypoints]
        root = np.sqrt(descriptor[order] / np.maximum(descriptor[order].sum(1, keepdims=True), 1))
        # OpenCV puts the top-left pixel's centre at (0, 0), we at (0.5, 0.5).
        return _Features((xy[order] + 0.5) * picture_px, root.astype(np.float32))

    def _match(self, a: _Features, b: _Features) -> Matches:
        if len(a) < 2 or len(b) < 2:
            return Matches.none()
        similarity, i, j = _mutual_with_ratio(a.descriptor, b.descriptor, self.ratio)
        return Matches(
            a.uv[i], b.uv[j], np.clip(similarity, 0.0, 1.0).astype(np.float64), id_a=i, id_b=j
        )


def _mutual_with_ratio(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], ratio: float
) -> tuple[Float[np.ndarray, " k"], Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Cosine similarity and indices of mutual nearest neighbours that pass the ratio test."""
    best_b = np.zeros(len(a), dtype=np.int64)
    first, second = np.zeros(len(a), np.float32), np.zeros(len(a), np.float32)
    best_a = np.zeros(len(b), dtype=np.int64)
    top = np.full(len(b), -2.0, dtype=np.float32)
    for start in range(0, len(a), ROW_BLOCK):
        block = a[start : start + ROW_BLOCK] @ b.T
        rows = slice(start, start + len(block))
        row = block.argmax(0)
        value = block[row, np.arange(len(b))]
        best_a = np.where(value > top, row + start, best_a)
        top = np.maximum(top, value)
        best_b[rows] = block.argmax(1)
        first[rows] = block[np.arange(len(block)), best_b[rows]]
        block[np.arange(len(block)), best_b[rows]] = -2.0
        second[rows] = block.max(1)
    keep: Bool[np.ndarray, " n"] = best_a[best_b] == np.arange(len(a))
    # Squared distance of unit vectors is 2 - 2 cos.
    keep &= (1.0 - first) <= ratio**2 * (1.0 - second)
    i = np.flatnonzero(keep)
    return first[i], i, best_b[i]
