"""SIFT: needs no weights; sub-pixel key points, best on sharp textured photos close together."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from corr.matchers.base import Matcher
from corr.matches import Matches
from corr.photos import Image

ROW_BLOCK = 2048  # rows of the similarity matrix held at a time


@dataclass(frozen=True, eq=False)
class _Features:
    uv: Float[np.ndarray, "n 2"]  # original pixels
    descriptor: Float[np.ndarray, "n 128"]  # unit length

    def __len__(self) -> int:
        return len(self.uv)


@dataclass
class Sift(Matcher):
    """OpenCV's SIFT with RootSIFT descriptors, mutual nearest neighbours and the ratio test.

    Sources: Lowe, IJCV 2004; Arandjelović and Zisserman, CVPR 2012 (RootSIFT).
    """

    max_keypoints: int = 8000  # per photo, the strongest ones
    ratio: float = 0.85  # largest ratio of the nearest to the second nearest distance, 0 … 1
    contrast: float = 0.02  # least contrast of a key point; lower finds more in flat photos

    def __post_init__(self):
        if self.max_keypoints < 1:
            raise ValueError(f"matcher.max_keypoints must be positive, got {self.max_keypoints}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"matcher.ratio must lie in (0, 1], got {self.ratio}")
        if not self.contrast >= 0:
            raise ValueError(f"matcher.contrast must not be negative, got {self.contrast}")

    def match_pairs(
        self, images: Sequence[Image], pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Matches]]:
        """Yield every pair with its matches, in the order of `pairs`."""
        left = Counter(i for pair in pairs for i in pair)
        features: dict[int, _Features] = {}
        for a, b in pairs:
            for i in (a, b):
                if i not in features:
                    features[i] = self._describe(images[i])
            yield (a, b), self._match(features[a], features[b])
            for i in (a, b):
                left[i] -= 1
                if not left[i]:
                    features.pop(i, None)

    def _describe(self, image: Image) -> _Features:
        import cv2

        grey = cv2.cvtColor(image.load(), cv2.COLOR_RGB2GRAY)
        # cv2's own limit drops equal responses in an order that depends on threads.
        sift = cv2.SIFT.create(contrastThreshold=self.contrast)
        mask = image.load_mask()
        keypoints, descriptor = sift.detectAndCompute(
            grey, None if mask is None else mask.astype(np.uint8) * 255
        )
        if descriptor is None:
            return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
        xy = np.array([k.pt for k in keypoints], dtype=np.float64)
        response = np.array([k.response for k in keypoints])
        order = np.lexsort((xy[:, 1], xy[:, 0], -response))[: self.max_keypoints]
        root = np.sqrt(descriptor[order] / np.maximum(descriptor[order].sum(1, keepdims=True), 1))
        # OpenCV puts the top-left pixel's centre at (0, 0), we at (0.5, 0.5).
        return _Features(image.to_original(xy[order] + 0.5), root.astype(np.float32))

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
