"""Small corrections of camera poses and exposures that are optimised along with the splats."""

import torch
from torch import Tensor, nn

from corr.geometry import Rigid3
from recon.scene import View


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
