"""`matcher=efficient_loftr`: EfficientLoFTR under the contract of all matchers."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from corr.matchers.efficient_loftr import CONVENTIONS
from corr.matchers.photo_matcher import NetworkMatcher
from corr.matchers.picture import Picture, network_input
from corr.matches import Matches
from corr.weights import find_weights

if TYPE_CHECKING:
    import torch

    from corr.matchers.efficient_loftr.network import Found

WEIGHTS = "efficient_loftr_outdoor"
IMPLEMENTATIONS = ("own", "transformers")

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Features:
    """What is kept of one picture."""

    seen: Any  # Seen; for transformers' model the grey picture, 1 1 h w
    usable: "torch.Tensor | None"  # h w, share of usable pixels of the network's input
    px: Float[np.ndarray, " 2"]  # picture pixels per network pixel


@dataclass
class EfficientLoftrMatcher(NetworkMatcher):
    """Cells of 8 x 8 network pixels are matched by a transformer, then refined in both photos.

    Points of photo a are pixels of the network's input, those of photo b are sub-pixel. Cells
    are what links pairs that share a photo (`id_a`, `id_b`, with their points as anchors). The
    backbone and the first attention see each photo once, the rest of the transformer each pair.

    `convention=official` is the authors' code and right for their checkpoint and for
    transformers' copy of it, which holds the same numbers; `convention=transformers` answers what
    transformers' port does (see `slots.py` for where it differs), as does
    `implementation=transformers`, which needs that package and knows no masks within.
    """

    min_score: float = 0.2  # least confidence of a match of cells, 0 … 1
    implementation: str = "own"  # own | transformers
    convention: str = "official"  # of the own implementation: official | transformers
    weights: str = ""  # eloftr_outdoor.ckpt or transformers' model.safetensors; empty: hub caches

    def __post_init__(self):
        super().__post_init__()
        for name, known in (("implementation", IMPLEMENTATIONS), ("convention", CONVENTIONS)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"matcher.{name} must be one of {', '.join(known)}, got {value}")
        if not 0 <= self.min_score < 1:
            raise ValueError(f"matcher.min_score must lie in [0, 1), got {self.min_score}")

    def needed_weights(self) -> list[tuple[str, str]]:
        """Those of either layout."""
        return [(WEIGHTS, self.weights)]

    def check(self) -> None:
        """The package of the other implementation as well."""
        super().check()
        if self.implementation == "transformers":
            from corr.matchers.efficient_loftr.via_transformers import classes

            classes()

    @cached_property
    def _network(self) -> Any:
        from corr.matchers.checkpoint import fill

        file = find_weights(WEIGHTS, self.weights)
        if self.implementation == "transformers":
            from corr.matchers.efficient_loftr.via_transformers import build_transformers

            log.warning(
                "transformers' fine stage correlates windows of different matches: its points "
                "are right to the cell (8 px) only; matcher.implementation=own refines them"
            )
            return build_transformers(self.min_score, file).to(self._device)
        from corr.matchers.efficient_loftr.network import build
        from corr.matchers.efficient_loftr.weights import fused, read_weights

        network = build(self.min_score, self.convention)
        fill(network, fused(read_weights(file), file), file)
        return network.to(self._device)

    def _describe(self, picture: Picture) -> _Features:
        import torch

        network = self._network
        given = network_input(picture, self._device, max_side=self.max_side)
        if self.implementation == "transformers":
            return _Features(given.grey(), given.usable, given.px)
        with torch.inference_mode():
            return _Features(network.see(given.grey(), given.usable), given.usable, given.px)

    def _match(self, a: _Features, b: _Features) -> Matches:
        import torch

        with torch.inference_mode():
            if self.implementation == "transformers":
                from corr.matchers.efficient_loftr.via_transformers import run_transformers

                found = run_transformers(self._network, a.seen, b.seen)
            else:
                found = self._network(a.seen, b.seen)
        return _matches(found, a, b)


def _matches(found: "Found", a: _Features, b: _Features) -> Matches:
    uv_a, uv_b, point_a, point_b = (
        t.cpu().numpy().astype(np.float64)
        for t in (found.uv_a, found.uv_b, found.point_a, found.point_b)
    )
    # The network was trained with pixel centres at +0.5, as ours are.
    return Matches(
        uv_a * a.px, uv_b * b.px, found.cells.confidence.cpu().numpy().astype(np.float64),
        grid_a_px=float(a.px.mean()),
        id_a=found.cells.i.cpu().numpy(), id_b=found.cells.j.cpu().numpy(),
        anchor_a=point_a * a.px, anchor_b=point_b * b.px,
    )  # fmt: skip
