"""Matches between two photos: coordinates first, registry indices where a matcher has them."""

from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

_PER_MATCH = ("uv_a", "uv_b", "score", "id_a", "id_b", "anchor_a", "anchor_b")


@dataclass(frozen=True, eq=False)
class Matches:
    """Corresponding points of photo a and photo b, original pixels of each photo.

    `uv_a` and `uv_b` are the pair's best estimate of one scene point in both photos; `sigma_px` is
    the standard deviation along one axis of a right match's error in b, original pixels, as it
    was measured on made scenes (0 = was not).

    `grid_a_px` and `grid_b_px` say how each side was measured: 0 means sub-pixel everywhere; a
    positive number means that points lie on a grid of that spacing (so they coincide between
    pairs, which links tracks) and are accurate to about a third of it.

    A matcher whose points come from one fixed list per photo (key points, cells of a feature
    map) also says which: `id_a` and `id_b` are indices into the photo's list, the same in every
    pair, so two pairs that share a photo link through equal ids even where their sub-pixel
    positions differ by some pixels. `anchor_a` and `anchor_b` are the listed points' own fixed
    positions; None means that `uv` already is one. A point tied to a cell is known relative to
    its partner only: seen from a third photo the same cell has another `uv`. To first order
    (views without much rotation or change of scale) the anchor of b lies in a at
    `uv_a - (uv_b - anchor_b)`.
    """

    uv_a: Float[np.ndarray, "n 2"]
    uv_b: Float[np.ndarray, "n 2"]
    score: Float[np.ndarray, " n"]
    grid_a_px: float = 0.0
    grid_b_px: float = 0.0
    id_a: Int[np.ndarray, " n"] | None = None
    id_b: Int[np.ndarray, " n"] | None = None
    anchor_a: Float[np.ndarray, "n 2"] | None = None
    anchor_b: Float[np.ndarray, "n 2"] | None = None
    sigma_px: float = 0.0

    def __post_init__(self):
        sizes = {k: len(v) for k in _PER_MATCH if (v := getattr(self, k)) is not None}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"all fields of matches must have the same length, got {sizes}")
        if (self.id_a is None) != (self.id_b is None):
            raise ValueError("id_a and id_b must be given together")
        if (self.anchor_a is None) != (self.anchor_b is None):
            raise ValueError("anchor_a and anchor_b must be given together")

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def none(cls) -> "Matches":
        """No match at all."""
        return cls(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))

    def select(self, keep: np.ndarray) -> "Matches":
        """The matches at a boolean mask or at indices."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        picked = {k: values[k][keep] for k in _PER_MATCH if values[k] is not None}
        return Matches(**{**values, **picked})

    def swapped(self) -> "Matches":
        """The same matches from b to a."""
        other = {"a": "b", "b": "a"}
        return Matches(
            score=self.score,
            sigma_px=self.sigma_px,
            **{
                f"{what}_{side}{unit}": getattr(self, f"{what}_{other[side]}{unit}")
                for what, unit in (("uv", ""), ("grid", "_px"), ("id", ""), ("anchor", ""))
                for side in "ab"
            },
        )

    def save(self, path: Path | BytesIO) -> None:
        """Write an `.npz` with float64 positions and int64 ids."""
        values = {k: v for k in _PER_MATCH if (v := getattr(self, k)) is not None}
        np.savez(path, grid_px=np.array([self.grid_a_px, self.grid_b_px, self.sigma_px]), **values)

    @classmethod
    def load(cls, path: Path) -> "Matches":
        """Read what `save` wrote."""
        with np.load(path) as f:
            grid_a_px, grid_b_px, sigma_px = [*map(float, f["grid_px"]), 0.0][:3]
            values = {k: f[k] for k in _PER_MATCH if k in f}
        return cls(**values, grid_a_px=grid_a_px, grid_b_px=grid_b_px, sigma_px=sigma_px)
