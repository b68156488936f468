"""From the sums of the blending back to the parameters of the splats and of the pose.

q = (s^2 / D + dy^2 / yy) / 2 with D = xx - xy^2 / yy, r = xy / yy, s = dx - r dy is the exponent,
and v = alpha dL/dalpha = -dL/dq. The rest is the chain rule through the projection, written for
one splat; a chunk of splats adds its share of the pose gradient in order.
"""

import math

import numpy as np
from numba import prange

from recon.render.cpu import harmonics
from recon.render.cpu.jit import kernel
from recon.render.cpu.layout import (
    CHUNK,
    D_BLUE,
    D_GREEN,
    D_RED,
    D_Z,
    FX,
    FY,
    POSE_SUMS,
    ROT,
    SUMS,
    TAN_X_MAX,
    TAN_X_MIN,
    TAN_Y_MAX,
    TAN_Y_MIN,
    TRANS,
    V1,
    VX,
    VXX,
    VXY,
    VY,
    VYY,
)
from recon.render.cpu.project import (
    axes,
    colour,
    covariance,
    jacobian,
    to_camera,
    view_direction,
)


@kernel()
def _to_world(cam, x, y, z):
    """Rotate a camera vector into the world (no translation)."""
    return (
        cam[ROT] * x + cam[ROT + 3] * y + cam[ROT + 6] * z,
        cam[ROT + 1] * x + cam[ROT + 4] * y + cam[ROT + 7] * z,
        cam[ROT + 2] * x + cam[ROT + 5] * y + cam[ROT + 8] * z,
    )


@kernel()
def _add_outer(pose, a0, a1, a2, b0, b1, b2):
    """Add a b^T to the rotation part of the pose gradient."""
    pose[0] += a0 * b0
    pose[1] += a0 * b1
    pose[2] += a0 * b2
    pose[3] += a1 * b0
    pose[4] += a1 * b1
    pose[5] += a1 * b2
    pose[6] += a2 * b0
    pose[7] += a2 * b1
    pose[8] += a2 * b2


@kernel()
def _footprint(xx, xy, yy, g):
    """Gradients of u, v, xx, xy, yy from the six geometric sums g."""
    inv_y, r = 1 / yy, xy / yy
    inv_d = 1 / (xx - xy * r)
    d_u = g[VX] * inv_d
    d_v = g[VY] * inv_y - r * d_u
    d_D = 0.5 * g[VXX] * inv_d * inv_d
    d_r = g[VXY] * inv_d
    d_xy = -2 * r * d_D + d_r * inv_y
    d_yy = r * r * d_D - r * d_r * inv_y + 0.5 * g[VYY] * inv_y * inv_y
    return d_u, d_v, d_D, d_xy, d_yy


@kernel()
def _axis(cam, J, n, m0, m1, m2, d_xx, d_xy, d_yy, pose):
    """Back through one column n of J W R S: gradients of the scaled world axis and of J."""
    d0, d1 = 2 * d_xx * n[3] + d_xy * n[4], d_xy * n[3] + 2 * d_yy * n[4]
    e0, e1, e2 = J[0] * d0, J[2] * d1, J[1] * d0 + J[3] * d1
    _add_outer(pose, e0, e1, e2, m0, m1, m2)
    g0, g1, g2 = _to_world(cam, e0, e1, e2)
    return g0, g1, g2, d0 * n[0], d0 * n[2], d1 * n[1], d1 * n[2]


@kernel()
def _quaternion(quats, i, s, g, d_quats):
    """Gradient of a quaternion of any length from that of its rotation (g, 9, row by row)."""
    w, x, y, z = quats[i, 0] * s, quats[i, 1] * s, quats[i, 2] * s, quats[i, 3] * s
    d_w = 2 * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1]))
    d_x = 2 * (w * (g[7] - g[5]) + y * (g[1] + g[3]) + z * (g[2] + g[6])) - 4 * x * (g[4] + g[8])
    d_y = 2 * (w * (g[2] - g[6]) + x * (g[1] + g[3]) + z * (g[5] + g[7])) - 4 * y * (g[0] + g[8])
    d_z = 2 * (w * (g[3] - g[1]) + x * (g[2] + g[6]) + y * (g[5] + g[7])) - 4 * z * (g[0] + g[4])
    along = w * d_w + x * d_x + y * d_y + z * d_z
    d_quats[i, 0], d_quats[i, 1] = s * (d_w - along * w), s * (d_x - along * x)
    d_quats[i, 2], d_quats[i, 3] = s * (d_y - along * y), s * (d_z - along * z)


