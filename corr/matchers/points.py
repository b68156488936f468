"""Matchers of key points: what a picture's points are, and how two lists of them are matched."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from corr.matchers.photo_matcher import NetworkMatcher
from corr.matchers.picture import NetworkInput, Picture, network_input
from corr.matches import Matches

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Points:
    """The key points of one picture, strongest or in raster order as the detector gives them."""

    network_uv: "torch.Tensor"  # n 2, network pixels, the top-left pixel's centre at (0, 0)
    descriptor: "torch.Tensor"  # n d
    size: tuple[int, int]  # width and height, network pixels
    uv: Float[np.ndarray, "n 2"]  # picture pixels, the top-left pixel's centre at (0.5, 0.5)

    def __len__(self) -> int:
        return len(self.uv)


def points_of(seen: NetworkInput, network_uv: "torch.Tensor", descriptor: "torch.Tensor") -> Points:
    """Points with their places in the picture.

    Args:
        seen: What the network saw.
        network_uv: n 2, network pixels, the top-left pixel's centre at (0, 0).
        descriptor: n d.
    """
    uv = (network_uv.cpu().numpy().astype(np.float64) + 0.5) * seen.px
    return Points(network_uv, descriptor, seen.size, uv)


@dataclass
class PointMatcher(NetworkMatcher):
    """Detects and describes points of a picture once, then matches the two lists of a pair.

    A photo has one list of points, so ids link pairs; both sides are as exact as the detector.
    """

    MULTIPLE: ClassVar[int] = 1  # network pixels that both sides of the input must divide by

    max_keypoints: int = 2048  # per photo (and per tile), the strongest ones

    def __post_init__(self):
        super().__post_init__()
        if self.max_keypoints < 1:
            raise ValueError(f"matcher.max_keypoints must be positive, got {self.max_keypoints}")

    @abstractmethod
    def _detect(self, seen: NetworkInput) -> Points:
        """The points of a picture, none of them where it is not usable."""

    @abstractmethod
    def _pair_up(
        self, a: Points, b: Points
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        """Indices into both lists, and scores in [0, 1]; both lists hold points."""

    def _describe(self, picture: Picture) -> Points:
        import torch

        with torch.inference_mode():
            return self._detect(
                network_input(picture, self._device, max_side=self.max_side, multiple=self.MULTIPLE)
            )

    def _match(self, a: Points, b: Points) -> Matches:
        import torch

        if not len(a) or not len(b):
            return Matches.none()
        with torch.inference_mode():
            i, j, score = (t.cpu().numpy() for t in self._pair_up(a, b))
        return Matches(
            a.uv[i], b.uv[j], np.clip(score.astype(np.float64), 0.0, 1.0), id_a=i, id_b=j
        )
