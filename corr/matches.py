"""Matches between two photos: coordinates, never key-point indices."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Matches:
    """Corresponding points of photo a and photo b, original pixels of each photo.

    `grid_a_px` and `grid_b_px` say how each side was measured: 0 means sub-pixel everywhere; a
    positive number means that points lie on a grid of that spacing (so they coincide between
    pairs, which links tracks) and are accurate to about a third of it.
    """

    uv_a: Float[np.ndarray, "n 2"]
    uv_b: Float[np.ndarray, "n 2"]
    score: Float[np.ndarray, " n"]
    grid_a_px: float = 0.0
    grid_b_px: float = 0.0

    def __post_init__(self):
        if not (len(self.uv_a) == len(self.uv_b) == len(self.score)):
            raise ValueError("uv_a, uv_b and score must have the same length")

    def __len__(self) -> int:
        return len(self.score)

    def select(self, keep: np.ndarray) -> "Matches":
        """The matches at a boolean mask or at indices."""
        return Matches(
            self.uv_a[keep], self.uv_b[keep], self.score[keep], self.grid_a_px, self.grid_b_px
        )

    def swapped(self) -> "Matches":
        """The same matches from b to a."""
        return Matches(self.uv_b, self.uv_a, self.score, self.grid_b_px, self.grid_a_px)

    def save(self, path: Path) -> None:
        """Write an `.npz` with float64 fields."""
        grid = np.array([self.grid_a_px, self.grid_b_px])
        np.savez(path, uv_a=self.uv_a, uv_b=self.uv_b, score=self.score, grid_px=grid)

    @classmethod
    def load(cls, path: Path) -> "Matches":
        """Read what `save` wrote."""
        with np.load(path) as f:
            return cls(f["uv_a"], f["uv_b"], f["score"], *map(float, f["grid_px"]))
