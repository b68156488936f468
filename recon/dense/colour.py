"""Colours of points over all photos that see them: exposure per photo, harmonics per point."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from recon.dense.stereo import DepthMap

SH_C0 = 0.28209479177387814
SH_C1 = 0.4886025119029199
EXPOSURE_ROUNDS = 10
EXPOSURE_NOISE = 0.02  # log colour: smaller residuals are noise and count as squares
SEEN_DEPTH_TOLERANCE = 0.02  # relative: a point this much behind the depth map is hidden


def sample_colours(
    xyz: Float32[np.ndarray, "n 3"],
    maps: Sequence[DepthMap],
    pictures: Mapping[str, UInt8[np.ndarray, "h w 3"]],
) -> tuple[Float32[np.ndarray, "n v 3"], Bool[np.ndarray, "n v"]]:
    """Each point's colour in every map's photo (bilinear, [0, 1]) and whether it is seen there.

    Seen: inside the photo and not behind the depth map.
    """
    import cv2

    colours = np.zeros((len(xyz), len(maps), 3), np.float32)
    visible = np.zeros((len(xyz), len(maps)), bool)
    for v, m in enumerate(maps):
        picture = pictures[m.view.name].astype(np.float32) / 255.0
        xyz_cam = m.view.cam_from_world.apply(xyz.astype(np.float64))
        uv, z = m.view.camera.project(xyz_cam)
        inside = (z > 0) & (uv > 1).all(1)
        inside &= (uv[:, 0] < m.view.camera.width - 1) & (uv[:, 1] < m.view.camera.height - 1)
        at = (uv - 0.5).astype(np.float32)
        at[~inside] = 0
        colours[:, v] = _remap(cv2, picture, at)
        small, _ = m.camera.project(xyz_cam)
        h, w = m.depth.shape
        col = np.clip(np.nan_to_num(small[:, 0]), 0, w - 1).astype(int)
        row = np.clip(np.nan_to_num(small[:, 1]), 0, h - 1).astype(int)
        visible[:, v] = inside & (z < m.depth[row, col] * (1 + SEEN_DEPTH_TOLERANCE))
    return colours, visible


def _remap(cv2, picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    columns = 4096  # OpenCV's remap wants pictures below 32768 a side
    rows = -(-len(at) // columns)
    grid = np.zeros((rows * columns, 2), np.float32)
    grid[: len(at)] = at
    maps = grid.reshape(rows, columns, 2)
    out = cv2.remap(picture, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out.reshape(-1, 3)[: len(at)]


def solve_exposures(
    colours: Float32[np.ndarray, "n v 3"], visible: Bool[np.ndarray, "n v"]
) -> Float[np.ndarray, "v 3"]:
    """Gain per photo and channel so that points look alike in all photos; geometric mean 1.

    Minimises, over gains g and point brightnesses b, sum |log colour - g_photo - b_point| by
    reweighted least squares; b is eliminated, so that gains also agree between photos that share
    points only by way of others. Photos without common points keep their mean.
    """
    usable = visible[..., None] & (colours > 0.04) & (colours < 0.96)
    enough = usable.sum(1).min(-1) >= 2
    if enough.sum() < 50:
        return np.ones((colours.shape[1], 3))
    logs = np.log(np.maximum(colours[enough], 1e-3)).astype(np.float64)
    gains = [_solve_gains(logs[..., c], usable[enough][..., c]) for c in range(3)]
    return np.exp(np.stack(gains, -1))


def _solve_gains(
    logs: Float[np.ndarray, "n v"], usable: Bool[np.ndarray, "n v"]
) -> Float[np.ndarray, " v"]:
    """Log gains of one channel, mean zero; every point is usable in two photos or more."""
    weight = usable.astype(np.float64)
    gain = np.zeros(logs.shape[1])
    for _ in range(EXPOSURE_ROUNDS):
        share = weight / weight.sum(1, keepdims=True)
        laplacian = np.diag(weight.sum(0)) - weight.T @ share
        right = (weight * (logs - (share * logs).sum(1, keepdims=True))).sum(0)
        gain = np.linalg.pinv(laplacian, rcond=1e-9, hermitian=True) @ right
        rest = logs - gain
        rest -= (share * rest).sum(1, keepdims=True)
        weight = usable / np.maximum(np.abs(rest), EXPOSURE_NOISE)
    return gain - gain.mean()


def fit_sh(
    xyz: Float32[np.ndarray, "n 3"],
    colours: Float32[np.ndarray, "n v 3"],
    visible: Bool[np.ndarray, "n v"],
    centres: Float[np.ndarray, "v 3"],
    *,
    degree: int,
    ridge: float,
) -> Float32[np.ndarray, "n k 3"]:
    """Harmonic coefficients per point by ridge regression over the photos that see it.

    Minimises sum_v |Y(d_v) c - (colour_v - 0.5)|^2 + ridge * |c_band1|^2 per channel. The ridge
    keeps what few photos cannot tell at zero; the constant band is free. Points seen nowhere are
    mid-grey.

    Source: EDGS (arXiv 2504.13204) section on colour; here with degree <= 1 and a ridge, since a
    handful of photos does not determine more.
    """
    directions = xyz[:, None].astype(np.float64) - centres
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True) + 1e-12
    x, y, z = np.moveaxis(directions, -1, 0)
    basis = np.stack([np.full_like(x, SH_C0), -SH_C1 * y, SH_C1 * z, -SH_C1 * x], -1)
    if degree == 0:
        basis = basis[..., :1]
    basis = np.where(visible[..., None], basis, 0.0)
    target = np.where(visible[..., None], colours - 0.5, 0.0)
    penalty = np.full(basis.shape[-1], ridge)
    penalty[0] = 1e-6
    normal = np.einsum("nvk,nvl->nkl", basis, basis) + np.diag(penalty)
    right = np.einsum("nvk,nvc->nkc", basis, target)
    return np.linalg.solve(normal, right).astype(np.float32)
