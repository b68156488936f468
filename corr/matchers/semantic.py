"""Semantic matching as a matcher: the same part in photos of two different things."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from corr.matchers.photo_matcher import PhotoMatcher
from corr.matchers.picture import Picture
from corr.matches import Matches

if TYPE_CHECKING:
    from corr.semantic.features.extractor import Extractor
    from corr.semantic.features.grid import FeatureGrid
    from corr.semantic.transfer import Transfer

FEATURES = ("lite", "xfeat", "dino")
TRANSFERS = ("window", "nearest", "mutual", "hough")


@dataclass
class SemanticMatcher(PhotoMatcher):
    """Cells of photo a whose best match in photo b leads back to them.

    The scene need not be one and the same, so no camera geometry is sought; `corr eval` scores the
    same features and ways of reading them out.
    """

    RIGID: ClassVar[bool] = False

    features: str = "lite"  # lite | xfeat | dino
    transfer: str = "window"  # window | nearest | mutual | hough
    weights: str = ""  # path of the features' weights; empty: installed package or hub cache
    min_score: float = 0.3  # least confidence of a match, 0 … 1
    within_cells: float = 1.5  # cells of photo a, the round trip may end this far off
    device: str = "auto"  # auto, cpu, cuda

    def __post_init__(self):
        super().__post_init__()
        for name, value, choices in (
            ("features", self.features, FEATURES), ("transfer", self.transfer, TRANSFERS),
        ):  # fmt: skip
            if value not in choices:
                raise ValueError(f"matcher.{name} must be one of {', '.join(choices)}, got {value}")
        if not 0 <= self.min_score < 1:
            raise ValueError(f"matcher.min_score must lie in [0, 1), got {self.min_score}")
        if not self.within_cells > 0:
            raise ValueError(f"matcher.within_cells must be positive, got {self.within_cells}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"matcher.device must be auto, cpu or cuda, got {self.device}")

    def needed_weights(self) -> list[tuple[str, str]]:
        """Those of the features; DINO's are the user's own file, read with the first photo."""
        name = {"lite": "efficientnet_lite0", "xfeat": "xfeat"}.get(self.features)
        return [(name, self.weights)] if name else []

    @cached_property
    def _extractor(self) -> "Extractor":
        from corr.options import extractors

        return extractors()[self.features](weights=self.weights, device=self.device)  # type: ignore[call-arg]

    @cached_property
    def _transfer(self) -> "Transfer":
        from corr.options import transfers

        return transfers()[self.transfer]()

    def _describe(self, picture: Picture) -> Any:
        return _Grid(self._extractor.extract(picture.rgb), picture)

    def _match(self, a: "_Grid", b: "_Grid") -> Matches:
        centres = a.grid.centres()
        ids = np.flatnonzero(a.usable_at(centres))
        if not len(ids):
            return Matches.none()
        found = self._transfer.transfer(a.grid, b.grid, centres[ids])
        near = found.round_trip_px <= self.within_cells * float(np.max(a.grid.step_uv))
        keep = np.isfinite(found.uv).all(-1) & near & (found.confidence >= self.min_score)
        cell_px = float(np.mean(a.grid.step_uv))
        return Matches(
            centres[ids][keep], found.uv[keep], found.confidence[keep], grid_a_px=cell_px,
            grid_b_px=float(np.mean(b.grid.step_uv)),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Grid:
    """A picture's features, and which of its places may be used."""

    grid: "FeatureGrid"
    picture: Picture

    def usable_at(self, uv: np.ndarray) -> np.ndarray:
        if self.picture.usable is None:
            return np.ones(len(uv), dtype=bool)
        shape = self.picture.usable.shape
        xy = np.floor(uv).astype(np.int64).clip(0, [shape[1] - 1, shape[0] - 1])
        return self.picture.usable[xy[:, 1], xy[:, 0]]
