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
        if background is None:
            background = torch.zeros(3, device=device)
        background = background.to(device, torch.float32)
        if len(gaussians) == 0:
            empty = torch.zeros(camera.height, camera.width, device=device)
            rgb = background.expand(camera.height, camera.width, 3)
            return Rendered(rgb, empty, empty.clone(), torch.zeros(0, device=device))
        good = gaussians.to(torch.float32)
        pose = cam_from_world.to(device, torch.float32)
        K = torch.as_tensor(camera.K, dtype=torch.float32).to(device, non_blocking=True)
        colours, alphas, info = rasterization(
            _hidden_if_broken(good, pose.detach()),
            good.quats_wxyz,
            good.scales,
            good.opacities,
            good.sh,
            pose[None],
            K[None],
            camera.width,
            camera.height,
            near_plane=NEAR,
            eps2d=BLUR_PX2,
            sh_degree=degree,
            packed=False,
            backgrounds=background[None],
            render_mode="RGB+D",
        )
        radius = info["radii"].detach().reshape(len(good), -1).amax(1).to(torch.float32)
        pairs = int(info["flatten_ids"].numel())
        rgb, depth = colours[0, ..., :3], colours[0, ..., 3]
        return Rendered(rgb, alphas[0, ..., 0], depth, radius, pairs, info)


def _hidden_if_broken(gaussians: Gaussians, pose: Tensor) -> Tensor:
    """Centres; those of splats that are not finite lie behind the camera, where nothing is drawn.

    Leaving such splats out would need their number, and that is known only when the GPU is done.
    """
    with torch.no_grad():
        flat = [v.reshape(len(gaussians), -1).sum(1) for v in gaussians.tensors().values()]
        finite = torch.isfinite(torch.stack(flat).sum(0))
        behind = -pose[:3, :3].T @ pose[:3, 3] - pose[2, :3]
    return torch.where(finite[:, None], gaussians.means, behind)


def _brought(drawn: Rendered, device: torch.device) -> Rendered:
    """The same picture in another memory."""
    radius = None if drawn.radius_px is None else drawn.radius_px.to(device)
    return Rendered(
        drawn.rgb.to(device), drawn.alpha.to(device), drawn.depth.to(device), radius, drawn.pairs
    )
