"""DISK key points, matched by LightGlue.

Source: Tyszkiewicz, Fua, Trulls, DISK, NeurIPS 2020; the network is kornia's, the weights are the
authors' (trained with depth).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from corr.matchers.lightglue import LightGlueMatcher
from corr.matchers.picture import NetworkInput
from corr.matchers.points import Points, points_of
from corr.weights import find_weights

MULTIPLE = 16  # network pixels that both sides of the input must divide by
NMS_PX = 5


@dataclass
class DiskLightGlue(LightGlueMatcher):
    """DISK and LightGlue: many repeatable points, to whole network pixels."""

    SIGMA_PX: ClassVar[float] = 0.87  # tests/benchmarks/match_sigma.py

    HEAD: ClassVar[str] = "disk_lightglue"

    weights: str = ""  # path of depth-save.pth; empty: installed package or hub cache

    def needed_weights(self) -> list[tuple[str, str]]:
        """DISK's and LightGlue's."""
        return [("disk", self.weights), *super().needed_weights()]

    @cached_property
    def _network(self) -> Any:
        import torch
        from kornia.feature import DISK

        file = find_weights("disk", self.weights)
        network = DISK()
        state = torch.load(file, map_location="cpu", weights_only=True)
        network.load_state_dict(state["extractor"])
        return network.eval().requires_grad_(False).to(self._device)

    def _detect(self, seen: NetworkInput) -> Points:
        import torch.nn.functional as F
        from kornia.feature.disk.detector import heatmap_to_keypoints

        width, height = seen.size
        padded = F.pad(seen.pixels, (0, -width % MULTIPLE, 0, -height % MULTIPLE))
        heat, descriptors = self._network.heatmap_and_dense_descriptors(padded)
        heat, descriptors = heat[..., :height, :width], descriptors[..., :height, :width]
        if seen.usable is not None:
            heat = heat.masked_fill(seen.usable < 0.5, float("-inf"))
        found = heatmap_to_keypoints(heat, n=self.max_keypoints, window_size=NMS_PX)[0]
        points = found.merge_with_descriptors(descriptors[0])
        return points_of(seen, points.keypoints, points.descriptors)
