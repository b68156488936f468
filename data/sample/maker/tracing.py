"""Light: two soft lamps, the room's ambient light, one diffuse bounce, mild highlights."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from .shapes import NOTHING, Scene, meet, normal_and_uv
from .solids import solid_colour

# Per lamp: corner, two edges (metres), radiance. A window on the left, a lamp on the right.
LAMPS = np.array(
    [
        [-1.65, 0.15, 1.0, 0.0, -0.7, 0.0, 0.3, 0.0, 0.7, 25.0, 25.5, 26.0],
        [0.25, -1.35, 1.35, 0.28, 0.0, 0.0, 0.0, 0.2, 0.2, 24.0, 19.2, 13.4],
    ]
)
SAMPLE_DIMENSIONS = 10
_AMBIENT = 0.12
_SRGB = np.where(
    np.arange(256) <= 10,
    np.arange(256) / 255 / 12.92,
    ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4,
).astype(np.float64)


@njit(cache=True, fastmath=True)
def _texture(scene, number, u, v):
    """Look up linear colour, bilinear between texel centres, repeating around u."""
    start, rows, columns = scene.texture[number]
    x, y = u * columns - 0.5, min(max(v * rows - 0.5, 0.0), rows - 1.0)
    left, top = math.floor(x), math.floor(y)
    a, b = x - left, y - top
    row0 = start + int(top) * columns
    row1 = start + min(int(top) + 1, rows - 1) * columns
    column0, column1 = int(left) % columns, (int(left) + 1) % columns
    w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    t = scene.texel
    p00, p01, p10, p11 = row0 + column0, row0 + column1, row1 + column0, row1 + column1
    return (
        w00 * _SRGB[t[p00, 0]]
        + w01 * _SRGB[t[p01, 0]]
        + w10 * _SRGB[t[p10, 0]]
        + w11 * _SRGB[t[p11, 0]],
        w00 * _SRGB[t[p00, 1]]
        + w01 * _SRGB[t[p01, 1]]
        + w10 * _SRGB[t[p10, 1]]
        + w11 * _SRGB[t[p11, 1]],
        w00 * _SRGB[t[p00, 2]]
        + w01 * _SRGB[t[p01, 2]]
        + w10 * _SRGB[t[p10, 2]]
        + w11 * _SRGB[t[p11, 2]],
    )


@njit(cache=True, fastmath=True)
def _skin(scene, shape, face, px, py, pz, dx, dy, dz):
    """Return world normal (towards the viewer) and linear albedo at a point of a shape."""
    m = scene.local_from_world[shape]
    x, y, z = px - scene.centre[shape, 0], py - scene.centre[shape, 1], pz - scene.centre[shape, 2]
    lx = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z
    ly = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z
    lz = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z
    u, v, w, tu, tv = normal_and_uv(scene, shape, face, lx, ly, lz)
    nx = m[0, 0] * u + m[1, 0] * v + m[2, 0] * w
    ny = m[0, 1] * u + m[1, 1] * v + m[2, 1] * w
    nz = m[0, 2] * u + m[1, 2] * v + m[2, 2] * w
    if nx * dx + ny * dy + nz * dz > 0.0:
        nx, ny, nz = -nx, -ny, -nz
    number = scene.skin[shape, min(face, 5) if scene.kind[shape] != 3 else 0]
    if number < 0:
        shift = 0.37 * shape
        r, g, b = solid_colour(number, lx + shift, ly, lz + shift)
    else:
        r, g, b = _texture(scene, number, tu, tv)
    return nx, ny, nz, r, g, b


@njit(cache=True, fastmath=True)
def _lamp(scene, lamps, which, px, py, pz, nx, ny, nz, a, b):
    """Return share (0 if shadowed) and direction of one lamp sample."""
    lamp = lamps[which]
    x = lamp[0] + a * lamp[3] + b * lamp[6] - px
    y = lamp[1] + a * lamp[4] + b * lamp[7] - py
    z = lamp[2] + a * lamp[5] + b * lamp[8] - pz
    far = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / far, y / far, z / far
    facing = nx * x + ny * y + nz * z
    if facing <= 0.0:
        return 0.0, x, y, z
    sx = lamp[4] * lamp[8] - lamp[5] * lamp[7]
    sy = lamp[5] * lamp[6] - lamp[3] * lamp[8]
    sz = lamp[3] * lamp[7] - lamp[4] * lamp[6]
    share = facing * abs(sx * x + sy * y + sz * z) / (far * far)
    e = 1e-4
    t, _, _ = meet(scene, px + e * nx, py + e * ny, pz + e * nz, x, y, z, far, True)
    return (share if t >= NOTHING else 0.0), x, y, z


@njit(cache=True, fastmath=True)
def _bounce(scene, lamps, px, py, pz, nx, ny, nz, a, b, c, d):
    """Return the light that one cosine-distributed direction brings in: room, or a lit surface."""
    radius, turn = math.sqrt(a), 2.0 * math.pi * b
    x, y, z = radius * math.cos(turn), radius * math.sin(turn), math.sqrt(max(0.0, 1.0 - a))
    sign = 1.0 if nz >= 0.0 else -1.0
    k = -1.0 / (sign + nz)
    m = nx * ny * k
    dx = x * (1.0 + sign * nx * nx * k) + y * m + z * nx
    dy = x * sign * m + y * (sign + ny * ny * k) + z * ny
    dz = -x * sign * nx - y * ny + z * nz
    e = 1e-4
    ox, oy, oz = px + e * nx, py + e * ny, pz + e * nz
    t, shape, face = meet(scene, ox, oy, oz, dx, dy, dz, NOTHING, False)
    if t >= NOTHING:
        up = 0.55 + 0.45 * dz
        return 0.42 * up, 0.44 * up, 0.48 * up
    qx, qy, qz = ox + t * dx, oy + t * dy, oz + t * dz
    ux, uy, uz, r, g, bl = _skin(scene, shape, face, qx, qy, qz, dx, dy, dz)
    share, _, _, _ = _lamp(scene, lamps, 0, qx, qy, qz, ux, uy, uz, c, d)
    lamp = lamps[0]
    return (
        r * (share * lamp[9] / math.pi + _AMBIENT),
        g * (share * lamp[10] / math.pi + _AMBIENT),
        bl * (share * lamp[11] / math.pi + _AMBIENT),
    )


@njit(cache=True, fastmath=True)
def _radiance(scene, lamps, ox, oy, oz, dx, dy, dz, s):
    """Trace one camera ray with one vector of sample numbers."""
    t, shape, face = meet(scene, ox, oy, oz, dx, dy, dz, NOTHING, False)
    if t >= NOTHING:
        return 0.3, 0.3, 0.3
    px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
    nx, ny, nz, r, g, b = _skin(scene, shape, face, px, py, pz, dx, dy, dz)
    strength, power = scene.gloss[shape, 0], scene.gloss[shape, 1]
    red, green, blue = _bounce(scene, lamps, px, py, pz, nx, ny, nz, s[6], s[7], s[8], s[9])
    red, green, blue = red * r, green * g, blue * b
    for which in range(lamps.shape[0]):
        share, lx, ly, lz = _lamp(
            scene, lamps, which, px, py, pz, nx, ny, nz, s[2 + 2 * which], s[3 + 2 * which]
        )
        if share <= 0.0:
            continue
        hx, hy, hz = lx - dx, ly - dy, lz - dz
        half = math.sqrt(hx * hx + hy * hy + hz * hz)
        shine = strength * (power + 8.0) / 8.0 * ((nx * hx + ny * hy + nz * hz) / half) ** power
        red += share * lamps[which, 9] / math.pi * (r + shine)
        green += share * lamps[which, 10] / math.pi * (g + shine)
        blue += share * lamps[which, 11] / math.pi * (b + shine)
    return red, green, blue


@njit(cache=True, fastmath=True, parallel=True)
def _render(scene, lamps, world_from_cam, focal, width, height, samples, shift, steps):
    image = np.zeros((height, width, 3), np.float32)
    for row in prange(height):
        s = np.zeros(SAMPLE_DIMENSIONS)
        for column in range(width):
            for n in range(samples):
                for k in range(SAMPLE_DIMENSIONS):
                    value = shift[row, column, k] + n * steps[k]
                    s[k] = value - math.floor(value)
                x = (column + s[0] - 0.5 * width) / focal
                y = (row + s[1] - 0.5 * height) / focal
                norm = 1.0 / math.sqrt(x * x + y * y + 1.0)
                m = world_from_cam
                dx = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) * norm
                dy = (m[1, 0] * x + m[1, 1] * y + m[1, 2]) * norm
                dz = (m[2, 0] * x + m[2, 1] * y + m[2, 2]) * norm
                r, g, b = _radiance(scene, lamps, m[0, 3], m[1, 3], m[2, 3], dx, dy, dz, s)
                image[row, column, 0] += min(r, 6.0) / samples
                image[row, column, 1] += min(g, 6.0) / samples
                image[row, column, 2] += min(b, 6.0) / samples
    return image


def render(
    scene: Scene,
    world_from_cam: np.ndarray,
    focal_px: float,
    size: tuple[int, int],
    samples: int,
    rng,
) -> np.ndarray:
    """Render linear radiance, float32 rows x columns x 3, for a centred pinhole camera.

    Samples follow an additive recurrence in ten dimensions (steps are powers of the inverse root of
    x**11 = x + 1), shifted at random per pixel: even coverage and no pattern.

    Args:
        scene: what is there.
        world_from_cam: 3 x 4, OpenCV camera axes.
        focal_px: focal length.
        size: width, height.
        samples: rays per pixel.
        rng: a NumPy generator for the shifts.
    """
    root = 1.5
    for _ in range(60):
        root = (1.0 + root) ** (1.0 / (SAMPLE_DIMENSIONS + 1))
    steps = (1.0 / root) ** np.arange(1, SAMPLE_DIMENSIONS + 1)
    width, height = size
    shift = rng.random((height, width, SAMPLE_DIMENSIONS), dtype=np.float32)
    return _render(scene, LAMPS, world_from_cam, focal_px, width, height, samples, shift, steps)
