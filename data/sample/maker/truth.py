"""The true cameras and the true surface, as files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from numba import njit, prange

from .shapes import NOTHING, Scene, meet, normal_and_uv


@njit(cache=True, fastmath=True)
def _sees(scene, camera, focal, width, height, x, y, z, nx, ny, nz):
    """Tell whether a camera sees a surface point: in the picture, not edge-on, nothing between."""
    vx, vy, vz = x - camera[0, 3], y - camera[1, 3], z - camera[2, 3]
    depth = camera[0, 2] * vx + camera[1, 2] * vy + camera[2, 2] * vz
    if depth <= 0.05:
        return False
    u = focal * (camera[0, 0] * vx + camera[1, 0] * vy + camera[2, 0] * vz) / depth + 0.5 * width
    v = focal * (camera[0, 1] * vx + camera[1, 1] * vy + camera[2, 1] * vz) / depth + 0.5 * height
    far = math.sqrt(vx * vx + vy * vy + vz * vz)
    vx, vy, vz = vx / far, vy / far, vz / far
    if not (0.0 <= u < width and 0.0 <= v < height) or -(vx * nx + vy * ny + vz * nz) < 0.08:
        return False
    t, _, _ = meet(scene, camera[0, 3], camera[1, 3], camera[2, 3], vx, vy, vz, far - 2e-4, True)
    return t >= NOTHING


@njit(cache=True, fastmath=True, parallel=True)
def _cast(scene, cameras, which, focal, width, height):
    """Return points and normals per pixel of one camera; zeros where no other camera sees them."""
    out = np.zeros((height, width, 6))
    camera = cameras[which]
    for row in prange(height):
        for column in range(width):
            x, y = (column + 0.5 - 0.5 * width) / focal, (row + 0.5 - 0.5 * height) / focal
            norm = 1.0 / math.sqrt(x * x + y * y + 1.0)
            dx = (camera[0, 0] * x + camera[0, 1] * y + camera[0, 2]) * norm
            dy = (camera[1, 0] * x + camera[1, 1] * y + camera[1, 2]) * norm
            dz = (camera[2, 0] * x + camera[2, 1] * y + camera[2, 2]) * norm
            ox, oy, oz = camera[0, 3], camera[1, 3], camera[2, 3]
            t, shape, face = meet(scene, ox, oy, oz, dx, dy, dz, NOTHING, False)
            if t >= NOTHING:
                continue
            px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
            m = scene.local_from_world[shape]
            c = scene.centre[shape]
            lx = m[0, 0] * (px - c[0]) + m[0, 1] * (py - c[1]) + m[0, 2] * (pz - c[2])
            ly = m[1, 0] * (px - c[0]) + m[1, 1] * (py - c[1]) + m[1, 2] * (pz - c[2])
            lz = m[2, 0] * (px - c[0]) + m[2, 1] * (py - c[1]) + m[2, 2] * (pz - c[2])
            u, v, w, _, _ = normal_and_uv(scene, shape, face, lx, ly, lz)
            nx = m[0, 0] * u + m[1, 0] * v + m[2, 0] * w
            ny = m[0, 1] * u + m[1, 1] * v + m[2, 1] * w
            nz = m[0, 2] * u + m[1, 2] * v + m[2, 2] * w
            if nx * dx + ny * dy + nz * dz > 0.0:
                nx, ny, nz = -nx, -ny, -nz
            if -(nx * dx + ny * dy + nz * dz) < 0.08:
                continue
            for other in range(cameras.shape[0]):
                if other != which and _sees(
                    scene, cameras[other], focal, width, height, px, py, pz, nx, ny, nz
                ):
                    out[row, column, 0], out[row, column, 1], out[row, column, 2] = px, py, pz
                    out[row, column, 3], out[row, column, 4], out[row, column, 5] = nx, ny, nz
                    break
    return out


@njit(cache=True)
def _spread(points, cells, order, spacing):
    """Keep points, in the given order, that lie at least `spacing` from every point kept before."""
    first, after = {}, np.full(len(points), -1, np.int64)
    keep = np.zeros(len(points), np.bool_)
    for i in order:
        a, b, c = cells[i]
        free = True
        for da in range(-1, 2):
            for db in range(-1, 2):
                for dc in range(-1, 2):
                    key = ((a + da) * 4096 + b + db) * 4096 + c + dc
                    j = first[key] if free and key in first else -1
                    while j >= 0:
                        d = points[i] - points[j]
                        if d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < spacing * spacing:
                            free = False
                            break
                        j = after[j]
        if free:
            key = (a * 4096 + b) * 4096 + c
            if key in first:
                after[i] = first[key]
            first[key] = i
            keep[i] = True
    return keep


def surface(
    scene: Scene,
    cameras: list[np.ndarray],
    focal_px: float,
    size: tuple[int, int],
    spacing_m: float,
    rng,
) -> np.ndarray:
    """Return n x 6 points and normals, evenly spread over all that two or more cameras see."""
    width, height = size
    stack = np.ascontiguousarray(cameras)
    parts = [
        _cast(scene, stack, k, focal_px, width, height).reshape(-1, 6) for k in range(len(cameras))
    ]
    points = np.concatenate([part[np.any(part[:, 3:] != 0, axis=1)] for part in parts])
    cells = np.floor((points[:, :3] - points[:, :3].min(0)) / spacing_m).astype(np.int64) + 1
    keep = _spread(points[:, :3].copy(), cells, rng.permutation(len(points)), spacing_m)
    return points[keep]


def write_surface(path: Path, points: np.ndarray) -> None:
    """Write points with normals as a binary little-endian PLY of float32."""
    names = "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{names}end_header\n"
    )
    path.write_bytes(head.encode() + points.astype("<f4").tobytes())


def write_cameras(
    path: Path, names: list[str], cameras: list[np.ndarray], focal_px: float, size: tuple[int, int]
) -> None:
    """Write nerfstudio's transforms.json: camera-to-world, OpenGL axes."""
    width, height = size
    frames = []
    for name, world_from_cam in zip(names, cameras, strict=True):
        matrix = np.vstack([world_from_cam, [0, 0, 0, 1]]) @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append(
            {
                "file_path": f"photos/{name}",
                "transform_matrix": [[float(v) for v in row] for row in matrix],
            }
        )
    scene = {
        "camera_model": "OPENCV",
        "fl_x": focal_px,
        "fl_y": focal_px,
        "cx": width / 2,
        "cy": height / 2,
    }
    scene |= {"w": width, "h": height, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "frames": frames}
    path.write_text(json.dumps(scene, indent=1) + "\n")
