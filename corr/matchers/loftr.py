"""LoFTR: semi-dense matching without key points.

Source: Sun et al., LoFTR, CVPR 2021; the network is kornia's, the weights are the authors'.
"""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from corr.matchers.checkpoint import load_state
from corr.matchers.nearest import SoftMatches, dual_softmax
from corr.matchers.photo_matcher import NetworkMatcher
from corr.matchers.picture import Picture, network_input
from corr.matches import Matches
from corr.weights import find_weights

if TYPE_CHECKING:
    import torch

MODELS = ("outdoor", "indoor")
CELL = 8  # network pixels per cell of the coarse map
BORDER = 2  # cells along the border that are not matched
TEMPERATURE = 0.1


@dataclass(frozen=True, eq=False)
class _Features:
    """What the backbone says of one picture."""

    maps: dict[str, "torch.Tensor"]
    usable: "torch.Tensor | None"  # h w, network pixels
    px: Float[np.ndarray, " 2"]  # picture pixels per network pixel


@dataclass
class Loftr(NetworkMatcher):
    """Cells of 8 x 8 network pixels are matched by a transformer, then refined in photo b.

    Points of photo a are corners of cells, so they coincide between pairs and ids link them;
    points of photo b are sub-pixel. The backbone sees each photo once, the transformer each pair.
    """

    model: str = "outdoor"  # outdoor | indoor
    min_score: float = 0.2  # least confidence of a match of cells, 0 … 1
    weights: str = ""  # path of loftr_outdoor.ckpt or loftr_indoor_ds_new.ckpt; empty: hub cache

    def __post_init__(self):
        super().__post_init__()
        if self.model not in MODELS:
            raise ValueError(f"matcher.model must be one of {', '.join(MODELS)}, got {self.model}")
        if not 0 <= self.min_score < 1:
            raise ValueError(f"matcher.min_score must lie in [0, 1), got {self.min_score}")

    def needed_weights(self) -> list[tuple[str, str]]:
        """LoFTR's own."""
        return [(f"loftr_{self.model}", self.weights)]

    @cached_property
    def _network(self) -> Any:
        file = find_weights(f"loftr_{self.model}", self.weights)
        network = build_loftr(self.model, self.min_score)
        load_state(network, file)
        return network.eval().requires_grad_(False).to(self._device)

    def _describe(self, picture: Picture) -> _Features:
        import torch

        seen = network_input(picture, self._device, max_side=self.max_side, multiple=CELL)
        with torch.inference_mode():
            return _Features(self._network.extract_features(seen.grey()), seen.usable, seen.px)

    def _match(self, a: _Features, b: _Features) -> Matches:
        import torch

        given: dict[str, Any] = {"features0": a.maps, "features1": b.maps}
        if a.usable is not None or b.usable is not None:
            given |= {"mask0": _mask(a), "mask1": _mask(b)}
        with torch.inference_mode():
            found = self._network(given)
        cells: SoftMatches = self._network.coarse_matching.found
        if not len(cells.i):
            return Matches.none()
        columns = b.maps["coarse"].shape[3]
        j = cells.j.cpu().numpy()
        # The networks were trained with pixel centres at +0.5, as ours are.
        uv_a, uv_b = (found[f"keypoints{s}"].cpu().numpy().astype(np.float64) for s in (0, 1))
        corner_b = np.stack([j % columns, j // columns], -1) * float(CELL)
        return Matches(
            uv_a * a.px, uv_b * b.px, found["confidence"].cpu().numpy().astype(np.float64),
            grid_a_px=CELL * float(a.px.mean()), id_a=cells.i.cpu().numpy(), id_b=j,
            anchor_a=uv_a * a.px, anchor_b=corner_b * b.px,
        )  # fmt: skip


def _mask(features: _Features) -> "torch.Tensor":
    """1 h w, True at usable pixels of the network's input."""
    import torch

    coarse = features.maps["coarse"]
    if features.usable is None:
        size = (1, coarse.shape[2] * CELL, coarse.shape[3] * CELL)
        return torch.ones(size, dtype=torch.bool, device=coarse.device)
    return features.usable[None] >= 0.5


def build_loftr(model: str, threshold: float) -> Any:
    """Kornia's LoFTR whose coarse matching holds no matrix of all cells with all cells."""
    import torch
    from kornia.feature import LoFTR
    from kornia.feature.loftr.loftr import default_cfg

    class InBlocks(torch.nn.Module):
        """Dual softmax in row blocks, for batches of one; `found` keeps the last cells."""

        def forward(
            self,
            feat_c0: torch.Tensor,
            feat_c1: torch.Tensor,
            data: dict[str, Any],
            mask_c0: torch.Tensor | None = None,
            mask_c1: torch.Tensor | None = None,
        ) -> None:
            found = dual_softmax(
                feat_c0[0], feat_c1[0], scale=1 / (feat_c0.shape[-1] * TEMPERATURE),
                threshold=threshold,
                usable_a=None if mask_c0 is None else mask_c0[0].bool(),
                usable_b=None if mask_c1 is None else mask_c1[0].bool(),
            )  # fmt: skip
            inner = _inner(found.i, data["hw0_c"]) & _inner(found.j, data["hw1_c"])
            self.found = SoftMatches(found.i[inner], found.j[inner], found.confidence[inner])
            i, j = self.found.i, self.found.j
            data |= {
                "b_ids": torch.zeros_like(i), "i_ids": i, "j_ids": j,
                "mconf": self.found.confidence,
                "mkpts0_c": _corners(i, data["hw0_c"]), "mkpts1_c": _corners(j, data["hw1_c"]),
            }  # fmt: skip

    config: Any = copy.deepcopy(default_cfg)
    config["coarse"]["temp_bug_fix"] = model == "indoor"  # how its position code was trained
    network: Any = LoFTR(None, config)
    network.coarse_matching = InBlocks()
    return network


def _inner(cell: "torch.Tensor", shape: "torch.Size") -> "torch.Tensor":
    row, column = cell // shape[1], cell % shape[1]
    inner = (row >= BORDER) & (row < shape[0] - BORDER)
    return inner & (column >= BORDER) & (column < shape[1] - BORDER)


def _corners(cell: "torch.Tensor", shape: "torch.Size") -> "torch.Tensor":
    import torch

    return torch.stack([cell % shape[1], cell // shape[1]], 1).float() * CELL