@kernel()
def _shape(i, cam, J, frame, quats, d_xx, d_xy, d_yy, pose, d_log_scales, d_quats):
    """Gradients of scales and quaternion; returns those of J00, J02, J11, J12."""
    R, (s0, s1, s2), n0, n1, n2 = frame
    a = _axis(cam, J, n0, s0 * R[0], s0 * R[3], s0 * R[6], d_xx, d_xy, d_yy, pose)
    b = _axis(cam, J, n1, s1 * R[1], s1 * R[4], s1 * R[7], d_xx, d_xy, d_yy, pose)
    c = _axis(cam, J, n2, s2 * R[2], s2 * R[5], s2 * R[8], d_xx, d_xy, d_yy, pose)
    d_log_scales[i, 0] = s0 * (a[0] * R[0] + a[1] * R[3] + a[2] * R[6])
    d_log_scales[i, 1] = s1 * (b[0] * R[1] + b[1] * R[4] + b[2] * R[7])
    d_log_scales[i, 2] = s2 * (c[0] * R[2] + c[1] * R[5] + c[2] * R[8])
    g = (
        *(s0 * a[0], s1 * b[0], s2 * c[0]),
        *(s0 * a[1], s1 * b[1], s2 * c[1]),
        *(s0 * a[2], s1 * b[2], s2 * c[2]),
    )
    _quaternion(quats, i, R[9], g, d_quats)
    return a[3] + b[3] + c[3], a[4] + b[4] + c[4], a[5] + b[5] + c[5], a[6] + b[6] + c[6]


@kernel()
def _centre(cam, x, y, z, d_u, d_v, d_J00, d_J02, d_J11, d_J12):
    """Gradient of the centre in the camera through u, v and the Jacobian.

    A clamped direction is a constant: then J02 = -fx tan / z moves with z alone.
    """
    tan_x, tan_y = x / z, y / z
    d_tan_x, d_tan_y = cam[FX] * d_u, cam[FY] * d_v
    held_x = min(max(tan_x, cam[TAN_X_MIN]), cam[TAN_X_MAX])
    held_y = min(max(tan_y, cam[TAN_Y_MIN]), cam[TAN_Y_MAX])
    if held_x == tan_x:
        d_tan_x -= cam[FX] / z * d_J02
    if held_y == tan_y:
        d_tan_y -= cam[FY] / z * d_J12
    d_z = cam[FX] * (held_x * d_J02 - d_J00) + cam[FY] * (held_y * d_J12 - d_J11)
    return d_tan_x / z, d_tan_y / z, d_z / (z * z) - (d_tan_x * tan_x + d_tan_y * tan_y) / z


@kernel()
def _colour(i, cam, degree, sh, mx, my, mz, d_red, d_green, d_blue, Y, d_Y, d_sh):
    """Gradient of the coefficients; returns that of the offset from the camera centre."""
    red, green, blue = colour(cam, degree, sh, i, mx, my, mz, Y)
    d_red, d_green, d_blue = d_red * (red >= 0), d_green * (green >= 0), d_blue * (blue >= 0)
    for k in range((degree + 1) * (degree + 1)):
        d_sh[i, k, 0], d_sh[i, k, 1], d_sh[i, k, 2] = Y[k] * d_red, Y[k] * d_green, Y[k] * d_blue
        d_Y[k] = d_red * sh[i, k, 0] + d_green * sh[i, k, 1] + d_blue * sh[i, k, 2]
    if degree == 0:
        return 0.0, 0.0, 0.0
    x, y, z, length = view_direction(cam, mx, my, mz)
    gx, gy, gz = harmonics.direction_gradient(degree, x, y, z, d_Y)
    along = gx * x + gy * y + gz * z
    return (gx - along * x) / length, (gy - along * y) / length, (gz - along * z) / length


