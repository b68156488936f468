"""DeDoDe key points and descriptors, matched by their dual softmax.

Source: Edstedt et al., DeDoDe, 3DV 2024; the networks are kornia's, the weights are the authors'.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from corr.matchers.checkpoint import load_state
from corr.matchers.nearest import dual_softmax
from corr.matchers.picture import NetworkInput
from corr.matchers.points import PointMatcher, Points, points_of
from corr.weights import find_weights

if TYPE_CHECKING:
    import torch

INVERSE_TEMPERATURE = 20.0  # of the dual softmax, as in the paper


@dataclass
class DeDoDe(PointMatcher):
    """Detector L and descriptor B: points where they are matchable; slow on a CPU."""

    max_side: int = 784  # px, whole photos are shrunk to this; the authors' size
    max_keypoints: int = 5000  # per photo (and per tile), the strongest ones
    min_score: float = 0.01  # least confidence of a match, 0 … 1
    weights: str = ""  # path of dedode_descriptor_B.pth; empty: hub cache
    detector_weights: str = ""  # path of dedode_detector_L_v2.pth; empty: hub cache

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.min_score < 1:
            raise ValueError(f"matcher.min_score must lie in [0, 1), got {self.min_score}")

    def needed_weights(self) -> list[tuple[str, str]]:
        """Those of the points and of their descriptors."""
        return [
            ("dedode_detector", self.detector_weights), ("dedode_descriptor", self.weights)
        ]  # fmt: skip

    @cached_property
    def _network(self) -> Any:
        import torch
        from kornia.feature import DeDoDe as KorniaDeDoDe

        network = KorniaDeDoDe("L", "B", amp_dtype=torch.float32)
        detector = find_weights("dedode_detector", self.detector_weights)
        load_state(network.detector, detector)
        load_state(network.descriptor, find_weights("dedode_descriptor", self.weights))
        return network.eval().requires_grad_(False).to(self._device)

    def _detect(self, seen: NetworkInput) -> Points:
        import torch.nn.functional as F
        from kornia.feature.dedode.utils import sample_keypoints

        width, height = seen.size
        prepared = self._network._preprocess(seen.pixels, True, True)
        logits = self._network.detector(prepared)[:, 0, :height, :width]
        if seen.usable is not None:
            logits = logits.masked_fill(seen.usable < 0.5, float("-inf"))
            if not (seen.usable >= 0.5).any():
                return points_of(seen, logits.new_zeros(0, 2), logits.new_zeros(0, 256))
        heat = logits.flatten(1).softmax(-1).view_as(logits)
        places, strength = sample_keypoints(heat, num_samples=self.max_keypoints)
        places = places[:, strength[0] > 0]  # what is masked has no probability
        maps = self._network.descriptor(prepared)[..., :height, :width].float()
        descriptor = F.grid_sample(maps, places[:, None], mode="bilinear", align_corners=False)
        size = places.new_tensor(seen.size)
        return points_of(
            seen, (places[0] + 1) / 2 * size - 0.5, F.normalize(descriptor[0, :, 0].T, dim=-1)
        )

    def _pair_up(
        self, a: Points, b: Points
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        found = dual_softmax(
            a.descriptor, b.descriptor, scale=INVERSE_TEMPERATURE, threshold=self.min_score
        )
        return found.i, found.j, found.confidence
