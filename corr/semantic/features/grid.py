"""The value that every extractor returns: descriptors on a regular grid of known places."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class FeatureGrid:
    """Descriptors of a photo's cells, each of unit length, and where the cells' centres lie.

    Cell (row, column) is centred at `first_uv + step_uv * (column, row)` in original pixels. Only
    cells centred inside the photo are in it: padding leaves none.

    Args:
        descriptor: rows x columns x d; float16 on disk, float32 when computed with.
        first_uv: Centre of cell (0, 0), original pixels.
        step_uv: Original pixels from cell to cell, along u and v.
        width: Of the original photo, pixels.
        height: Of the original photo, pixels.
    """

    descriptor: Float[np.ndarray, "rows columns d"]
    first_uv: Float[np.ndarray, " 2"]
    step_uv: Float[np.ndarray, " 2"]
    width: int
    height: int

    def __post_init__(self):
        if self.descriptor.ndim != 3 or not self.descriptor.size:
            raise ValueError(f"a grid must have cells, got shape {self.descriptor.shape}")
        if not (self.step_uv > 0).all():
            raise ValueError(f"the step between cells must be positive, got {self.step_uv}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.descriptor.shape[0], self.descriptor.shape[1]

    @property
    def flat(self) -> Float[np.ndarray, "cells d"]:
        """All descriptors, row by row, float32."""
        return self.descriptor.reshape(-1, self.descriptor.shape[-1]).astype(np.float32, copy=False)

    def centres(self) -> Float[np.ndarray, "cells 2"]:
        """Places of all cells, original pixels, row by row."""
        rows, columns = self.shape
        v, u = np.mgrid[:rows, :columns].astype(np.float64)
        return self.uv_of(np.stack([u, v], -1).reshape(-1, 2))

    def uv_of(self, cell: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Original pixels of (column, row), fractions allowed."""
        return self.first_uv + self.step_uv * np.asarray(cell, dtype=np.float64)

    def cell_of(self, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """(column, row) of original pixels, fractions."""
        return (np.asarray(uv, dtype=np.float64) - self.first_uv) / self.step_uv

    def sample(self, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n d"]:
        """Descriptors at any places, bilinear, of unit length; beyond the last cell its value."""
        rows, columns = self.shape
        at = np.clip(self.cell_of(uv), 0, [columns - 1, rows - 1])
        low = np.minimum(np.floor(at).astype(np.int64), [max(columns - 2, 0), max(rows - 2, 0)])
        part = (at - low).astype(np.float32)
        high = np.minimum(low + 1, [columns - 1, rows - 1])
        out = np.zeros((len(at), self.descriptor.shape[-1]), np.float32)
        for ends, weight in (
            ((low, low), (1 - part[:, 0]) * (1 - part[:, 1])),
            ((high, low), part[:, 0] * (1 - part[:, 1])),
            ((low, high), (1 - part[:, 0]) * part[:, 1]),
            ((high, high), part[:, 0] * part[:, 1]),
        ):
            found = self.descriptor[ends[1][:, 1], ends[0][:, 0]].astype(np.float32)
            out += weight[:, None] * found
        return unit(out)


def unit(descriptor: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
    """Scaled to length one; zeros stay zeros."""
    norm = np.linalg.norm(descriptor, axis=-1, keepdims=True)
    return descriptor / np.maximum(norm, 1e-12)
