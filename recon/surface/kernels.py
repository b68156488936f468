"""Loops over pixels, voxels and samples, compiled; import them where they run, not at the top."""

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True)
def add_votes(depth, Ki, R, t, Kj, other, tolerance, agree, against, residual):  # type: ignore[no-untyped-def]
    """Add one other view's opinion on every pixel; see `count_votes`."""
    h, w = depth.shape
    hj, wj = other.shape
    for y in prange(h):
        for x in range(w):
            d = depth[y, x]
            if d <= 0:
                continue
            px = (x + 0.5 - Ki[0, 2]) / Ki[0, 0] * d
            py = (y + 0.5 - Ki[1, 2]) / Ki[1, 1] * d
            z = R[2, 0] * px + R[2, 1] * py + R[2, 2] * d + t[2]
            if z <= 0:
                continue
            u = (R[0, 0] * px + R[0, 1] * py + R[0, 2] * d + t[0]) / z * Kj[0, 0] + Kj[0, 2] - 0.5
            v = (R[1, 0] * px + R[1, 1] * py + R[1, 2] * d + t[1]) / z * Kj[1, 1] + Kj[1, 2] - 0.5
            if not (u > -0.5 and v > -0.5 and u < wj - 0.5 and v < hj - 0.5):
                continue
            x0, y0 = int(np.floor(u)), int(np.floor(v))
            best = np.inf
            for yy in range(max(y0, 0), min(y0 + 2, hj)):
                for xx in range(max(x0, 0), min(x0 + 2, wj)):
                    dj = other[yy, xx]
                    if dj > 0 and abs(dj - z) < abs(best):
                        best = dj - z
            if best == np.inf:
                continue
            if abs(best) <= tolerance * z:
                agree[y, x] += 1
            elif best > 0:
                against[y, x] += 1
            if abs(best) / z < residual[y, x]:
                residual[y, x] = abs(best) / z


@njit(parallel=True, cache=True)
def integrate(  # type: ignore[no-untyped-def]
    blocks, slots, distance, weight, R, t, K, depth, slant, pixel_weight, truncation, behind
):
    """Fuse one depth map. All lengths in voxels; cam_from_grid is `R, t`; see `fuse`."""
    h, w = depth.shape
    for b in prange(len(blocks)):
        for k in range(512):
            gx = blocks[b, 0] * 8 + (k & 7)
            gy = blocks[b, 1] * 8 + ((k >> 3) & 7)
            gz = blocks[b, 2] * 8 + (k >> 6)
            z = R[2, 0] * gx + R[2, 1] * gy + R[2, 2] * gz + t[2]
            if z <= 0:
                continue
            u = (R[0, 0] * gx + R[0, 1] * gy + R[0, 2] * gz + t[0]) / z * K[0, 0] + K[0, 2] - 0.5
            v = (R[1, 0] * gx + R[1, 1] * gy + R[1, 2] * gz + t[1]) / z * K[1, 1] + K[1, 2] - 0.5
            x, y = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
            if x < 0 or y < 0 or x >= w or y >= h:
                continue
            d = depth[y, x]
            if d <= 0:
                continue
            # bilinear where the four pixels belong to one surface, else the nearest pixel
            x0, y0 = int(np.floor(u)), int(np.floor(v))
            if x0 >= 0 and y0 >= 0 and x0 + 1 < w and y0 + 1 < h:
                d00, d01 = depth[y0, x0], depth[y0, x0 + 1]
                d10, d11 = depth[y0 + 1, x0], depth[y0 + 1, x0 + 1]
                low = min(min(d00, d01), min(d10, d11))
                high = max(max(d00, d01), max(d10, d11))
                if low > 0 and high - low < truncation:
                    fx, fy = u - x0, v - y0
                    d = (1 - fy) * ((1 - fx) * d00 + fx * d01) + fy * ((1 - fx) * d10 + fx * d11)
            gap = (d - z) * slant[y, x]
            if gap <= -behind:
                continue
            value = min(gap / truncation, 1.0)
            i = slots[b] * 512 + k
            new = pixel_weight[y, x]
            if gap < 0:
                new *= (1 + gap / behind) ** 2
            total = weight[i] + new
            distance[i] = (distance[i] * weight[i] + value * new) / total
            weight[i] = total


@njit(cache=True)
def thin(xyz, cell_of, order, start, neighbours, turn, limit):  # type: ignore[no-untyped-def]
    """Greedy thinning on a grid: kept, unless a kept point lies nearer; see `thinned`."""
    kept = np.zeros(len(xyz), dtype=np.bool_)
    for i in turn:
        free = True
        for cell in neighbours[cell_of[i]]:
            if cell < 0 or not free:
                continue
            for j in order[start[cell] : start[cell + 1]]:
                if kept[j]:
                    gap = 0.0
                    for axis in range(3):
                        gap += (xyz[i, axis] - xyz[j, axis]) ** 2
                    if gap < limit:
                        free = False
                        break
        kept[i] = free
    return kept
