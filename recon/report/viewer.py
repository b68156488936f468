"""The scene packed for the 3-D view: splats, cameras, points and mesh as base64 in the page.

The view itself is ours (`assets/viewer_*.js`, WebGL 2): a page opened from disk may fetch nothing,
so data and code lie inside it. viser's `scene.as_html()` was tried first: it works from disk, but
needs a listening socket to build, shows the constant harmonic only, and its cameras cannot be
clicked without a server.
"""

import base64
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from recon.scene import Reconstruction, View
from recon.splats.gaussians import SH_C0, Gaussians

MAX_SPLATS = 150_000
MAX_TRIANGLES = 150_000
MAX_POINTS = 20_000
_LARGEST_DEGREE = 3


@dataclass
class PackedSplats:
    """Splats as the viewer's texture wants them: whole 16-byte texels, two without harmonics."""

    data: bytes
    count: int
    total: int  # before thinning
    degree: int
    sh_scale: float  # an int8 harmonic of 127 means this


def pack_splats(gaussians: Gaussians, max_splats: int = MAX_SPLATS) -> PackedSplats:
    """Pack splats for the viewer; the visually smallest go first if there are too many.

    Per splat: xyz float32; opacity, r, g, b, log scales as half floats; quaternion xyz as 16-bit
    integers (w is positive); then harmonics as signed bytes, coefficient-major, padded to 16.
    """
    g = gaussians.select(gaussians.is_finite()).detached().to("cpu").to(torch.float32)
    total = len(g)
    if total > max_splats:
        area = np.sort(g.log_scales.numpy(), axis=1)[:, 1:].sum(axis=1)
        importance = np.log(np.maximum(g.opacities.numpy(), 1e-9)) + area
        keep = np.sort(np.argsort(-importance, kind="stable")[:max_splats])
        g = g.select(torch.from_numpy(keep))
    degree = min(g.sh_degree, _LARGEST_DEGREE)
    sh = g.sh.numpy()
    base = np.zeros(len(g), dtype=[("xyz", "<f4", 3), ("half", "<f2", 7), ("quat", "<i2", 3)])
    base["xyz"] = g.means.numpy()
    base["half"][:, 0] = g.opacities.numpy()
    base["half"][:, 1:4] = 0.5 + SH_C0 * sh[:, 0]
    base["half"][:, 4:] = np.clip(g.log_scales.numpy(), -30, 30)
    base["quat"] = _quaternion_xyz(g.quats_wxyz.numpy())
    rest = sh[:, 1 : (degree + 1) ** 2].reshape(len(g), -1)
    sh_scale = float(np.quantile(np.abs(rest), 0.9999)) if rest.size else 0.0
    width = -(-rest.shape[1] // 16) * 16
    packed = np.zeros((len(g), 32 + width), dtype=np.uint8)
    packed[:, :32] = base.view(np.uint8).reshape(len(g), 32)
    if sh_scale > 0:
        rounded = np.clip(np.round(rest / sh_scale * 127), -127, 127).astype(np.int8)
        packed[:, 32 : 32 + rest.shape[1]] = rounded.view(np.uint8)
    return PackedSplats(packed.tobytes(), len(g), total, degree, sh_scale)


def _quaternion_xyz(quats: Float[np.ndarray, "n 4"]) -> np.ndarray:
    norm = np.linalg.norm(quats, axis=1, keepdims=True)
    unit = np.where(norm > 0, quats / np.maximum(norm, 1e-30), np.array([1, 0, 0, 0], np.float32))
    unit = np.where(unit[:, :1] < 0, -unit, unit)
    return np.round(unit[:, 1:] * 32767).astype(np.int16)


def pack_points(
    xyz: Float[np.ndarray, "n 3"], rgb: np.ndarray, rng: np.random.Generator
) -> tuple[bytes, int]:
    """Points as xyz float32 + rgba bytes, at most `MAX_POINTS` of them drawn at random."""
    if len(xyz) > MAX_POINTS:
        keep = np.sort(rng.choice(len(xyz), MAX_POINTS, replace=False))
        xyz, rgb = xyz[keep], rgb[keep]
    out = np.zeros(len(xyz), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3), ("pad", "u1")])
    out["xyz"], out["rgb"] = xyz, rgb
    return out.tobytes(), len(xyz)


