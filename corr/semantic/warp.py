"""A dense warp between two photos of one category: every cell's place in the other photo.

Single cells err, neighbours err differently: the displacements are smoothed with their confidence
as weight, twice more with those cells counting less that disagree with what their neighbours say.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from corr.semantic.features.grid import FeatureGrid
from corr.semantic.transfer import Transfer

ROW_BLOCK = 1024  # cells whose similarities are held at a time
ROUNDS = 3  # of smoothing; from the second on, cells that disagree count less
SPREAD_CELLS = 1.5  # disagreement at which a cell counts half


@dataclass(frozen=True, eq=False)
class Warp:
    """Where the cells of photo a lie in photo b.

    Args:
        uv: Places in b, original pixels.
        confidence: 0..1, smoothed like the places.
        first_uv: Centre of a's cell (0, 0), original pixels of a.
        step_uv: From cell to cell, original pixels of a.
    """

    uv: Float[np.ndarray, "rows columns 2"]
    confidence: Float[np.ndarray, "rows columns"]
    first_uv: Float[np.ndarray, " 2"]
    step_uv: Float[np.ndarray, " 2"]

    def at(
        self, uv_a: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Places in b and confidence of any places of a; bilinear, beyond the grid linear.

        Beyond the outermost centres the displacement of the nearest cell is kept.
        """
        from scipy.ndimage import map_coordinates

        uv_a = np.asarray(uv_a, dtype=np.float64)
        rows, columns = self.confidence.shape
        cell = np.clip((uv_a - self.first_uv) / self.step_uv, 0, [columns - 1, rows - 1])
        inner = self.first_uv + cell * self.step_uv
        u, v, sure = (
            map_coordinates(plane, [cell[:, 1], cell[:, 0]], order=1, mode="nearest")
            for plane in (self.uv[..., 0], self.uv[..., 1], self.confidence)
        )
        return np.stack([u, v], 1) + (uv_a - inner), sure


def dense_warp(
    a: FeatureGrid, b: FeatureGrid, transfer: Transfer, *, smooth_cells: float = 1.0
) -> Warp:
    """Transfer every cell of a to b and smooth.

    Args:
        a: The photo whose cells are asked for.
        b: The photo they are looked up in.
        transfer: How one cell is matched; cells it gives no answer for are filled in.
        smooth_cells: Standard deviation of the smoothing, cells; 0 = the matches as they are.

    Raises:
        ValueError: The transfer answers for no cell at all.
    """
    centres = a.centres()
    parts = [
        transfer.transfer(a, b, centres[start : start + ROW_BLOCK])
        for start in range(0, len(centres), ROW_BLOCK)
    ]
    uv = np.concatenate([p.uv for p in parts]).reshape(*a.shape, 2)
    sure = np.concatenate([p.confidence for p in parts]).reshape(a.shape)
    answered = np.isfinite(uv).all(-1)
    if not answered.any():
        raise ValueError("the transfer answers for no cell; lower transfer.min_confidence")
    sure = np.where(answered, sure, 0.0)
    shift = np.where(answered[..., None], uv - centres.reshape(*a.shape, 2), 0.0)
    if smooth_cells > 0:
        shift = _smoothed(shift, sure, smooth_cells, float(b.step_uv.max()))
        sure = _blurred(sure, smooth_cells)
    return Warp(centres.reshape(*a.shape, 2) + shift, sure, a.first_uv, a.step_uv)


def _smoothed(
    shift: Float[np.ndarray, "rows columns 2"],
    sure: Float[np.ndarray, "rows columns"],
    sigma: float,
    cell_px: float,
) -> Float[np.ndarray, "rows columns 2"]:
    weight, smooth = np.maximum(sure, 1e-6 * sure.max() + 1e-12), shift
    for round_ in range(ROUNDS):
        if round_:
            off = np.linalg.norm(shift - smooth, axis=-1) / (SPREAD_CELLS * cell_px)
            weight = np.maximum(sure, 1e-6) / (1.0 + off**2)
        total = _blurred(weight, sigma)
        smooth = np.stack([_blurred(weight * s, sigma) / total for s in np.moveaxis(shift, -1, 0)],
                          -1)  # fmt: skip
    return smooth


def _blurred(plane: Float[np.ndarray, "rows columns"], sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    # Cut off late: where whole neighbourhoods give no answer, the nearest answers still count.
    return gaussian_filter(plane, sigma, mode="nearest", truncate=12.0)
