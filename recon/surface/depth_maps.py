"""Depth maps drawn from splats, and the tests a depth pixel must pass before it is fused.

With few photos the splats hold floaters and half-transparent veils. A pixel counts only where the
splats are opaque, lie together along the ray, do not jump to the neighbour pixel, and where another
view's depth map confirms the point.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from corr.geometry import Camera
from recon.scene import View

if TYPE_CHECKING:
    from torch import Tensor

    from recon.render.base import Renderer
    from recon.splats.gaussians import Gaussians

_THICK = 0.02  # share of depth; nearer to the drawn depth a splat is always part of the surface
_PASSES = 3  # pictures per depth map
ALONE = "seen by one view"  # why a pixel is dropped that no other view looks at


@dataclass(eq=False)
class DepthMap:
    """Depth of one view: z in the camera frame, scene units; 0 where nothing is accepted."""

    view: View
    depth: Float32[np.ndarray, "h w"]
    weight: Float32[np.ndarray, "h w"]
    rejected: dict[str, int] = field(default_factory=dict)  # reason: pixels
    # distance to the surface's plane per unit of depth along the ray: |ray| cos(incidence)
    slant: Float32[np.ndarray, "h w"] = field(init=False)
    why: UInt8[np.ndarray, "h w"] = field(init=False)  # place in `rejected` plus 1; 0 = accepted

    def __post_init__(self):
        self.slant = np.ones_like(self.depth)
        self.why = np.zeros(self.depth.shape, dtype=np.uint8)

    def reject(self, where: Bool[np.ndarray, "h w"], reason: str) -> None:
        """Drop the pixels of the mask and remember how many went for that reason."""
        hit = where & (self.depth > 0)
        self.depth[hit] = 0.0
        self.weight[hit] = 0.0
        self.rejected[reason] = self.rejected.get(reason, 0) + int(hit.sum())
        self.why[hit] = 1 + list(self.rejected).index(reason)

    def reason(self, code: int) -> str:
        """What a value of `why` above 0 stands for."""
        return list(self.rejected)[code - 1]


def draw_depth(
    gaussians: "Gaussians", view: View, renderer: "Renderer"
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Expected depth of the front surface, alpha, and the relative spread of depth along each ray.

    Depth is `sum w z / sum w`. The spread is the standard deviation of z under the same weights,
    divided by depth: the colour channel of the very same picture carries z squared. It is large
    where a ray blends a near and a far surface, which is where expected depth means nothing.

    A surface that lets a few per cent through blends with whatever lies behind it, and a veil in
    front blends with the surface. So the picture is drawn again without the splats whose centre
    lies more than one standard deviation off the drawn depth. Where a share p of a ray's light
    comes from one depth and 1 - p from another, one standard deviation off the mean is exactly
    what separates the minority (p < 1/2) from the majority: the mean becomes a median.

    Returns:
        depth (0 where alpha is 0), alpha, spread.
    """
    import torch

    with torch.no_grad():
        matrix = torch.as_tensor(view.cam_from_world.matrix, dtype=gaussians.means.dtype)
        matrix = matrix.to(gaussians.means.device)
        for _ in range(_PASSES - 1):
            depth, _, spread = _depth_moments(gaussians, view, matrix, renderer)
            gaussians = gaussians.select(_on_surface(gaussians, view, depth, depth * spread))
        depth, alpha, spread = _depth_moments(gaussians, view, matrix, renderer)

        def out(t: torch.Tensor) -> Any:
            return t.cpu().numpy().astype(np.float32)

        return out(depth), out(alpha), out(spread)


