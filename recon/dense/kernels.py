"""PatchMatch stereo on a CPU: compiled loops over the pixels of one reference view.

A hypothesis of a pixel is a plane: the depth of its ray and a unit normal, both in the reference
camera's frame. The plane induces a homography to each neighbour view; the photo-consistency is
the bilaterally weighted normalised cross-correlation (NCC) of the patch it predicts.

Source: Bleyer et al., PatchMatch Stereo, BMVC 2011; red-black propagation and best-K view
aggregation as in Galliani et al., ICCV 2015 (Gipuma). Pixel centres are at +0.5.
"""

import math

import numba as nb
import numpy as np

RADIUS = 2  # patch of (2 RADIUS + 1)^2 samples …
STEP = 2  # … this many pixels apart
SAMPLES = (2 * RADIUS + 1) ** 2
BAD_COST = 2.0  # 1 - NCC of the worst match; also: outside the neighbour


@nb.njit(inline="always", cache=True)
def _hash(a, b):
    """A well-mixed 32-bit number from two: randomness that no thread count can change."""
    x = np.uint32(a) * np.uint32(0x9E3779B1) ^ (np.uint32(b) * np.uint32(0x85EBCA77))
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x2C1B3C6D)
    x ^= x >> np.uint32(12)
    x *= np.uint32(0x297A2D39)
    x ^= x >> np.uint32(15)
    return x


@nb.njit(inline="always", cache=True)
def _uniform(a, b):
    return np.float32(_hash(a, b)) * np.float32(2.3283064e-10)


@nb.njit(cache=True)
def _patch_weights(ref, row, col, sigma_colour, weights, values):
    """Fill the patch's grey values and bilateral weights; returns weighted sums for the NCC."""
    height, width = ref.shape
    centre = ref[row, col]
    k = 0
    for dy in range(-RADIUS, RADIUS + 1):
        y = min(max(row + dy * STEP, 0), height - 1)
        for dx in range(-RADIUS, RADIUS + 1):
            x = min(max(col + dx * STEP, 0), width - 1)
            value = ref[y, x]
            difference = (value - centre) / sigma_colour
            space = (dx * dx + dy * dy) / (2.0 * RADIUS * RADIUS)
            weights[k] = math.exp(-0.5 * difference * difference - 0.5 * space)
            values[k] = value
            k += 1
    total = np.float32(0.0)
    mean = np.float32(0.0)
    for k in range(SAMPLES):
        total += weights[k]
        mean += weights[k] * values[k]
    mean /= total
    variance = np.float32(0.0)
    for k in range(SAMPLES):
        weights[k] /= total
        values[k] -= mean
        variance += weights[k] * values[k] * values[k]
    return variance


@nb.njit(cache=True)
def _cost_one(
    weights, values, variance, other, size, M, p, row, col, depth, nx, ny, nz, inv_k, samples
):
    """1 - NCC against one neighbour for the plane (depth, normal) at this pixel.

    M = K_other R K_ref^-1 (3 x 3), p = K_other t, so that a reference pixel x with depth z lands
    at M x z + p; on the plane n.X = n.X0, z(x) = (n.X0) / (n.K_ref^-1 x).
    """
    fx, fy, cx, cy = inv_k[0], inv_k[1], inv_k[2], inv_k[3]
    x0, y0 = (col + 0.5 - cx) / fx, (row + 0.5 - cy) / fy
    offset = (nx * x0 + ny * y0 + nz) * depth  # n.X0
    height, width = size[0], size[1]
    k = 0
    mean = np.float32(0.0)
    for dy in range(-RADIUS, RADIUS + 1):
        v = np.float32(row + dy * STEP + 0.5)
        for dx in range(-RADIUS, RADIUS + 1):
            u = np.float32(col + dx * STEP + 0.5)
            inv_z = (nx * (u - cx) / fx + ny * (v - cy) / fy + nz) / offset
            w = M[2, 0] * u + M[2, 1] * v + M[2, 2] + p[2] * inv_z
            if inv_z <= 0.0 or w <= 1e-6:
                return np.float32(BAD_COST)
            a = (M[0, 0] * u + M[0, 1] * v + M[0, 2] + p[0] * inv_z) / w - 0.5
            b = (M[1, 0] * u + M[1, 1] * v + M[1, 2] + p[1] * inv_z) / w - 0.5
            if not (a >= 0.0 and b >= 0.0 and a < width - 1.001 and b < height - 1.001):
                return np.float32(BAD_COST)
            j, i = int(a), int(b)
            s, t = np.float32(a - j), np.float32(b - i)
            top = other[i, j] + s * (other[i, j + 1] - other[i, j])
            low = other[i + 1, j] + s * (other[i + 1, j + 1] - other[i + 1, j])
            value = top + t * (low - top)
            samples[k] = value
            mean += weights[k] * value
            k += 1
    covariance = np.float32(0.0)
    other_variance = np.float32(0.0)
    for k in range(SAMPLES):
        difference = samples[k] - mean
        covariance += weights[k] * values[k] * difference
        other_variance += weights[k] * difference * difference
    product = variance * other_variance
    if product < 1e-12:
        return np.float32(1.0)
    return np.float32(1.0) - covariance / math.sqrt(product)


