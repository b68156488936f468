"""Gradients of the blending: every tile walks its list from the back.

With w_i = alpha_i T_i and g the gradient of the pixel (colour, depth), g_alpha that of alpha,

    dL/dalpha_i = T_i (c_i . g) - (S_i + T_end (background . g - g_alpha)) / (1 - alpha_i),
    S_i = sum_{j > i} w_j (c_j . g),   T_i = T_{i+1} / (1 - alpha_i).

Each (tile, splat) pair owns one row of sums, so nothing is added concurrently and the result has
the same bits for any number of threads.
"""

import numpy as np
from numba import prange

from recon.render.base import ALPHA_MAX
from recon.render.cpu.jit import kernel
from recon.render.cpu.layout import (
    BLUE,
    GREEN,
    LOG2_CUT,
    RED,
    SHEAR,
    TILE,
    X0,
    X1,
    Y0,
    Y1,
    A,
    E,
    K,
    U,
    V,
    Z,
)
from recon.render.cpu.raster import PLANE, STRIDE, windows
from recon.render.cpu.simd import (
    LANES,
    exp2,
    fill,
    fma,
    lane_numbers,
    load,
    minimum,
    store,
    sum_eight,
    sum_lanes,
    where_ge,
)


@kernel()
def _prepare(
    planes, state, d_rgb, d_alpha, d_depth, background, d_background, left, top, width, height
):
    """Planes of the reverse walk: T, last, S with the background's share, then g (4).

    Returns:
        List position of the last splat that contributed anywhere in the tile, -1 if none.
    """
    planes[: 2 * PLANE] = state
    planes[2 * PLANE :] = 0
    for y in range(height):
        for x in range(width):
            at, v, u = y * STRIDE + x, top + y, left + x
            red, green, blue = d_rgb[v, u, 0], d_rgb[v, u, 1], d_rgb[v, u, 2]
            behind = red * background[0] + green * background[1] + blue * background[2]
            planes[at + 2 * PLANE] = planes[at] * (behind - d_alpha[v, u])
            planes[at + 3 * PLANE] = red
            planes[at + 4 * PLANE] = green
            planes[at + 5 * PLANE] = blue
            planes[at + 6 * PLANE] = d_depth[v, u]
            d_background[0] += planes[at] * red
            d_background[1] += planes[at] * green
            d_background[2] += planes[at] * blue
    last = np.float32(-1)
    for i in range(PLANE, 2 * PLANE):
        last = max(last, planes[i])
    return int(last)


@kernel()
def _splat_sums(planes, row, tile_left, tile_top, number, sums):
    """Undo one splat in the planes and write its ten sums."""
    x0, y0 = int(row[X0]), int(row[Y0])
    left, right = max(x0, tile_left), min(int(row[X1]), tile_left + TILE - 1)
    top, bottom = max(y0, tile_top), min(int(row[Y1]), tile_top + TILE - 1)
    a, number8 = fill(row[A]), fill(np.float32(number))
    red, green, blue, z = fill(row[RED]), fill(row[GREEN]), fill(row[BLUE]), fill(row[Z])
    zero, one, cut = fill(np.float32(0)), fill(np.float32(1)), fill(np.float32(LOG2_CUT))
    cap = fill(np.float32(ALPHA_MAX))
    v1, vx, vy, vxx, vxy, vyy = zero, zero, zero, zero, zero, zero
    d_red, d_green, d_blue, d_z = zero, zero, zero, zero
    first, end = windows(left, right, tile_left)
    for y in range(top, bottom + 1):
        dy = np.float32(y - y0) - row[V]
        base, dy8 = fill(row[K] - row[E] * dy * dy), fill(dy)
        shift = row[SHEAR] * dy - row[U]
        line = (y - tile_top) * STRIDE - tile_left
        x = first
        while x <= end:
            s = lane_numbers() + fill(np.float32(x - x0) + shift)
            at = line + x
            x += LANES
            power = base - a * s * s
            full = where_ge(power, cut, exp2(power), zero)
            full = where_ge(load(planes, at + PLANE), number8, full, zero)
            alpha = minimum(full, cap)
            back = one / (one - alpha)
            T = load(planes, at) * back
            S = load(planes, at + 2 * PLANE)
            g_red, g_green = load(planes, at + 3 * PLANE), load(planes, at + 4 * PLANE)
            g_blue, g_z = load(planes, at + 5 * PLANE), load(planes, at + 6 * PLANE)
            weight = alpha * T
            shade = fma(g_z, z, fma(g_blue, blue, fma(g_green, green, g_red * red)))
            store(planes, at, T)
            store(planes, at + 2 * PLANE, fma(weight, shade, S))
            value = full * (T * shade - S * back)
            value = where_ge(cap, full, value, zero)  # a clamped alpha does not move
            d_red, d_green = fma(weight, g_red, d_red), fma(weight, g_green, d_green)
            d_blue, d_z = fma(weight, g_blue, d_blue), fma(weight, g_z, d_z)
            value_x, value_y = value * s, value * dy8
            v1, vx, vy = v1 + value, vx + value_x, vy + value_y
            vxx = fma(value_x, s, vxx)
            vxy, vyy = fma(value_x, dy8, vxy), fma(value_y, dy8, vyy)
    store(sums, 0, sum_eight(v1, vx, vy, vxx, vxy, vyy, d_red, d_green))
    sums[8], sums[9] = sum_lanes(d_blue), sum_lanes(d_z)


@kernel(parallel=True)
def rasterise_backward(
    rows, starts, splat, pair, background, state, d_rgb, d_alpha, d_depth, sums, d_background,
    tiles_x,
):  # fmt: skip
    """Sums over the pixels of every (tile, splat) pair.

    Args:
        rows: Projected splats, n x 16.
        starts: First entry of each tile's list.
        splat: The lists, nearest splat first.
        pair: Row of `sums` that belongs to each list entry.
        background: Three colours.
        state: What `rasterise` left.
        d_rgb: Gradient of the picture, h x w x 3.
        d_alpha: Gradient of alpha, h x w.
        d_depth: Gradient of depth, h x w.
        sums: Output pairs x 10, see `layout`.
        d_background: Output tiles x 3, zeros on entry: each tile's share.
        tiles_x: Tiles per row.
    """
    for tile in prange(starts.size - 1):
        left, top = tile % tiles_x * TILE, tile // tiles_x * TILE
        width, height = min(TILE, d_alpha.shape[1] - left), min(TILE, d_alpha.shape[0] - top)
        planes = np.empty(7 * PLANE, np.float32)
        last = _prepare(
            planes, state[tile], d_rgb, d_alpha, d_depth, background, d_background[tile],
            left, top, width, height,
        )  # fmt: skip
        start = starts[tile]
        for number in range(starts[tile + 1] - start - 1, -1, -1):
            if number > last:
                sums[pair[start + number]] = 0
                continue
            row = rows[splat[start + number]]
            _splat_sums(planes, row, left, top, number, sums[pair[start + number]])
