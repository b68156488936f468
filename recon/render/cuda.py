"""The CUDA path: gsplat behind our interface."""

import torch
from torch import Tensor

from corr.geometry import Camera
from recon.render.base import BLUR_PX2, NEAR, Rendered, Renderer
from recon.splats.gaussians import Gaussians


class CudaRenderer(Renderer):
    """gsplat's rasteriser.

    It stops a pixel before the splat that would take it below T_MIN, ours after: the pictures may
    differ by T_MIN.

    gsplat is imported when the first picture is drawn: its import starts a compiler where a CUDA
    toolkit is installed, GPU or not.
    """

    name = "cuda"

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

        Splats that lie elsewhere are drawn in CUDA memory and the picture is brought back.
        """
        device = gaussians.means.device
        if device.type != "cuda":
            there = self.render(
                gaussians.to("cuda"), camera, cam_from_world, background=background,
                sh_degree=sh_degree,
            )  # fmt: skip
            return _brought(there, device)
        from gsplat.rendering import rasterization

        degree = gaussians.sh_degree if sh_degree is None else min(sh_degree, gaussians.sh_degree)
        finite = gaussians.is_finite()
        good = gaussians.select(torch.nonzero(finite)[:, 0]).to(torch.float32)
        radius = torch.zeros(len(gaussians), device=device)
        if background is None:
            background = torch.zeros(3, device=device)
        background = background.to(device, torch.float32)
        shape = (camera.height, camera.width)
        if len(good) == 0:
            empty = torch.zeros(shape, device=device)
            return Rendered(background.expand(*shape, 3), empty, empty.clone(), radius)
        colours, alphas, info = rasterization(
            good.means,
            good.quats_wxyz,
            good.scales,
            good.opacities,
            good.sh,
            cam_from_world.to(device, torch.float32)[None],
            torch.as_tensor(camera.K, dtype=torch.float32, device=device)[None],
            camera.width,
            camera.height,
            near_plane=NEAR,
            eps2d=BLUR_PX2,
            sh_degree=degree,
            packed=False,
            backgrounds=background[None],
            render_mode="RGB+D",
        )
        radius[finite] = info["radii"].detach().reshape(len(good), -1).amax(1).to(torch.float32)
        pairs = int(info["flatten_ids"].numel())
        return Rendered(colours[0, ..., :3], alphas[0, ..., 0], colours[0, ..., 3], radius, pairs)


def _brought(drawn: Rendered, device: torch.device) -> Rendered:
    """The same picture in another memory."""
    radius = None if drawn.radius_px is None else drawn.radius_px.to(device)
    return Rendered(
        drawn.rgb.to(device), drawn.alpha.to(device), drawn.depth.to(device), radius, drawn.pairs
    )
