"""Depth order and tile lists: one radix sort of the splats, then an ordered scatter."""

import numpy as np
from numba import prange

from recon.render.cpu.jit import kernel
from recon.render.cpu.layout import TILE, X0, X1, Y0, Y1

BLOCKS = 16  # fixed number of work items of the scatter
_BITS = 11
_RADIX = 1 << _BITS


@kernel()
def depth_order(depths, counts):
    """Indices of the splats with a nonzero count, nearest first, ties by index.

    Least-significant-digit radix sort on the bits of positive float32, which are ordered as the
    numbers are; three passes of 11 bits.
    """
    n = 0
    for i in range(counts.size):
        n += counts[i] > 0
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    keys = depths.view(np.uint32)
    at = 0
    for i in range(counts.size):
        if counts[i] > 0:
            order[at] = i
            at += 1
    starts = np.empty(_RADIX, np.int64)
    for shift in (0, _BITS, 2 * _BITS):
        starts[:] = 0
        for i in order:
            starts[(keys[i] >> np.uint32(shift)) & np.uint32(_RADIX - 1)] += 1
        total = 0
        for digit in range(_RADIX):
            here = starts[digit]
            starts[digit] = total
            total += here
        for i in order:
            digit = (keys[i] >> np.uint32(shift)) & np.uint32(_RADIX - 1)
            other[starts[digit]] = i
            starts[digit] += 1
        order, other = other, order
    return order


@kernel()
def first_pairs(counts):
    """Exclusive running sum: the pairs of splat i are numbered first[i] .. first[i + 1] - 1."""
    first = np.empty(counts.size + 1, np.int64)
    first[0] = 0
    for i in range(counts.size):
        first[i + 1] = first[i] + counts[i]
    return first


@kernel()
def _tile_box(row):
    return (
        int(row[X0]) // TILE,
        int(row[X1]) // TILE,
        int(row[Y0]) // TILE,
        int(row[Y1]) // TILE,
    )


@kernel(parallel=True)
def tile_lists(order, rows, first, tiles_x, tiles_y):
    """Per tile, its splats by depth, and where in the pair table each writes its gradient.

    Blocks of the depth order count their tiles, the counts become positions, the blocks write:
    the result is the sequential one whatever the number of threads.

    Returns:
        starts (tiles + 1), splat (pairs), pair (pairs).
    """
    tiles, n = tiles_x * tiles_y, order.size
    at = np.zeros((BLOCKS, tiles), np.int32)
    for block in prange(BLOCKS):
        for rank in range(block * n // BLOCKS, (block + 1) * n // BLOCKS):
            left, right, top, bottom = _tile_box(rows[order[rank]])
            for ty in range(top, bottom + 1):
                for tx in range(left, right + 1):
                    at[block, ty * tiles_x + tx] += 1
    starts = np.empty(tiles + 1, np.int64)
    total = 0
    for tile in range(tiles):
        starts[tile] = total
        for block in range(BLOCKS):
            here = at[block, tile]
            at[block, tile] = total
            total += here
    starts[tiles] = total
    splat, pair = np.empty(total, np.int32), np.empty(total, np.int32)
    for block in prange(BLOCKS):
        for rank in range(block * n // BLOCKS, (block + 1) * n // BLOCKS):
            i = order[rank]
            left, right, top, bottom = _tile_box(rows[i])
            number = first[i]
            for ty in range(top, bottom + 1):
                for tx in range(left, right + 1):
                    slot = at[block, ty * tiles_x + tx]
                    at[block, ty * tiles_x + tx] += 1
                    splat[slot] = i
                    pair[slot] = number
                    number += 1
    return starts, splat, pair
