"""Small corrections of camera poses and exposures that are optimised along with the splats."""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from corr.geometry import Rigid3
from recon.scene import View
from recon.splats.batch import betas

if TYPE_CHECKING:
    from recon.splats.optimiser import Optimiser

WAIT_SHARE = 0.1  # of the run: until coarse pictures are explained wrong splats would move poses


class CameraCorrections(nn.Module):
    """Per view a rotation vector, a translation and log gains; zero means unchanged.

    `cam_from_world = [exp(w) R0 | exp(w) t0 + d]`. Both are scaled so that a unit step of any
    entry moves the picture by about one pixel at the view's median depth: one rate serves all.
    """

    base: Tensor  # v 4 4
    angle_per_px: Tensor  # v
    shift_per_px: Tensor  # v

    def __init__(self, views: tuple[View, ...], depths: Tensor, log_gains: Tensor):
        super().__init__()
        device = depths.device
        self.register_buffer(
            "base", torch.stack([torch.tensor(v.cam_from_world.matrix) for v in views]).to(device)
        )
        focal = torch.tensor([v.camera.K[0, 0] for v in views], device=device)
        self.register_buffer("angle_per_px", 1.0 / focal)
        self.register_buffer("shift_per_px", depths.double() / focal)
        self.twist_px = nn.Parameter(torch.zeros(len(views), 6, device=device))
        self.log_gains = nn.Parameter(log_gains.float().clone().to(device))

    def cam_from_world(self, index: int) -> Tensor:
        """The corrected 4 x 4 pose, float32, differentiable."""
        return self._matrix(index).float()

    def _matrix(self, index: int) -> Tensor:
        twist = self.twist_px[index].double()
        rotation = rotation_matrix(twist[:3] * self.angle_per_px[index])
        matrix = self.base[index].clone()
        top = rotation @ matrix[:3]
        shift = twist[3:] * self.shift_per_px[index]
        top = torch.cat([top[:, :3], top[:, 3:] + shift[:, None]], dim=1)
        return torch.cat([top, matrix[3:]], dim=0)

    def gains(self, index: int) -> Tensor:
        """Colour gains of that photo; their geometric mean over the photos is 1."""
        return (self.log_gains[index] - self.log_gains.mean(0)).exp()

    def view(self, index: int, view: View) -> View:
        """The view with its corrected pose; the very same view when nothing was corrected."""
        if not self.twist_px[index].any():
            return view
        with torch.no_grad():
            matrix = self._matrix(index).cpu().numpy()
        u, _, vt = torch.linalg.svd(torch.from_numpy(matrix[:3, :3]))
        matrix[:3, :3] = (u @ vt).numpy()
        return View(view.name, view.camera, Rigid3.from_matrix(matrix))


class MovingCameras:
    """The corrections and their Adam optimiser."""

    def __init__(self, corrections: CameraCorrections, options: "Optimiser"):
        self.corrections, self.options = corrections, options
        groups = [
            {"params": [corrections.twist_px], "lr": options.pose_px},
            {"params": [corrections.log_gains], "lr": options.exposure_rate},
        ]
        self.adam = torch.optim.Adam(groups, betas=betas(options))
        self.still: dict[int, tuple[Tensor, Tensor]] = {}  # poses and gains that do not change

    def at(self, index: int) -> tuple[Tensor, Tensor]:
        """Pose and gains of a photo; what does not move is computed once."""
        now = self.corrections
        if index not in self.still:
            with torch.no_grad():
                self.still[index] = now.cam_from_world(index), now.gains(index)
        pose, gains = self.still[index]
        if self.options.pose_px > 0:
            pose = now.cam_from_world(index)
        if self.options.exposure_rate > 0:
            gains = now.gains(index)
        return pose, gains

    def step(self, progress: float) -> None:
        """One Adam step, once the run is far enough; gradients that are not finite are zero."""
        if progress > WAIT_SHARE:
            for parameter in self.corrections.parameters():
                if parameter.grad is not None:
                    parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
            self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Everything needed to continue, detached from what happens next."""
        return {
            "corrections": {k: v.clone() for k, v in self.corrections.state_dict().items()},
            "adam": copy.deepcopy(self.adam.state_dict()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to a saved state."""
        self.still = {}
        self.corrections.load_state_dict(state["corrections"])
        self.adam.load_state_dict(state["adam"])


def rotation_matrix(vector: Tensor) -> Tensor:
    """Rodrigues' formula, smooth at zero."""
    angle2 = (vector * vector).sum()
    angle = (angle2 + 1e-24).sqrt()
    x, y, z = vector
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    a = torch.sin(angle) / angle
    b = (1.0 - torch.cos(angle)) / (angle * angle + 1e-24)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + a * skew + b * (skew @ skew)
