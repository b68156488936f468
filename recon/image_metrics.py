"""How close a render is to a photo.

Conventions, to be printed with every number: values in [0, 1] (bytes are divided by 255), clamped,
not rounded; PSNR pools the channels of one picture, averages over pictures are the caller's; SSIM
uses an 11x11 Gaussian window with sigma 1.5 over the places where it fits ("valid"), per channel,
then averaged.
"""

import numpy as np
from jaxtyping import Bool, Float

Picture = np.ndarray  # h w or h w c; bytes or floats in [0, 1]

_RADIUS = 5
_SIGMA = 1.5


def as_unit(picture: Picture) -> Float[np.ndarray, "h w c"]:
    """Float64 in [0, 1] with a channel axis."""
    unit = np.asarray(picture)
    scale = 255.0 if unit.dtype == np.uint8 else 1.0
    unit = np.clip(unit.astype(np.float64) / scale, 0.0, 1.0)
    return unit[..., None] if unit.ndim == 2 else unit


def _pair(a: Picture, b: Picture) -> tuple[np.ndarray, np.ndarray]:
    first, second = as_unit(a), as_unit(b)
    if first.shape != second.shape:
        raise ValueError(f"pictures must have the same shape, got {first.shape}, {second.shape}")
    return first, second


def psnr(a: Picture, b: Picture, mask: Bool[np.ndarray, "h w"] | None = None) -> float:
    """Peak signal-to-noise ratio, dB: `-10 log10(mean squared difference)`; inf when equal.

    Args:
        a: Picture.
        b: Picture of the same shape.
        mask: Pixels that count; all if None.

    Raises:
        ValueError: Shapes differ, or the mask is empty.
    """
    first, second = _pair(a, b)
    error = (first - second) ** 2
    if mask is not None:
        if not mask.any():
            raise ValueError("mask must keep at least one pixel")
        error = error[mask.astype(bool)]
    mean = float(error.mean())
    return float("inf") if mean == 0 else -10.0 * float(np.log10(mean))


def ssim_map(a: Picture, b: Picture) -> Float[np.ndarray, "y x c"]:
    """SSIM per window position and channel; the map is 10 pixels smaller than the picture.

    Source: Wang et al., IEEE TIP 2004; population variances, K1 = 0.01, K2 = 0.03.

    Raises:
        ValueError: Shapes differ, or a side is below 11 pixels.
    """
    from scipy.ndimage import correlate1d

    first, second = _pair(a, b)
    side = 2 * _RADIUS + 1
    if min(first.shape[:2]) < side:
        raise ValueError(f"pictures must be {side}x{side} or larger, got {first.shape[:2]}")
    kernel = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    kernel /= kernel.sum()

    def blur(x: np.ndarray) -> np.ndarray:
        x = correlate1d(correlate1d(x, kernel, axis=0), kernel, axis=1)
        return x[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]

    mean_a, mean_b = blur(first), blur(second)
    var_a = blur(first**2) - mean_a**2
    var_b = blur(second**2) - mean_b**2
    covariance = blur(first * second) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def ssim(a: Picture, b: Picture) -> float:
    """Structural similarity: the mean of `ssim_map`, 1 for equal pictures."""
    return float(ssim_map(a, b).mean())


def masked_ssim(a: Picture, b: Picture, mask: Bool[np.ndarray, "h w"] | None) -> float:
    """Mean SSIM over the window centres that the mask allows; NaN when it allows none."""
    values = ssim_map(a, b)
    if mask is None:
        return float(values.mean())
    inner = mask[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return float(values[inner].mean()) if inner.any() else float("nan")


def colour_corrected(
    render: Picture, photo: Picture, mask: Bool[np.ndarray, "h w"] | None = None
) -> Float[np.ndarray, "h w 3"]:
    """The render after the affine colour map (3x3 and offset) that brings it closest to the photo.

    It removes what exposure and white balance explain. Scores taken after it use the photo and are
    always reported beside the plain ones, never instead of them.

    Closed form: least squares over pixels, with a small pull towards the identity so that a grey
    picture cannot make it singular. Clipped photo pixels (0 or 1 in any channel) do not vote.
    """
    r, p = _pair(render, photo)
    votes = np.all((p > 0.5 / 255) & (p < 1 - 0.5 / 255), axis=-1)
    if mask is not None:
        votes &= mask.astype(bool)
    if votes.sum() < 16:
        return r
    x = np.column_stack([r[votes], np.ones(int(votes.sum()))])
    prior = np.eye(4, 3)
    strength = 1e-4 * len(x)
    gram = x.T @ x + strength * np.eye(4)
    solution = np.linalg.solve(gram, x.T @ p[votes] + strength * prior)
    return np.clip(r @ solution[:3] + solution[3], 0.0, 1.0)
