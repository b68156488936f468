"""LightGlue heads: kornia's class with weights from a file, never from a hub.

Source: Lindenberger, Sarlin, Pollefeys, LightGlue, ICCV 2023.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from corr.errors import UserError
from corr.matchers.points import PointMatcher, Points
from corr.weights import find_weights

if TYPE_CHECKING:
    import torch

# Sizes of the networks as their weights were trained; the rest is kornia's default.
SIZES: dict[str, dict[str, Any]] = {
    "aliked_lightglue": {"input_dim": 128},
    "disk_lightglue": {"input_dim": 128},
    "xfeat_lighterglue": {"input_dim": 64, "descriptor_dim": 96, "n_layers": 6, "num_heads": 1},
}


@dataclass
class LightGlueMatcher(PointMatcher):
    """Points of any detector, matched by attention between the two lists.

    `adaptive` lets easy pairs stop at an early layer and drops points that look unmatchable;
    pairs are matched one by one, so it never makes one pair depend on another.
    """

    HEAD: ClassVar[str] = ""  # name of the weights

    min_score: float = 0.1  # least confidence of a match, 0 … 1
    adaptive: bool = True  # stop early and prune points where that is safe: faster, nearly the same
    head_weights: str = ""  # path of the LightGlue weights; empty: installed package or hub cache

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.min_score < 1:
            raise ValueError(f"matcher.min_score must lie in [0, 1), got {self.min_score}")

    def needed_weights(self) -> list[tuple[str, str]]:
        """LightGlue's; those of the key points come in front."""
        return [*super().needed_weights(), (self.HEAD, self.head_weights)]

    @cached_property
    def _head(self) -> Any:
        head = load_head(self.HEAD, self.head_weights)
        head.conf.filter_threshold = self.min_score
        if not self.adaptive:
            head.conf.depth_confidence = head.conf.width_confidence = -1
        return head.to(self._device)

    def _pair_up(
        self, a: Points, b: Points
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        found = self._head({"image0": self._side(a), "image1": self._side(b)})
        i, j = found["matches"][0].T
        return i, j, found["scores"][0]

    def _side(self, points: Points) -> dict[str, "torch.Tensor"]:
        import torch

        size = torch.tensor([points.size], dtype=torch.float32, device=self._device)
        return {
            "keypoints": points.network_uv[None],
            "descriptors": points.descriptor[None],
            "image_size": size,
        }


def load_head(name: str, path: str = "") -> Any:
    """Kornia's LightGlue with the weights `name`, on the processor, ready to answer.

    Raises:
        UserError: The weights are nowhere, or are other weights.
    """
    import torch
    from kornia.feature import LightGlue

    file = find_weights(name, path)
    state = torch.load(file, map_location="cpu", weights_only=True)
    head: Any = LightGlue(None, **SIZES[name])  # type: ignore[arg-type]
    if name == "xfeat_lighterglue":  # trained without early stopping
        head.conf.depth_confidence, head.conf.width_confidence = -1, 0.95
    missing, _ = head.load_state_dict(_renamed(state), strict=False)
    # The thresholds of the layers are computed, not learned; older files do not hold them.
    learned = [k for k in missing if k != "confidence_thresholds"]
    if learned:
        raise UserError(f"{file} holds no LightGlue weights of this size ({learned[0]} is missing)")
    return head.eval().requires_grad_(False)


def _renamed(state: dict[str, Any]) -> dict[str, Any]:
    """Names of kornia's modules for those of the files, which differ by age and by wrapper."""
    names = {k: k.removeprefix("matcher.") for k in state if not k.startswith("extractor.")}
    pattern = re.compile(r"^(self_attn|cross_attn)\.(\d+)\.")
    return {pattern.sub(r"transformers.\2.\1.", new): state[old] for old, new in names.items()}
