"""The loops over points and texels, compiled; import them where they run, not at the top."""

import numpy as np
from numba import njit, prange


@njit(cache=True)
def _sees(x, y, z, nx, ny, nz, K, R, t, depth, slack):  # type: ignore[no-untyped-def]
    """(u, v, depth, cosine) of a world point in a picture; cosine 0 where it is not seen."""
    px = R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]
    py = R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]
    pz = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
    if pz <= 0:
        return 0.0, 0.0, 0.0, 0.0
    u = px / pz * K[0, 0] + K[0, 2]
    v = py / pz * K[1, 1] + K[1, 2]
    h, w = depth.shape
    if u < 0 or v < 0 or u >= w or v >= h:
        return u, v, pz, 0.0
    qx = R[0, 0] * nx + R[0, 1] * ny + R[0, 2] * nz
    qy = R[1, 0] * nx + R[1, 1] * ny + R[1, 2] * nz
    qz = R[2, 0] * nx + R[2, 1] * ny + R[2, 2] * nz
    cos = -(qx * px + qy * py + qz * pz) / np.sqrt(px * px + py * py + pz * pz)
    if cos <= 0:
        return u, v, pz, 0.0
    # depth is that of a pixel's centre, up to a pixel away: allow what a slant makes of that
    reach = slack * pz / K[0, 0] / max(cos, 0.05) + 1e-5 * pz
    x0, y0 = int(np.floor(u - 0.5)), int(np.floor(v - 0.5))
    for yy in range(max(y0, 0), min(y0 + 2, h)):
        for xx in range(max(x0, 0), min(x0 + 2, w)):
            if pz - depth[yy, xx] <= reach and depth[yy, xx] - pz <= reach:
                return u, v, pz, cos
    return u, v, pz, 0.0


@njit(parallel=True, cache=True)
def visible(points, normals, K, R, t, depth, slack):  # type: ignore[no-untyped-def]
    """Per point: in the picture, facing, and on the front surface there."""
    out = np.zeros(len(points), dtype=np.bool_)
    for i in prange(len(points)):
        p, n = points[i], normals[i]
        out[i] = _sees(p[0], p[1], p[2], n[0], n[1], n[2], K, R, t, depth, slack)[3] > 0
    return out


@njit(cache=True)
def rasterise(corners, owner, weights):  # type: ignore[no-untyped-def]
    """Write each triangle's number and barycentric weights into the texels whose centre it covers.

    Texels within half a texel of an edge count too, so that neighbours leave no line between.
    """
    h, w = owner.shape
    for f in range(len(corners)):
        ax, ay = corners[f, 0, 0], corners[f, 0, 1]
        bx, by = corners[f, 1, 0], corners[f, 1, 1]
        cx, cy = corners[f, 2, 0], corners[f, 2, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        longest = np.sqrt(
            max(
                (bx - ax) ** 2 + (by - ay) ** 2,
                (cx - bx) ** 2 + (cy - by) ** 2,
                (ax - cx) ** 2 + (ay - cy) ** 2,
            )
        )
        slack = 0.5 * longest / abs(area)
        x0 = max(int(np.floor(min(ax, bx, cx) - 0.5)), 0)
        x1 = min(int(np.ceil(max(ax, bx, cx) + 0.5)), w)
        y0 = max(int(np.floor(min(ay, by, cy) - 0.5)), 0)
        y1 = min(int(np.ceil(max(ay, by, cy) + 0.5)), h)
        for y in range(y0, y1):
            for x in range(x0, x1):
                px, py = x + 0.5, y + 0.5
                wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                wc = 1.0 - wa - wb
                worst = min(wa, wb, wc)
                if worst < -slack:
                    continue
                old = owner[y, x]
                if old < 0 or worst > min(
                    weights[y, x, 0], min(weights[y, x, 1], weights[y, x, 2])
                ):
                    owner[y, x] = f
                    weights[y, x, 0], weights[y, x, 1], weights[y, x, 2] = wa, wb, wc


@njit(parallel=True, cache=True)
def add_photo(points, normals, K, R, t, depth, edge, photo, gain, slack, power, colour, total):  # type: ignore[no-untyped-def]
    """Add one photo's colours to points that it sees, weighted; see `bake`."""
    h, w = depth.shape
    for i in prange(len(points)):
        p, n = points[i], normals[i]
        u, v, z, cos = _sees(p[0], p[1], p[2], n[0], n[1], n[2], K, R, t, depth, slack)
        if cos <= 0.05:
            continue
        x, y = min(max(u - 0.5, 0.0), w - 1.0), min(max(v - 0.5, 0.0), h - 1.0)
        x0, y0 = min(int(x), max(w - 2, 0)), min(int(y), max(h - 2, 0))
        x1, y1 = min(x0 + 1, w - 1), min(y0 + 1, h - 1)
        fx, fy = x - x0, y - y0
        near = edge[int(v), int(u)]
        # within some pixels of an edge a photo gives way to others; alone it still counts
        fade = min(max((near - 1.5) / 8.0, 1e-3), 1.0)
        weight = (K[0, 0] * cos / z) ** power * fade
        total[i] += weight
        for c in range(3):
            top = (1 - fx) * photo[y0, x0, c] + fx * photo[y0, x1, c]
            low = (1 - fx) * photo[y1, x0, c] + fx * photo[y1, x1, c]
            colour[i, c] += weight * gain[c] * ((1 - fy) * top + fy * low)
