"""Noise with a natural spectrum: images for flat textures, fields for solid ones."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.fft import irfft2, next_fast_len, rfft2

_PERMUTATION = np.tile(np.random.default_rng(20).permutation(256), 2).astype(np.int64)


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    slope: float = 1.1,
    stretch: tuple[float, float] = (1.0, 1.0),
    coarsest_px: float = 300.0,
    finest_px: float = 2.5,
) -> np.ndarray:
    """Make an image whose amplitude spectrum falls as frequency ** -slope.

    The image has zero mean and unit deviation. Wavelengths longer than `coarsest_px` and shorter
    than `finest_px` fade out, so nothing aliases.

    Args:
        rng: source of randomness.
        shape: rows, columns.
        slope: 1 is the fall-off of natural images; larger is smoother.
        stretch: how many times longer the features are along rows (y), columns (x).
        coarsest_px: longest wavelength.
        finest_px: shortest wavelength.
    """
    rows, columns = (next_fast_len(edge, real=True) for edge in shape)
    fy = np.fft.fftfreq(rows)[:, None] * stretch[0]
    fx = np.fft.rfftfreq(columns)[None, :] * stretch[1]
    frequency = np.hypot(fy, fx)
    low = 1.0 / coarsest_px
    amplitude = np.maximum(frequency, low) ** -slope
    amplitude *= 1.0 - np.exp(-((frequency / low) ** 2))
    amplitude *= np.exp(
        -0.5 * (np.maximum(np.abs(fy / stretch[0]), np.abs(fx / stretch[1])) * finest_px) ** 4 * 16
    )
    noise = rng.standard_normal((rows, columns), dtype=np.float32)
    image = irfft2(rfft2(noise) * amplitude.astype(np.float32), s=(rows, columns))[
        : shape[0], : shape[1]
    ]
    image = image.astype(np.float64)
    return image / max(image.std(), 1e-12)


def ramp(values: np.ndarray, stops: list[tuple[float, tuple[float, float, float]]]) -> np.ndarray:
    """Map a field through a piecewise linear colour ramp of (value, rgb) stops."""
    at = [stop for stop, _ in stops]
    return np.stack(
        [np.interp(values, at, [rgb[k] for _, rgb in stops]) for k in range(3)], axis=-1
    )


@njit(cache=True, fastmath=True)
def _slope_at(code: int, x: float, y: float, z: float) -> float:
    """Dot one of twelve lattice gradients with an offset."""
    code = code & 15
    u = x if code < 8 else y
    v = y if code < 4 else (x if code in (12, 14) else z)
    return (u if code & 1 == 0 else -u) + (v if code & 2 == 0 else -v)


@njit(cache=True, fastmath=True)
def gradient_noise(x: float, y: float, z: float) -> float:
    """Evaluate lattice gradient noise in [-1, 1] with features of about one unit."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i, j, k = int(fx) & 255, int(fy) & 255, int(fz) & 255
    x, y, z = x - fx, y - fy, z - fz
    u = x * x * x * (x * (6.0 * x - 15.0) + 10.0)
    v = y * y * y * (y * (6.0 * y - 15.0) + 10.0)
    w = z * z * z * (z * (6.0 * z - 15.0) + 10.0)
    total = 0.0
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        code = _PERMUTATION[
            _PERMUTATION[_PERMUTATION[(i + a) & 255] + ((j + b) & 255)] + ((k + c) & 255)
        ]
        weight = (u if a else 1.0 - u) * (v if b else 1.0 - v) * (w if c else 1.0 - w)
        total += weight * _slope_at(code, x - a, y - b, z - c)
    return total


@njit(cache=True, fastmath=True)
def fractal_noise(x: float, y: float, z: float, octaves: int) -> float:
    """Sum octaves of gradient noise, each half as large and half as strong as the one before."""
    total, strength = 0.0, 1.0
    for _ in range(octaves):
        total += strength * gradient_noise(x, y, z)
        x, y, z = 2.03 * x + 11.7, 2.03 * y + 5.3, 2.03 * z + 8.9
        strength *= 0.55
    return total
