"""The autograd wrapper: torch tensors in and out, numba kernels in between."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from corr.geometry import Camera
from recon.render.base import Rendered, Renderer
from recon.render.cpu import layout
from recon.render.cpu.project import project
from recon.render.cpu.project_backward import project_backward
from recon.render.cpu.raster import PLANE, rasterise
from recon.render.cpu.raster_backward import rasterise_backward
from recon.render.cpu.tiles import depth_order, first_pairs, tile_lists
from recon.render.reference import fov_limits
from recon.splats.gaussians import Gaussians


class _Plan(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    cam: np.ndarray
    degree: int
    tiles_x: int
    rows: np.ndarray
    first: np.ndarray
    starts: np.ndarray
    splat: np.ndarray
    pair: np.ndarray
    state: np.ndarray


def _flat_camera(camera: Camera, cam_from_world: Tensor) -> np.ndarray:
    """The camera and its pose as the kernels read them."""
    matrix = cam_from_world.detach().numpy().astype(np.float64)
    R, t = matrix[:3, :3], matrix[:3, 3]
    K = camera.K
    intrinsics = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], camera.width, camera.height]
    flat = np.concatenate([intrinsics, fov_limits(camera), R.ravel(), t, -R.T @ t])
    assert flat.size == layout.CAMERA_SIZE
    return flat


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


class _Rasterise(torch.autograd.Function):
    """rgb, alpha, depth of float32 splats; gradients of all seven tensors."""

    @staticmethod
    def forward(ctx, means, log_scales, quats, logits, sh, cam_from_world, background, request):
        camera, degree, report = request
        parameters = [_array(x) for x in (means, log_scales, quats, logits, sh)]
        n = len(means)
        tiles_x, tiles_y = -(-camera.width // layout.TILE), -(-camera.height // layout.TILE)
        cam, behind = _flat_camera(camera, cam_from_world), _array(background)
        rows = np.empty((n, layout.COLUMNS), np.float32)
        depths, counts = np.empty(n, np.float32), np.empty(n, np.int32)
        project(cam, *parameters, degree, rows, depths, counts)
        first = first_pairs(counts)
        order = depth_order(depths, counts)
        starts, splat, pair = tile_lists(order, rows, first, tiles_x, tiles_y)
        rgb = torch.empty(camera.height, camera.width, 3)
        alpha = torch.empty(camera.height, camera.width)
        depth = torch.empty(camera.height, camera.width)
        state = np.empty((tiles_x * tiles_y, 2 * PLANE), np.float32)
        rasterise(
            rows, starts, splat, behind, rgb.numpy(), alpha.numpy(), depth.numpy(), state, tiles_x
        )
        ctx.save_for_backward(means, log_scales, quats, logits, sh, background)
        ctx.plan = _Plan(cam, degree, tiles_x, rows, first, starts, splat, pair, state)
        report["radius_px"] = torch.from_numpy(np.where(counts > 0, rows[:, layout.RADIUS], 0))
        report["pairs"] = int(first[-1])
        return rgb, alpha, depth

    @staticmethod
    def backward(ctx, d_rgb, d_alpha, d_depth):
        plan: _Plan = ctx.plan
        *parameters, background = (_array(x) for x in ctx.saved_tensors)
        d_rgb, d_alpha, d_depth = (_array(x) for x in (d_rgb, d_alpha, d_depth))
        d_background = np.zeros((len(plan.state), 3), np.float32)
        sums = np.empty((len(plan.pair), layout.SUMS), np.float32)
        rasterise_backward(
            plan.rows, plan.starts, plan.splat, plan.pair, background, plan.state,
            d_rgb, d_alpha, d_depth, sums, d_background, plan.tiles_x,
        )  # fmt: skip
        gradients = [torch.zeros_like(x) for x in ctx.saved_tensors[:5]]
        pose = project_backward(
            plan.cam, *parameters, plan.degree, plan.first, sums, *(g.numpy() for g in gradients)
        )
        d_pose = torch.zeros(4, 4)
        d_pose[:3, :3] = torch.from_numpy(pose[:9].reshape(3, 3))
        d_pose[:3, 3] = torch.from_numpy(pose[9:12])
        return *gradients, d_pose, torch.from_numpy(d_background.sum(0)), None


class CpuRenderer(Renderer):
    """Tiled, multithreaded, bit-reproducible for any thread count. Works in float32."""

    name = "cpu"

    def render(
        self,
        gaussians: Gaussians,
        camera: Camera,
        cam_from_world: Tensor,
        *,
        background: Tensor | None = None,
        sh_degree: int | None = None,
    ) -> Rendered:
        """Draw one picture (see `Renderer.render`); other dtypes are converted to float32.

        Raises:
            ValueError: The splats are not in main memory.
        """
        if gaussians.means.device.type != "cpu":
            raise ValueError(f"gaussians must be on the cpu, got {gaussians.means.device}")
        degree = gaussians.sh_degree if sh_degree is None else min(sh_degree, gaussians.sh_degree)
        if background is None:
            background = torch.zeros(3)
        tensors = [*gaussians.tensors().values(), cam_from_world, background]
        report: dict = {}
        rgb, alpha, depth = _Rasterise.apply(
            *(x.to(torch.float32) for x in tensors), (camera, degree, report)
        )
        return Rendered(rgb, alpha, depth, report["radius_px"], report["pairs"])