def _depth_moments(
    gaussians: "Gaussians", view: View, matrix: "Tensor", renderer: "Renderer"
) -> tuple["Tensor", "Tensor", "Tensor"]:
    """Expected depth, alpha and relative standard deviation of depth, each h w."""
    import torch

    from recon.splats.gaussians import SH_C0, Gaussians

    z = gaussians.means @ matrix[2, :3] + matrix[2, 3]
    ahead = z[z > 0]
    unit = ahead.median().clamp_min(1e-12) if len(ahead) else z.new_ones(())
    carried = ((z / unit) ** 2 - 0.5) / SH_C0
    sh = carried[:, None, None].expand(-1, 1, 3).contiguous()
    carrier = Gaussians(**{**gaussians.tensors(), "sh": sh})
    drawn = renderer.render(carrier, view.camera, matrix)
    alpha = drawn.alpha.clamp_min(1e-8)
    depth = drawn.depth / alpha
    second = drawn.rgb[..., 0] * unit**2 / alpha
    spread = (second - depth**2).clamp_min(0).sqrt() / depth.clamp_min(1e-12)
    depth = torch.where(drawn.alpha > 0, depth, torch.zeros_like(depth))
    return depth, drawn.alpha, spread


def _on_surface(
    gaussians: "Gaussians", view: View, depth: "Tensor", deviation: "Tensor"
) -> "Tensor":
    """Splats whose centre lies within its pixel's deviation of the drawn depth, or off the map."""
    import torch

    K = torch.as_tensor(view.camera.K, dtype=depth.dtype, device=depth.device)
    matrix = torch.as_tensor(view.cam_from_world.matrix, dtype=depth.dtype, device=depth.device)
    xyz = gaussians.means @ matrix[:3, :3].T + matrix[:3, 3]
    uvw = xyz @ K.T
    column = (uvw[:, 0] / uvw[:, 2]).nan_to_num(-1.0, -1.0, -1.0)
    row = (uvw[:, 1] / uvw[:, 2]).nan_to_num(-1.0, -1.0, -1.0)
    height, width = depth.shape
    inside = (xyz[:, 2] > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    at = row[inside].long(), column[inside].long()
    allowed = torch.maximum(deviation[at], _THICK * depth[at])
    keep = torch.ones_like(inside)
    keep[inside] = (depth[at] <= 0) | ((xyz[inside, 2] - depth[at]).abs() <= allowed)
    return keep


def cos_incidence(depth: Float32[np.ndarray, "h w"], camera: Camera) -> Float32[np.ndarray, "h w"]:
    """Cosine between ray and surface normal; 0 where a needed neighbour is missing.

    See `_slopes`: pixels at a depth edge look grazing and fall to the same threshold.
    """
    x, y = _normalised_pixels(camera)
    a, b = _slopes(depth, camera)
    c = -(depth + x * a + y * b)
    norm = np.sqrt(a**2 + b**2 + c**2) * ray_lengths(camera)
    return np.where(depth > 0, depth / np.maximum(norm, 1e-20), 0).astype(np.float32)


def normals_in_camera(
    depth: Float32[np.ndarray, "h w"], camera: Camera
) -> Float32[np.ndarray, "h w 3"]:
    """Unit normals towards the camera, camera frame; zero where there is no depth."""
    x, y = _normalised_pixels(camera)
    a, b = _slopes(depth, camera)
    normals = np.stack([a, b, -(depth + x * a + y * b)], axis=-1)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    known = (depth > 0)[..., None] & (length > 0)
    return np.where(known, normals / np.maximum(length, 1e-20), 0).astype(np.float32)


def _slopes(
    depth: Float32[np.ndarray, "h w"], camera: Camera
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Change of depth per normalised pixel along x and y, from one-pixel differences.

    With them the normal is along (dz/dx', dz/dy', -(z + x dz/dx' + y dz/dy')). The smaller
    one-sided difference would hide jumps; the larger one is used.
    """
    known = depth > 0
    slopes = []
    for axis, focal in ((1, camera.K[0, 0]), (0, camera.K[1, 1])):
        ahead = np.diff(depth, axis=axis, append=np.take(depth, [-1], axis))
        both = known & np.roll(known, -1, axis)
        ahead = np.where(both, ahead, 0)
        behind = np.roll(ahead, 1, axis)
        slopes.append(np.where(np.abs(ahead) > np.abs(behind), ahead, behind) * focal)
    return slopes[0], slopes[1]


def ray_lengths(camera: Camera) -> Float32[np.ndarray, "h w"]:
    """Length of each pixel's ray per unit of depth."""
    x, y = _normalised_pixels(camera)
    return np.sqrt(1 + x**2 + y**2).astype(np.float32)


def _normalised_pixels(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Columns (w) and rows (h 1) of pixel centres at depth 1."""
    x = np.arange(camera.width, dtype=np.float32) + 0.5 - camera.K[0, 2]
    y = np.arange(camera.height, dtype=np.float32)[:, None] + 0.5 - camera.K[1, 2]
    return (x / camera.K[0, 0]).astype(np.float32), (y / camera.K[1, 1]).astype(np.float32)


def count_votes(
    maps: Sequence[DepthMap], index: int, tolerance: float
) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """What the other views say about each depth pixel of view `index`.

    Returns:
        agree: Views whose own depth at the point is within `tolerance` (relative).
        against: Views that look through the point at something farther.
        residual: Smallest relative depth difference to any view; inf where none looks.
    """
    from recon.surface.kernels import add_votes  # numba loads with it

    me = maps[index]
    agree = np.zeros(me.depth.shape, dtype=np.uint8)
    against = np.zeros_like(agree)
    residual = np.full(me.depth.shape, np.inf, dtype=np.float32)
    world_from_me = me.view.cam_from_world.inverse()
    for j, other in enumerate(maps):
        if j != index:
            other_from_me = other.view.cam_from_world @ world_from_me
            K, Kj = me.view.camera.K, other.view.camera.K
            R, t = np.ascontiguousarray(other_from_me.R), other_from_me.t
            add_votes(me.depth, K, R, t, Kj, other.depth, tolerance, agree, against, residual)
    return agree, against, residual


def seen_alone(m: DepthMap) -> dict[str, float | str]:
    """Share of a photo's pixels that no other photo sees, and on which side of it most of them lie.

    Sides are thirds of the picture; "all over" where no third holds half of them.
    """
    if ALONE not in m.rejected:
        return {"share": 0.0, "side": ""}
    alone = m.why == 1 + list(m.rejected).index(ALONE)
    total = int(alone.sum())
    if total == 0:
        return {"share": 0.0, "side": ""}
    h, w = alone.shape
    sides = {
        "left": alone[:, : w // 3], "right": alone[:, w - w // 3 :],
        "top": alone[: h // 3], "bottom": alone[h - h // 3 :],
    }  # fmt: skip
    side = max(sides, key=lambda name: int(sides[name].sum()))
    where = side if 2 * int(sides[side].sum()) >= total else "all over"
    return {"share": total / alone.size, "side": where}


def pixel_values(image: np.ndarray, uv: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Values (n c) of the pixels that hold the points; 0 outside the picture."""
    h, w = image.shape[:2]
    finite = np.nan_to_num(uv, nan=-1.0, posinf=-1.0, neginf=-1.0)
    column = np.floor(np.clip(finite[:, 0], -1, w)).astype(np.int64)
    row = np.floor(np.clip(finite[:, 1], -1, h)).astype(np.int64)
    inside = (column >= 0) & (row >= 0) & (column < w) & (row < h)
    out = np.zeros((len(uv), image.shape[2]), dtype=image.dtype)
    out[inside] = image[row[inside], column[inside]]
    return out


def pixel_points(depth_map: DepthMap, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """World points (n 3, float64) of every `stride`-th accepted pixel, and the rays' directions.

    The directions (n 3, world) have camera z = 1, so `point + s * direction` moves s in depth.
    """
    camera, cam_from_world = depth_map.view.camera, depth_map.view.cam_from_world
    part = depth_map.depth[stride // 2 :: stride, stride // 2 :: stride]
    rows, columns = np.nonzero(part)
    uv = np.stack([columns, rows], axis=1) * float(stride) + stride // 2 + 0.5
    rays = camera.unproject(uv, np.ones(len(uv))) @ cam_from_world.R
    points = rays * part[rows, columns].astype(np.float64)[:, None] + cam_from_world.centre
    return points, rays
