"""The oracle: every splat at every pixel, plain torch, any dtype, gradients by autograd."""

import math

import torch
from torch import Tensor

from corr.geometry import Camera
from recon.render.base import (
    ALPHA_MAX,
    ALPHA_MIN,
    BLUR_PX2,
    NEAR,
    T_MIN,
    VARIANCE_MAX_PX2,
    Rendered,
    Renderer,
)
from recon.splats.gaussians import SH_C0, Gaussians

FOV_MARGIN = 0.3  # the projection is linearised no further out than 1.3 times the field of view


def fov_limits(camera: Camera) -> tuple[float, float, float, float]:
    """Smallest and largest x/z, then y/z, at which the projection may be linearised.

    The picture's edges, moved out by 0.3 of half its extent: beyond them the first-order
    footprint of a wide splat near the camera would grow without bound.
    """
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    out_x, out_y = FOV_MARGIN * camera.width / (2 * fx), FOV_MARGIN * camera.height / (2 * fy)
    return (
        -cx / fx - out_x,
        (camera.width - cx) / fx + out_x,
        -cy / fy - out_y,
        (camera.height - cy) / fy + out_y,
    )


def rotation_from_quaternion(quats_wxyz: Tensor) -> Tensor:
    """N 3 3 rotations of quaternions of any length."""
    w, x, y, z = (quats_wxyz / quats_wxyz.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).reshape(-1, 3, 3)


def sh_basis(directions: Tensor, degree: int) -> Tensor:
    """Real spherical harmonics up to degree 3 at unit vectors: n k.

    Source: Sloan, "Efficient spherical harmonic evaluation", JCGT 2013 (with the
    Condon-Shortley phase, as splat files store them).
    """
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        c1 = math.sqrt(3 / (4 * math.pi))
        basis += [-c1 * y, c1 * z, -c1 * x]
    if degree >= 2:
        c2, c20 = math.sqrt(15 / (4 * math.pi)), math.sqrt(5 / (16 * math.pi))
        basis += [c2 * x * y, -c2 * y * z, c20 * (2 * z * z - x * x - y * y)]
        basis += [-c2 * x * z, c2 / 2 * (x * x - y * y)]
    if degree >= 3:
        c33, c32 = math.sqrt(35 / (32 * math.pi)), math.sqrt(105 / (4 * math.pi))
        c31, c30 = math.sqrt(21 / (32 * math.pi)), math.sqrt(7 / (16 * math.pi))
        basis += [-c33 * y * (3 * x * x - y * y), c32 * x * y * z]
        basis += [-c31 * y * (4 * z * z - x * x - y * y)]
        basis += [c30 * z * (2 * z * z - 3 * x * x - 3 * y * y)]
        basis += [-c31 * x * (4 * z * z - x * x - y * y), c32 / 2 * z * (x * x - y * y)]
        basis += [-c33 * x * (x * x - 3 * y * y)]
    return torch.stack(basis, -1)