@kernel()
def _one(
    i, cam, means, log_scales, quats, logits, sh, degree, g, Y, d_Y, pose, d_means, d_log_scales,
    d_quats, d_logits, d_sh,
):  # fmt: skip
    """All gradients of one drawn splat from its sums g."""
    mx, my, mz = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
    x, y, z = to_camera(cam, mx, my, mz)
    x, y, z = x + cam[TRANS], y + cam[TRANS + 1], z + cam[TRANS + 2]
    J = jacobian(cam, x, y, z)
    frame = axes(cam, J, log_scales, quats, i)
    xx, xy, yy = covariance(frame[2], frame[3], frame[4])
    d_u, d_v, d_xx, d_xy, d_yy = _footprint(xx, xy, yy, g)
    d_J = _shape(i, cam, J, frame, quats, d_xx, d_xy, d_yy, pose, d_log_scales, d_quats)
    d_x, d_y, d_z = _centre(cam, x, y, z, d_u, d_v, d_J[0], d_J[1], d_J[2], d_J[3])
    d_z += g[D_Z]
    _add_outer(pose, d_x, d_y, d_z, mx, my, mz)
    pose[9] += d_x
    pose[10] += d_y
    pose[11] += d_z
    ox, oy, oz = _colour(
        i, cam, degree, sh, mx, my, mz, g[D_RED], g[D_GREEN], g[D_BLUE], Y, d_Y, d_sh
    )
    pose[12] -= ox
    pose[13] -= oy
    pose[14] -= oz
    wx, wy, wz = _to_world(cam, d_x, d_y, d_z)
    d_means[i, 0], d_means[i, 1], d_means[i, 2] = wx + ox, wy + oy, wz + oz
    d_logits[i] = g[V1] / (1 + math.exp(float(logits[i])))


@kernel(parallel=True)
def project_backward(
    cam, means, log_scales, quats, logits, sh, degree, first, sums,
    d_means, d_log_scales, d_quats, d_logits, d_sh,
):  # fmt: skip
    """Add up each splat's pairs in order and go back through the projection.

    Args:
        cam: The camera, see `layout`.
        means: As stored in `Gaussians`, like the next four.
        log_scales: As stored.
        quats: As stored.
        logits: As stored.
        sh: As stored.
        degree: Bands used.
        first: Pairs of splat i are first[i] .. first[i + 1] - 1; none if it was not drawn.
        sums: The pairs' sums.
        d_means: Output like `means`, zeros on entry, as are the next four.
        d_log_scales: Output.
        d_quats: Output.
        d_logits: Output.
        d_sh: Output.

    Returns:
        Gradient of the top three rows of cam_from_world, row by row with R first: 9 + 3.
    """
    n = means.shape[0]
    chunks = (n + CHUNK - 1) // CHUNK
    poses = np.zeros((chunks, POSE_SUMS))
    for chunk in prange(chunks):
        Y, d_Y, g = np.empty(16), np.empty(16), np.empty(SUMS)
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            if first[i] == first[i + 1]:
                continue
            g[:] = 0
            for p in range(first[i], first[i + 1]):
                for k in range(SUMS):
                    g[k] += sums[p, k]
            _one(
                i, cam, means, log_scales, quats, logits, sh, degree, g, Y, d_Y, poses[chunk],
                d_means, d_log_scales, d_quats, d_logits, d_sh,
            )  # fmt: skip
    total = np.zeros(POSE_SUMS)
    for chunk in range(chunks):
        total += poses[chunk]
    # The centre is -R^T t.
    cx, cy, cz = total[12], total[13], total[14]
    _add_outer(total, -cam[TRANS], -cam[TRANS + 1], -cam[TRANS + 2], cx, cy, cz)
    tx, ty, tz = to_camera(cam, cx, cy, cz)
    total[9] -= tx
    total[10] -= ty
    total[11] -= tz
    return total
