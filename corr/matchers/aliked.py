"""ALIKED key points, matched by LightGlue.

Source: Zhao et al., ALIKED, IEEE TIM 2023; the network is kornia's, the weights are the authors'.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from corr.matchers.lightglue import LightGlueMatcher
from corr.matchers.picture import NetworkInput
from corr.matchers.points import Points, points_of
from corr.weights import find_weights

MODELS = ("n16", "n16rot", "n32", "t16")


@dataclass
class AlikedLightGlue(LightGlueMatcher):
    """ALIKED and LightGlue: exact key points, sure of wide baselines; 128 numbers a point.

    LightGlue was trained on the descriptors of n16; those of n16rot and n32 work with it, those
    of t16 (64 numbers) are matched as mutual nearest neighbours.
    """

    SIGMA_PX: ClassVar[float] = 0.85  # tests/benchmarks/match_sigma.py

    HEAD: ClassVar[str] = "aliked_lightglue"

    model: str = "n16"  # n16 | n16rot (for turned photos) | n32 (slower) | t16 (tiny)
    min_response: float = 0.0  # least score of a key point, 0 … 1; 0 = the strongest ones
    min_cossim: float = 0.82  # of t16 only: least cosine similarity of two descriptors
    weights: str = ""  # path of aliked-<model>.pth; empty: installed package or hub cache

    def __post_init__(self):
        super().__post_init__()
        if self.model not in MODELS:
            raise ValueError(f"matcher.model must be one of {', '.join(MODELS)}, got {self.model}")
        if not 0 <= self.min_response < 1:
            raise ValueError(f"matcher.min_response must lie in [0, 1), got {self.min_response}")
        if not -1 <= self.min_cossim < 1:
            raise ValueError(f"matcher.min_cossim must lie in [-1, 1), got {self.min_cossim}")

    def needed_weights(self) -> list[tuple[str, str]]:
        """ALIKED's, and LightGlue's unless the points are matched as nearest neighbours."""
        head = [] if self.model == "t16" else super().needed_weights()
        return [(f"aliked-{self.model}", self.weights), *head]

    @cached_property
    def _network(self) -> Any:
        import torch
        from kornia.feature import ALIKED

        file = find_weights(f"aliked-{self.model}", self.weights)
        network = ALIKED(
            f"aliked-{self.model}", max_num_keypoints=self.max_keypoints,
            detection_threshold=self.min_response,
        )  # fmt: skip
        state = torch.load(file, map_location="cpu", weights_only=True)
        network.load_state_dict({**state, "dkd.hw_grid": network.dkd.hw_grid})
        return network.eval().requires_grad_(False).to(self._device)

    def _detect(self, seen: NetworkInput) -> Points:
        features, response = self._network.extract_dense_map(seen.pixels)
        if seen.usable is not None:
            response = response * (seen.usable >= 0.5)
        (places,), (strength,), _ = self._network.dkd(response)
        (descriptor,), _ = self._network.desc_head(features, [places])
        strong = strength > 0  # where it is masked there are no maxima, only zeros
        size = places.new_tensor(seen.size) - 1
        return points_of(seen, (places[strong] + 1) / 2 * size, descriptor[strong])

    def _pair_up(self, a: Points, b: Points) -> Any:
        if self.model != "t16":
            return super()._pair_up(a, b)
        from corr.matchers.nearest import mutual_nearest

        return mutual_nearest(a.descriptor, b.descriptor, self.min_cossim)