class _Splats2D:
    """Splats in the picture: what remains of the third dimension is z."""

    def __init__(self, gaussians: Gaussians, camera: Camera, cam_from_world: Tensor, degree: int):
        """Project by the first-order expansion at each centre (EWA splatting).

        Covariance J W S W^T J^T + blur, J the Jacobian of the pinhole at the clamped direction.
        Source: Zwicker et al., "EWA splatting", TVCG 2002, equations 23-31.
        """
        W, t = cam_from_world[:3, :3], cam_from_world[:3, 3]
        fx, fy, cx, cy = (float(camera.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        x, y, self.z = (gaussians.means @ W.T + t).unbind(-1)
        z = self.z
        self.u, self.v = fx * x / z + cx, fy * y / z + cy
        x_min, x_max, y_min, y_max = fov_limits(camera)
        tan_x, tan_y = (x / z).clamp(x_min, x_max), (y / z).clamp(y_min, y_max)
        zero = torch.zeros_like(z)
        J = torch.stack([fx / z, zero, -fx * tan_x / z, zero, fy / z, -fy * tan_y / z], -1)
        axes = rotation_from_quaternion(gaussians.quats_wxyz) * gaussians.scales[:, None, :]
        P = J.reshape(-1, 2, 3) @ (W @ axes)
        self.covariance = P @ P.mT + BLUR_PX2 * torch.eye(2, dtype=z.dtype)
        self.opacity = gaussians.opacities
        offset = gaussians.means + W.T @ t  # from the camera centre
        basis = sh_basis(offset / offset.norm(dim=-1, keepdim=True), degree)
        sh = gaussians.sh[:, : basis.shape[1]]
        self.unclamped = 0.5 + (sh * basis[..., None]).sum(1)
        self.colour = self.unclamped.clamp(min=0)

    def drawable(self) -> Tensor:
        """In front of the camera, opaque enough to matter, and finite."""
        parts = [self.u, self.v, self.z, self.opacity]
        flat = torch.cat([torch.stack(parts, -1), self.unclamped], 1)
        finite = torch.isfinite(flat).all(1) & (self.covariance.det() > 0)
        finite &= self.covariance.diagonal(dim1=1, dim2=2).sum(1) < VARIANCE_MAX_PX2
        return finite & (self.z >= NEAR) & (self.opacity >= ALPHA_MIN)


def _composite(splats: _Splats2D, camera: Camera, background: Tensor) -> tuple[Tensor, ...]:
    """Front-to-back blending of depth-sorted splats at all pixels at once.

    alpha_i = min(ALPHA_MAX, o exp(-d^T C d / 2)), dropped below 1/255;
    T_i = prod_{j<i} (1 - alpha_j); a splat counts while T_i >= T_MIN.
    Source: Kerbl et al., "3D Gaussian splatting", SIGGRAPH 2023, equations 2-3.
    """
    dtype = splats.z.dtype
    xs = torch.arange(camera.width, dtype=dtype) + 0.5
    ys = torch.arange(camera.height, dtype=dtype) + 0.5
    dy, dx = torch.meshgrid(ys, xs, indexing="ij")
    dx = dx.reshape(1, -1) - splats.u[:, None]
    dy = dy.reshape(1, -1) - splats.v[:, None]
    conic = torch.linalg.inv(splats.covariance)
    a, b, c = (conic[:, i, j, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    power = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = splats.opacity[:, None] * torch.exp(-power)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha.clamp(max=ALPHA_MAX), 0.0)
    start = alpha.new_ones(1, alpha.shape[1])
    with torch.no_grad():
        going = torch.cumprod(torch.cat([start, 1 - alpha]), 0)[:-1] >= T_MIN
    alpha = torch.where(going, alpha, 0.0)
    T = torch.cumprod(torch.cat([start, 1 - alpha]), 0)
    weight = alpha * T[:-1]
    rgb = weight.T @ splats.colour + T[-1][:, None] * background
    return rgb, 1 - T[-1], weight.T @ splats.z


class ReferenceRenderer(Renderer):
    """Dense, slow and plain; memory is n times the pixel count. For tests and tiny scenes."""

    name = "reference"

    def render(
        self,
        gaussians: Gaussians,
        camera: Camera,
        cam_from_world: Tensor,
        *,
        background: Tensor | None = None,
        sh_degree: int | None = None,
    ) -> Rendered:
        """Draw one picture in the dtype of the splats (see `Renderer.render`)."""
        dtype, shape = gaussians.means.dtype, (camera.height, camera.width)
        degree = gaussians.sh_degree if sh_degree is None else min(sh_degree, gaussians.sh_degree)
        cam_from_world = cam_from_world.to(dtype)
        if background is None:
            background = torch.zeros(3)
        background = background.to(dtype)
        with torch.no_grad():
            splats = _Splats2D(gaussians, camera, cam_from_world, degree)
            index = torch.arange(len(gaussians))[splats.drawable()]
            index = index[torch.argsort(splats.z[index], stable=True)]
        splats = _Splats2D(gaussians.select(index), camera, cam_from_world, degree)
        rgb, alpha, depth = _composite(splats, camera, background)
        return Rendered(rgb.reshape(*shape, 3), alpha.reshape(shape), depth.reshape(shape))