@nb.njit(cache=True)
def _cost(
    weights, values, variance, others, sizes, Ms, ps, row, col, depth, n, inv_k, best, scratch
):
    """Mean cost over the `best` best neighbours: an occluded neighbour does not vote."""
    first = np.float32(BAD_COST)
    second = np.float32(BAD_COST)
    third = np.float32(BAD_COST)
    for j in range(others.shape[0]):
        cost = _cost_one(
            weights, values, variance, others[j], sizes[j], Ms[j], ps[j], row, col, depth,
            n[0], n[1], n[2], inv_k, scratch,
        )  # fmt: skip
        if cost < first:
            first, second, third = cost, first, second
        elif cost < second:
            second, third = cost, second
        elif cost < third:
            third = cost
    if best == 1:
        return first
    if best == 2:
        return np.float32(0.5) * (first + second)
    return (first + second + third) * np.float32(0.33333334)


@nb.njit(cache=True, inline="always")
def _depth_on_plane(depth, n, row, col, at_row, at_col, inv_k):
    """Depth at pixel `at` of the plane through pixel (row, col)."""
    x0, y0 = (col + 0.5 - inv_k[2]) / inv_k[0], (row + 0.5 - inv_k[3]) / inv_k[1]
    x1, y1 = (at_col + 0.5 - inv_k[2]) / inv_k[0], (at_row + 0.5 - inv_k[3]) / inv_k[1]
    below = n[0] * x1 + n[1] * y1 + n[2]
    if below > -1e-4:
        return np.float32(-1.0)
    return (n[0] * x0 + n[1] * y0 + n[2]) * depth / below


@nb.njit(cache=True, parallel=True)
def score_all(ref, others, sizes, Ms, ps, inv_k, depth, normal, sigma_colour, best, cost):
    """Cost of the current hypothesis of every pixel."""
    height, width = ref.shape
    for row in nb.prange(height):
        weights = np.empty(SAMPLES, np.float32)
        values = np.empty(SAMPLES, np.float32)
        scratch = np.empty(SAMPLES, np.float32)
        for col in range(width):
            variance = _patch_weights(ref, row, col, sigma_colour, weights, values)
            cost[row, col] = _cost(
                weights, values, variance, others, sizes, Ms, ps, row, col,
                depth[row, col], normal[row, col], inv_k, best, scratch,
            )  # fmt: skip


@nb.njit(cache=True, parallel=True)
def sweep(
    ref, others, sizes, Ms, ps, inv_k, depth, normal, cost, colour, iteration, near, far,
    sigma_colour, best, jitter,
):  # fmt: skip
    """One half of a red-black iteration: pixels of one colour try their neighbours' planes.

    Eight neighbours (distance 1 and 5) all belong to the other colour, so the result does not
    depend on the order or on the number of threads. Then a random plane nearby, `jitter` being
    the relative size of the depth step, shrinking over the iterations.
    """
    height, width = ref.shape
    d_row = np.array([-1, 1, 0, 0, -5, 5, 0, 0])
    d_col = np.array([0, 0, -1, 1, 0, 0, -5, 5])
    for row in nb.prange(height):
        weights = np.empty(SAMPLES, np.float32)
        values = np.empty(SAMPLES, np.float32)
        scratch = np.empty(SAMPLES, np.float32)
        n_try = np.empty(3, np.float32)
        for col in range((row + colour) % 2, width, 2):
            variance = _patch_weights(ref, row, col, sigma_colour, weights, values)
            for k in range(8):
                r, c = row + d_row[k], col + d_col[k]
                if r < 0 or r >= height or c < 0 or c >= width:
                    continue
                d_try = _depth_on_plane(depth[r, c], normal[r, c], r, c, row, col, inv_k)
                if d_try < near or d_try > far:
                    continue
                tried = _cost(
                    weights, values, variance, others, sizes, Ms, ps, row, col, d_try,
                    normal[r, c], inv_k, best, scratch,
                )  # fmt: skip
                if tried < cost[row, col]:
                    cost[row, col] = tried
                    depth[row, col] = d_try
                    normal[row, col, :] = normal[r, c]
            pixel = row * width + col
            for trial in range(2):
                seed = iteration * 16 + trial * 8
                d_try = depth[row, col] * (
                    np.float32(1.0) + jitter * (np.float32(2.0) * _uniform(pixel, seed) - 1)
                )
                spread = np.float32(1.5) * jitter * 10 if trial == 0 else np.float32(0.05)
                spread = min(spread, np.float32(1.0))
                length = np.float32(0.0)
                for axis in range(3):
                    n_try[axis] = normal[row, col, axis] + spread * (
                        _uniform(pixel, seed + 1 + axis) - np.float32(0.5)
                    )
                    length += n_try[axis] * n_try[axis]
                length = math.sqrt(length)
                for axis in range(3):
                    n_try[axis] /= length
                if d_try < near or d_try > far or n_try[2] > -0.1:
                    continue
                tried = _cost(
                    weights, values, variance, others, sizes, Ms, ps, row, col, d_try, n_try,
                    inv_k, best, scratch,
                )  # fmt: skip
                if tried < cost[row, col]:
                    cost[row, col] = tried
                    depth[row, col] = d_try
                    normal[row, col, :] = n_try
