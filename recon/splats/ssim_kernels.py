"""L1 and SSIM of two pictures and the gradient, in two passes over the rows.

SSIM (Wang et al., TIP 2004) with an 11 x 11 Gaussian window of sigma 1.5, zero-padded. With
m = G*x, the blurred moments, A1 = 2 mx my + C1, A2 = 2 sxy + C2, B1 = mx^2 + my^2 + C1,
B2 = sxx + syy + C2 and S = A1 A2 / (B1 B2), the gradient is
dL/dx = G*(dS/dmx) + 2 x G*(dS/dxx) + y G*(dS/dxy), as G is symmetric.
A picture row is handled as one contiguous run of 3 w numbers: a horizontal tap is a shift by 3.

The tests check types by wrapping every function of this package; a wrapper cannot be compiled.
"""

from typing import no_type_check

import numba as nb
import numpy as np

from recon.splats.losses import C1, C2, HALF, SIGMA_PX

_tap = np.exp(-0.5 * (np.arange(-HALF, HALF + 1) / SIGMA_PX) ** 2)
WINDOW = (_tap / _tap.sum()).astype(np.float32)


@nb.njit(cache=True, fastmath=True, inline="always")
@no_type_check
def _across(source, target, length):
    """Horizontal blur of a row that carries 3 HALF zeros on either side."""
    for i in range(length):
        total = np.float32(0.0)
        for k in range(2 * HALF + 1):
            total += WINDOW[k] * source[i + 3 * k]
        target[i] = total


@nb.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def blur_photo(y, mean, square):
    """Blurred photo and blurred squared photo: computed once, the photo does not change."""
    height, length = y.shape
    for row in nb.prange(height):
        a = np.zeros(length + 6 * HALF, np.float32)
        b = np.zeros(length + 6 * HALF, np.float32)
        for k in range(2 * HALF + 1):
            r = row + k - HALF
            if r < 0 or r >= height:
                continue
            w = WINDOW[k]
            for i in range(length):
                value = y[r, i]
                a[i + 3 * HALF] += w * value
                b[i + 3 * HALF] += w * value * value
        _across(a, mean[row], length)
        _across(b, square[row], length)


@nb.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def ssim_partials(x, y, mean_y, square_y, weight, d_mean, d_square, d_cross, row_ssim):
    """SSIM per row (weighted sum) and its derivatives by the blurred moments of x."""
    height, length = x.shape
    for row in nb.prange(height):
        a = np.zeros(length + 6 * HALF, np.float32)
        b = np.zeros(length + 6 * HALF, np.float32)
        c = np.zeros(length + 6 * HALF, np.float32)
        for k in range(2 * HALF + 1):
            r = row + k - HALF
            if r < 0 or r >= height:
                continue
            w = WINDOW[k]
            for i in range(length):
                value = x[r, i]
                a[i + 3 * HALF] += w * value
                b[i + 3 * HALF] += w * value * value
                c[i + 3 * HALF] += w * value * y[r, i]
        mx = np.empty(length, np.float32)
        xx = np.empty(length, np.float32)
        xy = np.empty(length, np.float32)
        _across(a, mx, length)
        _across(b, xx, length)
        _across(c, xy, length)
        total = np.float32(0.0)
        for i in range(length):
            m, n = mx[i], mean_y[row, i]
            a1 = np.float32(2.0) * m * n + np.float32(C1)
            a2 = np.float32(2.0) * (xy[i] - m * n) + np.float32(C2)
            b1 = m * m + n * n + np.float32(C1)
            b2 = xx[i] - m * m + square_y[row, i] - n * n + np.float32(C2)
            s = a1 * a2 / (b1 * b2)
            w = weight[row, i]
            total += w * s
            by_cross = np.float32(2.0) * a1 / (b1 * b2)
            by_square = -s / b2
            d_cross[row, i] = w * by_cross
            d_square[row, i] = w * by_square
            d_mean[row, i] = w * (
                np.float32(2.0) * n * a2 / (b1 * b2)
                - np.float32(2.0) * m * s / b1
                - n * by_cross
                - np.float32(2.0) * m * by_square
            )
        row_ssim[row] = total


@nb.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def gradient(x, y, weight, d_mean, d_square, d_cross, l1_share, ssim_share, out, row_l1):
    """Gradient of l1_share * sum w|x - y| - ssim_share * sum w S; also the L1 sum per row."""
    height, length = x.shape
    for row in nb.prange(height):
        a = np.zeros(length + 6 * HALF, np.float32)
        b = np.zeros(length + 6 * HALF, np.float32)
        c = np.zeros(length + 6 * HALF, np.float32)
        for k in range(2 * HALF + 1):
            r = row + k - HALF
            if r < 0 or r >= height:
                continue
            w = WINDOW[k]
            for i in range(length):
                a[i + 3 * HALF] += w * d_mean[r, i]
                b[i + 3 * HALF] += w * d_square[r, i]
                c[i + 3 * HALF] += w * d_cross[r, i]
        gm = np.empty(length, np.float32)
        gs = np.empty(length, np.float32)
        gc = np.empty(length, np.float32)
        _across(a, gm, length)
        _across(b, gs, length)
        _across(c, gc, length)
        total = np.float32(0.0)
        for i in range(length):
            difference = x[row, i] - y[row, i]
            w = weight[row, i]
            total += w * abs(difference)
            sign = np.float32(1.0) if difference > 0 else np.float32(-1.0)
            if difference == 0:
                sign = np.float32(0.0)
            ssim_part = gm[i] + np.float32(2.0) * x[row, i] * gs[i] + y[row, i] * gc[i]
            out[row, i] = l1_share * w * sign - ssim_share * ssim_part
        row_l1[row] = total
