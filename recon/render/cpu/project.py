"""Splats to picture coordinates: EWA projection, visible box, colour. One pass, all cores.

Scalars are float64: the loop is bound by its exponentials and divisions, not by their width, and
pixel positions keep their last bits.
"""

import math

import numpy as np
from numba import prange

from recon.render.base import ALPHA_MIN, BLUR_PX2, NEAR, VARIANCE_MAX_PX2
from recon.render.cpu import harmonics
from recon.render.cpu.jit import kernel
from recon.render.cpu.layout import (
    CENTRE,
    CHUNK,
    CX,
    CY,
    FX,
    FY,
    HEIGHT,
    LOG2E,
    ROT,
    TAN_X_MAX,
    TAN_X_MIN,
    TAN_Y_MAX,
    TAN_Y_MIN,
    TILE,
    TRANS,
    WIDTH,
)

BOX_MARGIN_PX = 1e-3  # covers float32 rounding in the raster kernel's own test of alpha


@kernel()
def rotation(quats, i):
    """Nine entries of the rotation of quaternion i, row by row, and 1 / |q|."""
    w, x, y, z = float(quats[i, 0]), float(quats[i, 1]), float(quats[i, 2]), float(quats[i, 3])
    s = 1.0 / math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * s, x * s, y * s, z * s
    return (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        s,
    )


@kernel()
def to_camera(cam, x, y, z):
    """Rotate a world vector into the camera (no translation)."""
    return (
        cam[ROT] * x + cam[ROT + 1] * y + cam[ROT + 2] * z,
        cam[ROT + 3] * x + cam[ROT + 4] * y + cam[ROT + 5] * z,
        cam[ROT + 6] * x + cam[ROT + 7] * y + cam[ROT + 8] * z,
    )


@kernel()
def jacobian(cam, x, y, z):
    """J00, J02, J11, J12 of the pinhole at the direction clamped to 1.3 x the field of view."""
    tan_x = min(max(x / z, cam[TAN_X_MIN]), cam[TAN_X_MAX])
    tan_y = min(max(y / z, cam[TAN_Y_MIN]), cam[TAN_Y_MAX])
    return cam[FX] / z, -cam[FX] * tan_x / z, cam[FY] / z, -cam[FY] * tan_y / z


@kernel()
def column(cam, J, scale, m0, m1, m2):
    """A scaled splat axis in the camera (3) and in the picture (2)."""
    n0, n1, n2 = to_camera(cam, scale * m0, scale * m1, scale * m2)
    return n0, n1, n2, J[0] * n0 + J[1] * n2, J[2] * n1 + J[3] * n2


@kernel()
def axes(cam, J, log_scales, quats, i):
    """Rotation and 1 / |q| (10), scales (3), and the three columns of W R S and J W R S."""
    R = rotation(quats, i)
    s0, s1, s2 = math.exp(log_scales[i, 0]), math.exp(log_scales[i, 1]), math.exp(log_scales[i, 2])
    return (
        R,
        (s0, s1, s2),
        column(cam, J, s0, R[0], R[3], R[6]),
        column(cam, J, s1, R[1], R[4], R[7]),
        column(cam, J, s2, R[2], R[5], R[8]),
    )


@kernel()
def covariance(a, b, c):
    """Blurred 2-D covariance J W S W^T J^T + blur from the columns: xx, xy, yy.

    Source: Zwicker et al., "EWA splatting", TVCG 2002, equations 23-31.
    """
    xx = a[3] * a[3] + b[3] * b[3] + c[3] * c[3] + BLUR_PX2
    yy = a[4] * a[4] + b[4] * b[4] + c[4] * c[4] + BLUR_PX2
    return xx, a[3] * a[4] + b[3] * b[4] + c[3] * c[4], yy


@kernel()
def view_direction(cam, x, y, z):
    """Unit vector from the camera centre to a world point, and its length."""
    x, y, z = x - cam[CENTRE], y - cam[CENTRE + 1], z - cam[CENTRE + 2]
    length = math.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length, length


