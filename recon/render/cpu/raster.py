"""Front-to-back blending, one tile per work item, splats outermost, eight pixels at a time.

A tile keeps its pixels in flat float32 planes whose rows carry eight spare columns, so that an
eight-pixel window may start anywhere inside the tile. Spare columns and pixels outside the
picture have T = 0: whatever is blended into them has weight zero.

Source: Kerbl et al., "3D Gaussian splatting", SIGGRAPH 2023, equations 2-3.
"""

import numpy as np
from numba import prange

from recon.render.base import ALPHA_MAX, T_MIN
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
from recon.render.cpu.simd import (
    LANES,
    exp2,
    fill,
    fma,
    lane_numbers,
    load,
    max_lanes,
    maximum,
    minimum,
    store,
    where_ge,
)

STRIDE = TILE + LANES
PLANE = TILE * STRIDE
CHECK_EVERY = 16  # splats between two looks at whether the tile is finished


@kernel()
def _finished(planes):
    """Is no pixel of the tile brighter than T_MIN any more?"""
    largest = load(planes, 0)
    for i in range(LANES, PLANE, LANES):
        largest = maximum(largest, load(planes, i))
    return max_lanes(largest) < np.float32(T_MIN)


@kernel()
def _blend_row(planes, at, s, base, a, red, green, blue, z, number):
    """Blend eight pixels of one splat; planes are T, last, red, green, blue, depth."""
    T = load(planes, at)
    power = base - a * s * s
    alpha = where_ge(power, fill(np.float32(LOG2_CUT)), exp2(power), fill(np.float32(0)))
    alpha = minimum(alpha, fill(np.float32(ALPHA_MAX)))
    alpha = where_ge(T, fill(np.float32(T_MIN)), alpha, fill(np.float32(0)))
    weight = alpha * T
    store(planes, at, T - weight)
    last = load(planes, at + PLANE)
    store(planes, at + PLANE, where_ge(fill(np.float32(0)), weight, last, number))
    store(planes, at + 2 * PLANE, fma(weight, red, load(planes, at + 2 * PLANE)))
    store(planes, at + 3 * PLANE, fma(weight, green, load(planes, at + 3 * PLANE)))
    store(planes, at + 4 * PLANE, fma(weight, blue, load(planes, at + 4 * PLANE)))
    store(planes, at + 5 * PLANE, fma(weight, z, load(planes, at + 5 * PLANE)))


@kernel()
def windows(left, right, tile_left):
    """First column and last admissible start of the eight-pixel windows of a splat's rows.

    Up to eight columns take one window wherever they start, more take the tile's whole row.
    Solving the ellipse for each row's own columns blends fewer pixels and is slower: the varying
    number of windows defeats branch prediction.
    """
    if right - left < LANES:
        return left, left
    return tile_left, tile_left + TILE - 1


@kernel()
def _blend_splat(planes, row, tile_left, tile_top, number):
    """Blend one splat into the tile's planes."""
    x0, y0 = int(row[X0]), int(row[Y0])
    left, right = max(x0, tile_left), min(int(row[X1]), tile_left + TILE - 1)
    top, bottom = max(y0, tile_top), min(int(row[Y1]), tile_top + TILE - 1)
    a, number8 = fill(row[A]), fill(np.float32(number))
    red, green, blue, z = fill(row[RED]), fill(row[GREEN]), fill(row[BLUE]), fill(row[Z])
    first, end = windows(left, right, tile_left)
    for y in range(top, bottom + 1):
        dy = np.float32(y - y0) - row[V]
        base = fill(row[K] - row[E] * dy * dy)
        shift = row[SHEAR] * dy - row[U]
        line = (y - tile_top) * STRIDE - tile_left
        x = first
        while x <= end:
            s = lane_numbers() + fill(np.float32(x - x0) + shift)
            _blend_row(planes, line + x, s, base, a, red, green, blue, z, number8)
            x += LANES


@kernel()
def _clear(planes, width, height):
    """Full transmittance on the `width` x `height` pixels of the tile inside the picture."""
    planes[:] = 0
    for y in range(height):
        for x in range(width):
            planes[y * STRIDE + x] = 1
    planes[PLANE : 2 * PLANE] = -1


@kernel(parallel=True)
def rasterise(rows, starts, splat, background, rgb, alpha, depth, state, tiles_x):
    """Blend all tiles.

    Args:
        rows: Projected splats, n x 16.
        starts: First entry of each tile's list.
        splat: The lists, nearest splat first.
        background: Three colours.
        rgb: Output h x w x 3.
        alpha: Output h x w.
        depth: Output h x w.
        state: Output tiles x (2 PLANE): final T and the list position of the last contributor,
            what the backward pass starts from.
        tiles_x: Tiles per row.
    """
    for tile in prange(starts.size - 1):
        tile_left, tile_top = tile % tiles_x * TILE, tile // tiles_x * TILE
        width, height = min(TILE, alpha.shape[1] - tile_left), min(TILE, alpha.shape[0] - tile_top)
        planes = np.empty(6 * PLANE, np.float32)
        _clear(planes, width, height)
        for number in range(starts[tile + 1] - starts[tile]):
            if number % CHECK_EVERY == CHECK_EVERY - 1 and _finished(planes):
                break
            row = rows[splat[starts[tile] + number]]
            _blend_splat(planes, row, tile_left, tile_top, number)
        state[tile] = planes[: 2 * PLANE]
        for y in range(height):
            for x in range(width):
                at, v, u = y * STRIDE + x, tile_top + y, tile_left + x
                T = planes[at]
                alpha[v, u] = 1 - T
                rgb[v, u, 0] = planes[at + 2 * PLANE] + T * background[0]
                rgb[v, u, 1] = planes[at + 3 * PLANE] + T * background[1]
                rgb[v, u, 2] = planes[at + 4 * PLANE] + T * background[2]
                depth[v, u] = planes[at + 5 * PLANE]