@dataclass
class PackedMesh:
    """Vertices as `pack_points` does and faces as uint32; `total` triangles before thinning."""

    vertices: bytes
    faces: bytes
    triangles: int
    total: int


def pack_mesh(
    vertices: Float[np.ndarray, "v 3"],
    faces: np.ndarray,
    rgb: np.ndarray,
    max_triangles: int = MAX_TRIANGLES,
) -> PackedMesh:
    """Pack a mesh; vertices are merged in ever coarser cells until it is small enough."""
    total = len(faces)
    cell = np.ptp(vertices, axis=0).max() / 512 if len(vertices) else 1.0
    v, f, c = vertices, faces, rgb
    while len(f) > max_triangles:
        v, f, c = _cluster(vertices, faces, rgb, cell)
        cell *= 1.3
    out = np.zeros(len(v), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3), ("pad", "u1")])
    out["xyz"], out["rgb"] = v, c
    return PackedMesh(out.tobytes(), f.astype("<u4").tobytes(), len(f), total)


def _cluster(
    vertices: np.ndarray, faces: np.ndarray, rgb: np.ndarray, cell: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replace all vertices of a cell by their mean; drop triangles that collapse."""
    key = np.floor((vertices - vertices.min(0)) / cell).astype(np.int64)
    flat = (key[:, 0] * (1 << 20) + key[:, 1]) * (1 << 20) + key[:, 2]
    _, cluster, size = np.unique(flat, return_inverse=True, return_counts=True)
    cluster = cluster.reshape(-1)

    def mean(values: np.ndarray) -> np.ndarray:
        columns = [np.bincount(cluster, values[:, k], len(size)) / size for k in range(3)]
        return np.stack(columns, axis=1)

    f = cluster[faces]
    f = f[(f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])]
    return mean(vertices), np.unique(f, axis=0), mean(rgb.astype(float)).round().astype(np.uint8)


def camera_entry(view: View) -> dict:
    """A camera for the viewer: row-major R and t of cam_from_world, intrinsics in pixels."""
    K, pose = view.camera.K, view.cam_from_world
    return {
        "name": view.name,
        "R": [round(float(v), 7) for v in pose.R.reshape(-1)],
        "t": [float(f"{v:.7g}") for v in pose.t],
        "K": [round(float(v), 3) for v in (K[0, 0], K[1, 1], K[0, 2], K[1, 2])],
        "size": [view.camera.width, view.camera.height],
    }


def scene_frame(reconstruction: Reconstruction) -> dict:
    """Where to look first and how large things are: world up, orbit target, frustum length.

    Photographers hold cameras level: up is perpendicular to the cameras' x axes as far as those
    differ, and near the mean of the cameras' own up directions; -y of the world where that fails.
    The target lies on the first camera's axis at the median depth of the points that it sees.
    """
    views = reconstruction.views
    R = np.array([v.cam_from_world.R for v in views])
    mean_up, x_axes = -R[:, 1].mean(axis=0), R[:, 0]
    up = np.linalg.solve(0.02 * np.eye(3) + x_axes.T @ x_axes / len(views), 0.02 * mean_up)
    length = np.linalg.norm(up)
    up = up / length if length > 0.3 else np.array([0.0, -1.0, 0.0])
    first = views[0].cam_from_world
    depths = first.apply(reconstruction.xyz_world.reshape(-1, 3))[:, 2]
    depths = depths[depths > 0]
    centres = np.array([v.cam_from_world.centre for v in views])
    spread = float(np.linalg.norm(np.ptp(centres, axis=0)))
    depth = float(np.median(depths)) if len(depths) else max(spread, 1.0)
    target = first.inverse().apply(np.array([0.0, 0.0, depth]))
    return {
        "up": [float(v) for v in up],
        "target": [float(v) for v in target],
        "depth": depth,
        "frustum": 0.12 * depth if spread == 0 else min(0.12 * depth, 0.35 * spread),
    }


def base64_text(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")
