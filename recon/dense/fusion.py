"""From depth maps to one set of oriented points: keep what several photos agree on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numba as nb
import numpy as np
from jaxtyping import Float32, Int, UInt8

from recon.dense.stereo import DepthMap

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DensePoints:
    """Fused surface points with the evidence they rest on."""

    xyz: Float32[np.ndarray, "n 3"]  # world
    normal: Float32[np.ndarray, "n 3"]  # world, unit, towards the cameras
    rgb: UInt8[np.ndarray, "n 3"]
    support: Int[np.ndarray, " n"]  # how many depth maps agree, 1 = only its own
    cost: Float32[np.ndarray, " n"]  # 1 - NCC of its patch
    footprint: Float32[np.ndarray, " n"]  # world size of one full-resolution pixel at its depth
    view: Int[np.ndarray, " n"]  # index of the map it comes from
    detail: Float32[np.ndarray, " n"]  # local grey gradient, per pixel

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, keep: np.ndarray) -> "DensePoints":
        """The points at a mask or at indices."""
        return DensePoints(**{k: v[keep] for k, v in vars(self).items()})


def fuse(
    maps: Sequence[DepthMap],
    pictures: Mapping[str, UInt8[np.ndarray, "h w 3"]],
    *,
    depth_tolerance: float,
    reproject_px: float,
    max_cost: float,
    min_angle_deg: float,
) -> DensePoints:
    """Merge the maps; every surface patch once, at the mean of the depths that agree.

    A pixel's point is projected into every other map; there it agrees when the relative depth
    difference, the distance after projecting that map's depth back, the angle between the
    normals and the triangulation angle all pass. Agreeing pixels are consumed, so that the next
    map does not repeat them. Points with support 1 are not returned.
    """
    shapes = np.array([m.depth.shape for m in maps])
    offsets = np.concatenate([[0], np.cumsum(shapes.prod(1))])
    depth = np.concatenate([m.depth.ravel() for m in maps]).astype(np.float32)
    normal = np.concatenate(
        [(m.normal.reshape(-1, 3) @ m.view.cam_from_world.R) for m in maps]
    ).astype(np.float32)
    cost = np.concatenate([m.cost.ravel() for m in maps]).astype(np.float32)
    K = np.array([m.camera.K for m in maps])
    R = np.array([m.view.cam_from_world.R for m in maps])
    t = np.array([m.view.cam_from_world.t for m in maps])
    used = np.zeros(len(depth), np.uint8)
    parts = []
    for index in order_by_quality(maps, max_cost):
        parts.append(
            _fuse_one(
                index, offsets, shapes, depth, normal, cost, K, R, t, used,
                depth_tolerance, reproject_px, max_cost, np.cos(np.radians(min_angle_deg)),
            )
        )  # fmt: skip
    flat, xyz, nrm, support = (np.concatenate(p) for p in zip(*parts, strict=True))
    colours, detail = _appearance(maps, pictures)
    which = np.searchsorted(offsets, flat, side="right") - 1
    centres = -np.einsum("vji,vj->vi", R, t)
    focal = np.array([m.view.camera.K[0, 0] for m in maps])
    distance = np.linalg.norm(xyz - centres[which], axis=1)
    return DensePoints(
        xyz.astype(np.float32),
        nrm.astype(np.float32),
        colours[flat],
        support,
        cost[flat],
        (distance / focal[which]).astype(np.float32),
        which,
        detail[flat],
    )


def order_by_quality(maps: Sequence[DepthMap], max_cost: float) -> list[int]:
    """Maps with the largest share of well-matched pixels first: they set the points."""
    share = [float((m.cost < max_cost).mean()) for m in maps]
    return sorted(range(len(maps)), key=lambda i: (-share[i], i))


def _appearance(
    maps: Sequence[DepthMap], pictures: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Colour and grey gradient (per pixel of the map, grey in [0, 1]) of all map pixels."""
    import cv2

    colours, details = [], []
    for m in maps:
        h, w = m.depth.shape
        small = cv2.resize(pictures[m.view.name], (w, h), interpolation=cv2.INTER_AREA)
        grey = (small @ np.array([0.299, 0.587, 0.114]) / 255.0).astype(np.float32)
        grey = cv2.GaussianBlur(grey, (0, 0), 0.7)
        details.append(np.hypot(*np.gradient(grey)).ravel())
        colours.append(small.reshape(-1, 3))
    return np.concatenate(colours), np.concatenate(details).astype(np.float32)


