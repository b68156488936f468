"""Solid materials: colour as a function of the place inside, so round things have no seams."""

from __future__ import annotations

import math

from numba import njit

from .noise import fractal_noise, gradient_noise

MARBLE, GRANITE, ORANGE, LEMON, PAINTED, TERRACOTTA, APPLE, CORK = -1, -2, -3, -4, -5, -6, -7, -8


@njit(cache=True, fastmath=True)
def _mix(a: float, b: float, share: float) -> float:
    share = min(max(share, 0.0), 1.0)
    return a + (b - a) * share


@njit(cache=True, fastmath=True)
def _marble(x: float, y: float, z: float) -> tuple[float, float, float]:
    warp = fractal_noise(14.0 * x, 14.0 * y, 14.0 * z, 5)
    vein = 1.0 - abs(math.sin(38.0 * x + 21.0 * z + 5.0 * warp))
    vein = vein * vein * vein
    cloud = 0.5 + 0.5 * fractal_noise(30.0 * x, 30.0 * y, 30.0 * z + 4.0, 4)
    base = _mix(0.42, 0.72, cloud)
    return _mix(base, 0.07, vein), _mix(0.97 * base, 0.10, vein), _mix(0.90 * base, 0.09, vein)


@njit(cache=True, fastmath=True)
def _granite(x: float, y: float, z: float) -> tuple[float, float, float]:
    grain = 0.5 * gradient_noise(190.0 * x, 190.0 * y, 190.0 * z) + 0.9 * gradient_noise(
        95.0 * x, 95.0 * y, 95.0 * z + 7.0
    )
    cloud = fractal_noise(22.0 * x, 22.0 * y, 22.0 * z, 4)
    dark = _mix(0.0, 1.0, 2.2 * grain + 0.3 + 0.6 * cloud)
    rust = _mix(0.0, 0.5, 2.0 * gradient_noise(60.0 * x + 3.0, 60.0 * y, 60.0 * z) - 0.2)
    r, g, b = _mix(0.10, 0.42, dark), _mix(0.10, 0.39, dark), _mix(0.11, 0.38, dark)
    return _mix(r, 0.34, rust), _mix(g, 0.17, rust), _mix(b, 0.10, rust)


@njit(cache=True, fastmath=True)
def _fruit(x: float, y: float, z: float, lemon: bool) -> tuple[float, float, float]:
    pores = gradient_noise(210.0 * x, 210.0 * y, 210.0 * z)
    pores = max(0.0, pores - 0.15) * 0.9
    patch = fractal_noise(26.0 * x, 26.0 * y, 26.0 * z, 4)
    scar = max(0.0, fractal_noise(45.0 * x + 9.0, 45.0 * y, 45.0 * z, 4) - 0.55) * 1.6
    shade = 1.0 - pores + 0.22 * patch
    if lemon:
        r, g, b = 0.74 * shade, (0.52 + 0.10 * patch) * shade, 0.05
    else:
        r, g, b = 0.76 * shade, (0.25 + 0.09 * patch) * shade, 0.02
    return _mix(r, 0.20, scar), _mix(g, 0.13, scar), _mix(b, 0.06, scar)


@njit(cache=True, fastmath=True)
def _apple(x: float, y: float, z: float) -> tuple[float, float, float]:
    angle = math.atan2(y, x)
    streak = gradient_noise(6.0 * math.cos(angle) * 2.0, 6.0 * math.sin(angle) * 2.0, 16.0 * z)
    streak += 0.6 * gradient_noise(17.0 * math.cos(angle), 17.0 * math.sin(angle), 30.0 * z + 2.0)
    blush = 0.45 + 0.7 * fractal_noise(13.0 * x, 13.0 * y, 13.0 * z + 1.0, 3) + 0.5 * streak
    dot = max(0.0, gradient_noise(150.0 * x, 150.0 * y, 150.0 * z) - 0.42) * 2.5
    r, g, b = _mix(0.50, 0.40, blush), _mix(0.42, 0.03, blush), _mix(0.08, 0.025, blush)
    return _mix(r, 0.7, dot), _mix(g, 0.6, dot), _mix(b, 0.35, dot)


@njit(cache=True, fastmath=True)
def _painted(x: float, y: float, z: float) -> tuple[float, float, float]:
    wobble = fractal_noise(30.0 * x, 30.0 * y, 30.0 * z, 4)
    lane = (
        24.0 * (0.75 * z + 0.4 * x)
        + 0.35 * wobble
        + 1.3 * gradient_noise(12.0 * x, 12.0 * y, 12.0 * z + 3.0)
    )
    band = math.floor(lane) % 4
    edge = lane - math.floor(lane)
    worn = fractal_noise(55.0 * x, 55.0 * y, 55.0 * z + 5.0, 4) > 0.52
    brush = 1.0 + 0.25 * gradient_noise(25.0 * x, 25.0 * y, 150.0 * z)
    if worn or edge < 0.06:
        return 0.45 * brush, 0.36 * brush, 0.24 * brush
    if band == 0:
        return 0.04 * brush, 0.16 * brush, 0.30 * brush
    if band == 1:
        return 0.70 * brush, 0.62 * brush, 0.42 * brush
    if band == 2:
        return 0.48 * brush, 0.07 * brush, 0.05 * brush
    return 0.08 * brush, 0.30 * brush, 0.22 * brush


@njit(cache=True, fastmath=True)
def _terracotta(x: float, y: float, z: float) -> tuple[float, float, float]:
    lime = fractal_noise(20.0 * x, 20.0 * y, 9.0 * z, 5)
    ring = gradient_noise(3.0, 5.0, 160.0 * z + 0.8 * lime)
    shade = 1.0 + 0.15 * ring + 0.2 * fractal_noise(80.0 * x, 80.0 * y, 80.0 * z, 3)
    share = 2.2 * lime - 0.25
    return (
        _mix(0.45, 0.58, share) * shade,
        _mix(0.17, 0.50, share) * shade,
        _mix(0.085, 0.42, share) * shade,
    )


@njit(cache=True, fastmath=True)
def _cork(x: float, y: float, z: float) -> tuple[float, float, float]:
    crumb = gradient_noise(130.0 * x, 130.0 * y, 130.0 * z) + 0.5 * fractal_noise(
        40.0 * x, 40.0 * y, 40.0 * z, 4
    )
    return (
        _mix(0.36, 0.16, 0.9 * crumb + 0.3),
        _mix(0.22, 0.07, 0.9 * crumb + 0.3),
        _mix(0.11, 0.03, 0.9 * crumb + 0.3),
    )


@njit(cache=True, fastmath=True)
def solid_colour(kind: int, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return the linear albedo of a solid material at a place in the object's frame, metres."""
    if kind == MARBLE:
        return _marble(x, y, z)
    if kind == GRANITE:
        return _granite(x, y, z)
    if kind == ORANGE:
        return _fruit(x, y, z, False)
    if kind == LEMON:
        return _fruit(x, y, z, True)
    if kind == PAINTED:
        return _painted(x, y, z)
    if kind == TERRACOTTA:
        return _terracotta(x, y, z)
    if kind == APPLE:
        return _apple(x, y, z)
    return _cork(x, y, z)
