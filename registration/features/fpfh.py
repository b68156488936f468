"""Fast point feature histograms at several radii at once."""

import numpy as np
from jaxtyping import Float
from numba import njit, prange

from registration.neighbours import within_radius

BINS = 11  # of each of the three angles


def multi_scale_fpfh(
    xyz: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    radii: tuple[float, ...],
) -> Float[np.ndarray, "n d"]:
    """Descriptors of points from the angles between their normals, one block per radius.

    Angles are binned softly. Each block is the square root of three histograms that sum to one
    (the Hellinger map: Euclidean distances then compare histograms as distributions, which more
    than doubles the share of right matches over raw counts), divided by the number of radii.
    Turning all normals round mirrors the second and third histogram, see `mirrored`.

    Source: Rusu et al., ICRA 2009; Hellinger map: Arandjelovic and Zisserman, CVPR 2012.
    """
    start, index, distance = within_radius(xyz, max(radii))
    points = np.ascontiguousarray(xyz - xyz.mean(0), dtype=np.float32)
    normals = np.ascontiguousarray(normals, dtype=np.float32)
    limits = np.asarray(radii, dtype=np.float32)
    simple = _simple(points, normals, start, index, distance, limits)
    flat = simple.reshape(len(xyz), len(radii), 3 * BINS)
    blocks = _weighted(flat, start, index, distance, limits)
    return np.sqrt(blocks / (3 * len(radii))).reshape(len(xyz), -1)


def mirrored(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The descriptors that the same points have when all normals are turned round."""
    blocks = features.reshape(len(features), -1, 3, BINS).copy()
    blocks[:, :, 1:] = blocks[:, :, 1:, ::-1]
    return blocks.reshape(features.shape)


@njit(inline="always")
def _angles(p, n, q, m):
    """Darboux-frame angles of two oriented points, each mapped to [0, 1]; symmetric in the two."""
    dx, dy, dz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    length = np.sqrt(dx * dx + dy * dy + dz * dz)
    if length < 1e-12:
        return np.float32(0.5), np.float32(0.5), np.float32(0.5)
    dx, dy, dz = dx / length, dy / length, dz / length
    a = n[0] * dx + n[1] * dy + n[2] * dz
    b = m[0] * dx + m[1] * dy + m[2] * dz
    # The point whose normal is nearer to the line between the two gives the frame.
    if abs(a) >= abs(b):
        u0, u1, u2, w0, w1, w2, phi = n[0], n[1], n[2], m[0], m[1], m[2], a
    else:
        u0, u1, u2, w0, w1, w2, phi = m[0], m[1], m[2], n[0], n[1], n[2], -b
        dx, dy, dz = -dx, -dy, -dz
    v0, v1, v2 = dy * u2 - dz * u1, dz * u0 - dx * u2, dx * u1 - dy * u0
    size = np.sqrt(v0 * v0 + v1 * v1 + v2 * v2)
    if size < 1e-6:
        return np.float32(0.5), np.float32(0.5 * (phi + 1)), np.float32(0.5)
    v0, v1, v2 = v0 / size, v1 / size, v2 / size
    x0, x1, x2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
    alpha = v0 * w0 + v1 * w1 + v2 * w2
    theta = np.arctan2(x0 * w0 + x1 * w1 + x2 * w2, u0 * w0 + u1 * w1 + u2 * w2)
    return (
        np.float32(0.5 * (alpha + 1)),
        np.float32(0.5 * (phi + 1)),
        np.float32(theta / (2 * np.pi) + 0.5),
    )


@njit(inline="always")
def _drop(histogram, value, circular):
    """Share one count between the two nearest bins."""
    place = value * BINS - np.float32(0.5)
    low = int(np.floor(place))
    share = place - low
    first, second = low, low + 1
    if circular:
        first, second = first % BINS, second % BINS
    else:
        first, second = max(first, 0), min(second, BINS - 1)
    histogram[first] += 1 - share
    histogram[second] += share


@njit(parallel=True, cache=True)
def _simple(points, normals, start, index, distance, radii):
    """Histograms of each point with its neighbours, n x radii x 3 x BINS, each summing to one."""
    out = np.zeros((len(points), len(radii), 3, BINS), np.float32)
    for i in prange(len(points)):
        for e in range(start[i], start[i + 1]):
            j = index[e]
            alpha, phi, theta = _angles(points[i], normals[i], points[j], normals[j])
            for k in range(len(radii)):
                if distance[e] <= radii[k]:
                    _drop(out[i, k, 0], alpha, False)
                    _drop(out[i, k, 1], phi, False)
                    _drop(out[i, k, 2], theta, True)
        for k in range(len(radii)):
            total = out[i, k, 0].sum()
            if total > 0:
                for c in range(3):
                    for b in range(BINS):
                        out[i, k, c, b] /= total
    return out


@njit(parallel=True, cache=True)
def _weighted(simple, start, index, distance, radii):
    """Each point's histograms plus its neighbours', weighted by inverse distance.

    Args:
        simple: n x radii x (3 * BINS).
        start: Neighbour table, see `within_radius`.
        index: The same.
        distance: The same.
        radii: Ascending or not, unit of the distances.
    """
    out = np.zeros_like(simple)
    width = simple.shape[2]
    for i in prange(len(simple)):
        for k in range(len(radii)):
            total = np.float32(0)
            row = np.zeros(width, np.float32)
            for e in range(start[i], start[i + 1]):
                if distance[e] <= radii[k]:
                    weight = np.float32(1) / max(distance[e], np.float32(1e-6))
                    total += weight
                    near = simple[index[e], k]
                    for b in range(width):
                        row[b] += weight * near[b]
            if total > 0:
                for b in range(width):
                    out[i, k, b] = np.float32(0.5) * (row[b] / total + simple[i, k, b])
    return out