@nb.njit(cache=True)
def _fuse_one(
    index, offsets, shapes, depth, normal, cost, K, R, t, used,
    depth_tolerance, reproject_px, max_cost, max_cosine,
):  # fmt: skip
    """Points of one map, serial: the order of consumption is part of the result."""
    num_maps = len(shapes)
    height, width = shapes[index]
    capacity = height * width
    flat = np.empty(capacity, np.int64)
    xyz = np.empty((capacity, 3))
    out_normal = np.empty((capacity, 3))
    support = np.empty(capacity, np.int64)
    Ri, ti, Ki = R[index], t[index], K[index]
    centre_i = -Ri.T @ ti
    agreed = np.empty(num_maps, np.int64)
    count = 0
    X, sum_X, sum_n = np.empty(3), np.empty(3), np.empty(3)
    Y = np.empty(3)
    for row in range(height):
        for col in range(width):
            here = offsets[index] + row * width + col
            if used[here] or cost[here] > max_cost:
                continue
            z = depth[here]
            a = (col + 0.5 - Ki[0, 2]) / Ki[0, 0] * z - ti[0]
            b = (row + 0.5 - Ki[1, 2]) / Ki[1, 1] * z - ti[1]
            c = z - ti[2]
            for k in range(3):
                X[k] = Ri[0, k] * a + Ri[1, k] * b + Ri[2, k] * c
                sum_X[k] = X[k]
                sum_n[k] = normal[here, k]
            votes = 1
            for j in range(num_maps):
                if j == index:
                    continue
                zj = R[j, 2, 0] * X[0] + R[j, 2, 1] * X[1] + R[j, 2, 2] * X[2] + t[j, 2]
                if zj <= 0:
                    continue
                xj = R[j, 0, 0] * X[0] + R[j, 0, 1] * X[1] + R[j, 0, 2] * X[2] + t[j, 0]
                yj = R[j, 1, 0] * X[0] + R[j, 1, 1] * X[1] + R[j, 1, 2] * X[2] + t[j, 1]
                u = K[j, 0, 0] * xj / zj + K[j, 0, 2]
                v = K[j, 1, 1] * yj / zj + K[j, 1, 2]
                if not (u >= 0 and v >= 0 and u < shapes[j, 1] and v < shapes[j, 0]):
                    continue
                there = offsets[j] + int(v) * shapes[j, 1] + int(u)
                if cost[there] > max_cost or used[there]:
                    continue
                d = depth[there]
                if abs(d - zj) > depth_tolerance * zj:
                    continue
                p = (int(u) + 0.5 - K[j, 0, 2]) / K[j, 0, 0] * d - t[j, 0]
                q = (int(v) + 0.5 - K[j, 1, 2]) / K[j, 1, 1] * d - t[j, 1]
                r = d - t[j, 2]
                for k in range(3):
                    Y[k] = R[j, 0, k] * p + R[j, 1, k] * q + R[j, 2, k] * r
                wz = Ri[2, 0] * Y[0] + Ri[2, 1] * Y[1] + Ri[2, 2] * Y[2] + ti[2]
                if wz <= 0:
                    continue
                wx = Ri[0, 0] * Y[0] + Ri[0, 1] * Y[1] + Ri[0, 2] * Y[2] + ti[0]
                wy = Ri[1, 0] * Y[0] + Ri[1, 1] * Y[1] + Ri[1, 2] * Y[2] + ti[1]
                back_u = Ki[0, 0] * wx / wz + Ki[0, 2] - (col + 0.5)
                back_v = Ki[1, 1] * wy / wz + Ki[1, 2] - (row + 0.5)
                # Rounding to the other map's pixel alone moves the point by up to 0.7 px.
                if back_u * back_u + back_v * back_v > (reproject_px + 0.7) ** 2:
                    continue
                dot = 0.0
                ray = 0.0
                len_i = 0.0
                len_j = 0.0
                for k in range(3):
                    dot += normal[here, k] * normal[there, k]
                    ri = X[k] - centre_i[k]
                    rj = X[k] + R[j, 0, k] * t[j, 0] + R[j, 1, k] * t[j, 1] + R[j, 2, k] * t[j, 2]
                    ray += ri * rj
                    len_i += ri * ri
                    len_j += rj * rj
                if dot < 0.7 or ray > max_cosine * np.sqrt(len_i * len_j):
                    continue
                agreed[votes - 1] = there
                votes += 1
                for k in range(3):
                    # The mean along the ray of this pixel: the picture position stays put.
                    sum_X[k] += Y[k]
                    sum_n[k] += normal[there, k]
            if votes < 2:
                continue
            used[here] = 1
            for k in range(votes - 1):
                used[agreed[k]] = 1
            length = np.sqrt(sum_n[0] ** 2 + sum_n[1] ** 2 + sum_n[2] ** 2)
            mean_z = 0.0
            for k in range(3):
                mean_z += Ri[2, k] * sum_X[k] / votes
            scale = (mean_z + ti[2]) / z
            for k in range(3):
                xyz[count, k] = centre_i[k] + (X[k] - centre_i[k]) * scale
                out_normal[count, k] = sum_n[k] / length
            flat[count] = here
            support[count] = votes
            count += 1
    return flat[:count], xyz[:count], out_normal[:count], support[:count]