@kernel()
def colour(cam, degree, sh, i, x, y, z, Y):
    """1/2 + sum_k sh_k Y_k(view direction), not yet clamped at zero; Y is left filled."""
    dx, dy, dz = 0.0, 0.0, 1.0
    if degree > 0:
        dx, dy, dz, _ = view_direction(cam, x, y, z)
    harmonics.basis(degree, dx, dy, dz, Y)
    red, green, blue = 0.5, 0.5, 0.5
    for k in range((degree + 1) * (degree + 1)):
        red += sh[i, k, 0] * Y[k]
        green += sh[i, k, 1] * Y[k]
        blue += sh[i, k, 2] * Y[k]
    return red, green, blue


@kernel()
def _project_one(i, cam, means, log_scales, quats, logits, sh, degree, Y, row):
    """Fill one row of the projected table; returns the number of tiles touched, 0 if unseen.

    The box is where alpha can reach 1/255: d^T Sigma^-1 d <= 2 ln(255 o), whose extent along an
    axis is sqrt(2 ln(255 o) Sigma_axis). Source: the bound of StopThePop (Radl et al., 2024).
    """
    mx, my, mz = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
    x, y, z = to_camera(cam, mx, my, mz)
    x, y, z = x + cam[TRANS], y + cam[TRANS + 1], z + cam[TRANS + 2]
    opacity = 1 / (1 + math.exp(-float(logits[i])))
    if not (z >= NEAR and opacity >= ALPHA_MIN):
        return 0
    u, v = cam[FX] * x / z + cam[CX], cam[FY] * y / z + cam[CY]
    _, _, c0, c1, c2 = axes(cam, jacobian(cam, x, y, z), log_scales, quats, i)
    xx, xy, yy = covariance(c0, c1, c2)
    inv_y = 1 / yy
    across = xx - xy * xy * inv_y  # variance along x at fixed y
    if not (across > 0 and xx + yy < VARIANCE_MAX_PX2 and math.isfinite(u + v + z)):
        return 0
    reach = math.sqrt(2 * math.log(opacity / ALPHA_MIN))
    rx, ry = reach * math.sqrt(xx) + BOX_MARGIN_PX, reach * math.sqrt(yy) + BOX_MARGIN_PX
    x0, x1 = max(math.ceil(u - rx - 0.5), 0.0), min(math.floor(u + rx - 0.5), cam[WIDTH] - 1)
    y0, y1 = max(math.ceil(v - ry - 0.5), 0.0), min(math.floor(v + ry - 0.5), cam[HEIGHT] - 1)
    if x0 > x1 or y0 > y1:
        return 0
    red, green, blue = colour(cam, degree, sh, i, mx, my, mz, Y)
    if not math.isfinite(red + green + blue):
        return 0
    row[0], row[1], row[2] = u - (x0 + 0.5), v - (y0 + 0.5), 0.5 * LOG2E / across
    row[3], row[4], row[5] = -xy * inv_y, 0.5 * LOG2E * inv_y, LOG2E * math.log(opacity)
    row[6], row[7], row[8], row[9] = max(red, 0.0), max(green, 0.0), max(blue, 0.0), z
    row[10], row[11], row[12], row[13] = x0, y0, x1, y1
    row[14] = max(rx, ry)
    tiles_x = int(x1) // TILE - int(x0) // TILE + 1
    return tiles_x * (int(y1) // TILE - int(y0) // TILE + 1)


@kernel(parallel=True)
def project(cam, means, log_scales, quats, logits, sh, degree, rows, depths, tile_counts):
    """Project every splat into `rows` (n x 16) and `depths`; `tile_counts` is 0 for the unseen."""
    n = means.shape[0]
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        Y = np.empty(16)
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            tile_counts[i] = _project_one(
                i, cam, means, log_scales, quats, logits, sh, degree, Y, rows[i]
            )
            depths[i] = rows[i, 9]
