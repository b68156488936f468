"""Real spherical harmonics to degree 3 and their gradients, scalar code for the kernels.

Bands with the Condon-Shortley phase, as splat files store them.
Source: Sloan, "Efficient spherical harmonic evaluation", JCGT 2013.
"""

import math

from recon.render.cpu.jit import kernel

C0 = math.sqrt(1 / (4 * math.pi))
C1 = math.sqrt(3 / (4 * math.pi))
C2 = math.sqrt(15 / (4 * math.pi))
C20 = math.sqrt(5 / (16 * math.pi))
C33 = math.sqrt(35 / (32 * math.pi))
C32 = math.sqrt(105 / (4 * math.pi))
C31 = math.sqrt(21 / (32 * math.pi))
C30 = math.sqrt(7 / (16 * math.pi))


@kernel()
def basis(degree, x, y, z, Y):
    """Write Y_k of the unit vector (x, y, z) into Y, (degree + 1)^2 numbers."""
    Y[0] = C0
    if degree < 1:
        return
    Y[1], Y[2], Y[3] = -C1 * y, C1 * z, -C1 * x
    if degree < 2:
        return
    xx, yy, zz = x * x, y * y, z * z
    Y[4], Y[5], Y[6] = C2 * x * y, -C2 * y * z, C20 * (2 * zz - xx - yy)
    Y[7], Y[8] = -C2 * x * z, C2 / 2 * (xx - yy)
    if degree < 3:
        return
    Y[9], Y[10] = -C33 * y * (3 * xx - yy), C32 * x * y * z
    Y[11], Y[12] = -C31 * y * (4 * zz - xx - yy), C30 * z * (2 * zz - 3 * xx - 3 * yy)
    Y[13], Y[14] = -C31 * x * (4 * zz - xx - yy), C32 / 2 * z * (xx - yy)
    Y[15] = -C33 * x * (xx - 3 * yy)


@kernel()
def direction_gradient(degree, x, y, z, g):
    """Gradient of sum_k g_k Y_k(x, y, z) with respect to x, y, z (not yet on the sphere)."""
    if degree < 1:
        return 0.0, 0.0, 0.0
    gx, gy, gz = -C1 * g[3], -C1 * g[1], C1 * g[2]
    if degree < 2:
        return gx, gy, gz
    gx += C2 * (y * g[4] - z * g[7] + x * g[8]) - 2 * C20 * x * g[6]
    gy += C2 * (x * g[4] - z * g[5] - y * g[8]) - 2 * C20 * y * g[6]
    gz += C2 * (-y * g[5] - x * g[7]) + 4 * C20 * z * g[6]
    if degree < 3:
        return gx, gy, gz
    xx, yy, zz = x * x, y * y, z * z
    gx += -6 * C33 * x * y * g[9] + C32 * y * z * g[10] + 2 * C31 * x * y * g[11]
    gx += -6 * C30 * x * z * g[12] - C31 * (4 * zz - 3 * xx - yy) * g[13]
    gx += C32 * x * z * g[14] - 3 * C33 * (xx - yy) * g[15]
    gy += -3 * C33 * (xx - yy) * g[9] + C32 * x * z * g[10] - C31 * (4 * zz - xx - 3 * yy) * g[11]
    gy += -6 * C30 * y * z * g[12] + 2 * C31 * x * y * g[13]
    gy += -C32 * y * z * g[14] + 6 * C33 * x * y * g[15]
    gz += C32 * x * y * g[10] - 8 * C31 * y * z * g[11] + 3 * C30 * (2 * zz - xx - yy) * g[12]
    gz += -8 * C31 * x * z * g[13] + C32 / 2 * (xx - yy) * g[14]
    return gx, gy, gz
