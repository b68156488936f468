"""Sizes and column numbers the kernels share; all are compile-time constants."""

import math

from recon.render.base import ALPHA_MIN

TILE = 16  # pixels along a tile's side, a multiple of the eight vector lanes
CHUNK = 512  # splats per parallel work item; fixed, so sums do not depend on the thread count

# One projected splat is one cache line: 16 float32.
# log2 alpha = K - A s^2 - E dy^2 with s = dx + SHEAR dy, around (U + X0 + 1/2, V + Y0 + 1/2) px.
# Completing the square keeps long thin splats exact in float32; expanded, terms cancel.
COLUMNS = 16
U, V, A, SHEAR, E, K = 0, 1, 2, 3, 4, 5
RED, GREEN, BLUE, Z = 6, 7, 8, 9
X0, Y0, X1, Y1 = 10, 11, 12, 13  # inclusive pixel box, inside the picture
RADIUS = 14

# One gradient row of a (tile, splat) pair: sums over its pixels, v = alpha dL/dalpha, x means s.
SUMS = 10
V1, VX, VY, VXX, VXY, VYY = 0, 1, 2, 3, 4, 5
D_RED, D_GREEN, D_BLUE, D_Z = 6, 7, 8, 9

LOG2E = 1 / math.log(2)
LOG2_CUT = math.log2(ALPHA_MIN)

# The camera as one flat float64 array.
FX, FY, CX, CY, WIDTH, HEIGHT = 0, 1, 2, 3, 4, 5
TAN_X_MIN, TAN_X_MAX, TAN_Y_MIN, TAN_Y_MAX = 6, 7, 8, 9
ROT = 10  # 9 numbers, cam_from_world rotation row by row
TRANS = 19  # 3 numbers
CENTRE = 22  # 3 numbers, -R^T t
CAMERA_SIZE = 25

# Pose gradient of one chunk: dL/dR (9), dL/dt (3), dL/dcentre (3).
POSE_SUMS = 15
