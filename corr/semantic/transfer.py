"""From two grids of descriptors to places in the target photo, with how sure each of them is.

Sources: window soft-argmax: Zhang et al., Telling Left from Right, CVPR 2024; mutual neighbours and
round trips: Aberman et al., Neural Best-Buddies, 2018.
"""

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from corr.semantic.features.grid import FeatureGrid

if TYPE_CHECKING:
    from corr.semantic.calibration import Curve

Way = TypeVar("Way", bound="Transfer")


@dataclass(frozen=True, eq=False)
class Transferred:
    """Where the source's points lie in the target, one row each.

    Args:
        uv: Places in the target, original pixels; NaN where the method abstains.
        similarity: Cosine of the point's descriptor and the best cell's, -1..1.
        margin: That, less the best cosine outside of the best cell's neighbourhood.
        round_trip_px: From the source point to where its match's own best match in the source
            lies, original pixels of the source.
        confidence: 0..1: the probability of a curve if one was given, else see `confidence`.
    """

    uv: Float[np.ndarray, "n 2"]
    similarity: Float[np.ndarray, " n"]
    margin: Float[np.ndarray, " n"]
    round_trip_px: Float[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]


@dataclass
class Transfer(ABC):
    """Finds points of one photo in another."""

    min_confidence: float = 0.0  # 0 … 1, a point that is less sure is given no answer
    _curve: ClassVar[Any] = None  # no option: see `calibrated`

    def __post_init__(self):
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(
                f"transfer.min_confidence must lie in 0 … 1, got {self.min_confidence}"
            )

    def calibrated(self: Way, curve: "Curve | None") -> Way:
        """The same way, with confidences that are probabilities by this curve; None = as before."""
        made = copy(self)
        made.__dict__["_curve"] = curve  # of this object, not of its class
        return made

    def transfer(
        self, source: FeatureGrid, target: FeatureGrid, uv: Float[np.ndarray, "n 2"]
    ) -> Transferred:
        """Where points of the source, original pixels, lie in the target."""
        if not len(uv):
            return Transferred(np.zeros((0, 2)), *[np.zeros(0)] * 4)
        similarity = self._weigh(source.sample(uv) @ target.flat.T, source, target, uv)
        best = similarity.argmax(1)
        top = similarity[np.arange(len(best)), best]
        margin = top - _second(similarity, best, target.shape)
        found = self._place(similarity, best, target)
        back = source.centres()[(target.sample(found) @ source.flat.T).argmax(1)]
        trip = np.hypot(*(back - uv).T)
        judge = confidence if self._curve is None else self._curve.probability
        sure = judge(top, margin, trip / max(source.width, source.height))
        found = np.where(
            (sure >= self.min_confidence)[:, None] & self._keeps(trip, source)[:, None],
            found, np.nan,
        )  # fmt: skip
        return Transferred(found, *(a.astype(np.float64) for a in (top, margin, trip, sure)))

    def _weigh(
        self,
        similarity: Float[np.ndarray, "n cells"],
        source: FeatureGrid,
        target: FeatureGrid,
        uv: Float[np.ndarray, "n 2"],
    ) -> Float[np.ndarray, "n cells"]:
        """Cosines as they are, or with what else is known of the pair."""
        return similarity

    @abstractmethod
    def _place(
        self,
        similarity: Float[np.ndarray, "n cells"],
        best: Int[np.ndarray, " n"],
        target: FeatureGrid,
    ) -> Float[np.ndarray, "n 2"]:
        """Original pixels of the target."""

    def _keeps(
        self, trip_px: Float[np.ndarray, " n"], source: FeatureGrid
    ) -> Bool[np.ndarray, " n"]:
        """Which points are answered at all."""
        return np.ones(len(trip_px), dtype=bool)


@dataclass
class Nearest(Transfer):
    """The centre of the most similar cell."""

    def _place(
        self,
        similarity: Float[np.ndarray, "n cells"],
        best: Int[np.ndarray, " n"],
        target: FeatureGrid,
    ) -> Float[np.ndarray, "n 2"]:
        return target.centres()[best]


@dataclass
class Mutual(Nearest):
    """The most similar cell, answered only if it leads back to the point."""

    within_cells: float = 1.5  # cells of the source, the round trip may end this far off

    def __post_init__(self):
        super().__post_init__()
        if not self.within_cells > 0:
            raise ValueError(f"transfer.within_cells must be positive, got {self.within_cells}")

    def _keeps(
        self, trip_px: Float[np.ndarray, " n"], source: FeatureGrid
    ) -> Bool[np.ndarray, " n"]:
        return trip_px <= self.within_cells * float(source.step_uv.max())


@dataclass
class Window(Transfer):
    """The expectation of a softmax over a window around the most similar cell: sub-cell."""

    radius: int = 2  # cells, the window has 2 * radius + 1 on each side
    temperature: float = 0.04  # of cosines

    def __post_init__(self):
        super().__post_init__()
        if self.radius < 1:
            raise ValueError(f"transfer.radius must be 1 or more, got {self.radius}")
        if not self.temperature > 0:
            raise ValueError(f"transfer.temperature must be positive, got {self.temperature}")

    def _place(
        self,
        similarity: Float[np.ndarray, "n cells"],
        best: Int[np.ndarray, " n"],
        target: FeatureGrid,
    ) -> Float[np.ndarray, "n 2"]:
        cells, inside = _window(best, target.shape, self.radius)
        rows, columns = cells[..., 0], cells[..., 1]
        scores = np.take_along_axis(similarity, rows * target.shape[1] + columns, 1)
        peak = similarity[np.arange(len(best)), best][:, None]
        weight = np.where(inside, np.exp((scores - peak) / self.temperature), 0.0)
        weight /= weight.sum(1, keepdims=True)
        cell = np.stack([(weight * columns).sum(1), (weight * rows).sum(1)], 1)
        return target.uv_of(cell)


def confidence(
    similarity: Float[np.ndarray, " n"],
    margin: Float[np.ndarray, " n"],
    trip_share: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """An order of trust in 0..1, not a calibrated probability.

    The cosine (negative counts as 0), times a half to one for the margin over rivals elsewhere,
    times exp(-round trip / 10 % of the photo's longer side).
    """
    rival = 0.5 + 0.5 * np.clip(margin / 0.1, 0, 1)
    trust = np.clip(similarity, 0, 1) * rival * np.exp(-trip_share / 0.1)
    return np.clip(trust, 0.0, 1.0)


def _window(
    best: Int[np.ndarray, " n"], shape: tuple[int, int], radius: int
) -> tuple[Int[np.ndarray, "n w 2"], Bool[np.ndarray, "n w"]]:
    """(row, column) of the cells around each, clamped to the grid, and which were inside."""
    around = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1).T
    middle = np.stack(np.divmod(best, shape[1]), -1)
    cells = middle[:, None] + around
    inside = np.all((cells >= 0) & (cells < np.array(shape)), axis=-1)
    return np.clip(cells, 0, np.array(shape) - 1), inside


def _second(
    similarity: Float[np.ndarray, "n cells"], best: Int[np.ndarray, " n"], shape: tuple[int, int]
) -> Float[np.ndarray, " n"]:
    """The best cosine that is not within two cells of the best; -1 where there is no such cell."""
    cells, _ = _window(best, shape, 2)
    rest = similarity.copy()
    np.put_along_axis(rest, cells[..., 0] * shape[1] + cells[..., 1], -1.0, 1)
    return rest.max(1)
