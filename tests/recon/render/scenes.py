"""Random splats and cameras, and the comparison of two renderers on them."""

import numpy as np
import torch
from torch import Tensor

from corr.geometry import Camera
from recon.render.base import Rendered, Renderer
from recon.splats.gaussians import Gaussians

PARAMETERS = ("means", "log_scales", "quats_wxyz", "logit_opacities", "sh")

# Float32 against float64. The picture: a few units in the last place of values near one, far
# under the 1/255 that is seen. Gradients: sums of some hundred float32 terms of both signs.
# Both leave room for one pixel whose alpha falls on the other side of the 1/255 cut: that moves
# the picture by at most 1/255 and happens about once in 1e5 splat-pixels, so seeds without such
# a flip are easy to find and are the ones used.
IMAGE_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
COSINE_FLOOR = 0.9999


def random_scene(n: int, *, degree: int, seed: int, sigma: float = 0.1) -> Gaussians:
    """Float32 splats in front of, beside and partly behind a camera at the origin."""
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen)

    means = normal(n, 3) * torch.tensor([1.2, 1.0, 1.2]) + torch.tensor([0.0, 0.0, 3.0])
    return Gaussians(
        means,
        normal(n, 3) * 0.5 + np.log(sigma),
        normal(n, 4),
        normal(n) * 1.5,
        normal(n, (degree + 1) ** 2, 3) * 0.3,
    )


def skewed_camera(width: int, height: int) -> Camera:
    """Unequal focal lengths and a principal point off the middle."""
    K = [[1.1 * width, 0, 0.45 * width], [0, 0.9 * height + 5, 0.56 * height], [0, 0, 1]]
    return Camera(width, height, np.array(K))


def turned(
    angles_rad: tuple[float, float, float], shift: tuple[float, float, float] = (0, 0, 0)
) -> Tensor:
    """A 4 x 4 pose from a rotation vector and a translation, float64."""
    x, y, z = angles_rad
    twist = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.matrix_exp(twist)
    pose[:3, 3] = torch.tensor(shift, dtype=torch.float64)
    return pose


def draw(
    renderer: Renderer,
    gaussians: Gaussians,
    camera: Camera,
    cam_from_world: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    background: tuple[float, float, float] = (0.2, 0.5, 0.9),
    sh_degree: int | None = None,
    device: str = "cpu",
) -> tuple[Rendered, dict[str, Tensor]]:
    """A picture and the gradients of a fixed random weighting of all its outputs."""
    leaves = {
        k: v.detach().to(device, dtype).clone().requires_grad_()
        for k, v in gaussians.tensors().items()
    }
    pose = cam_from_world.detach().to(device, dtype).clone().requires_grad_()
    behind = torch.tensor(background, dtype=dtype, device=device, requires_grad=True)
    out = renderer.render(Gaussians(**leaves), camera, pose, background=behind, sh_degree=sh_degree)
    gen = torch.Generator().manual_seed(7)
    loss = 0
    for picture in (out.rgb, out.alpha, out.depth):
        weights = torch.randn(picture.shape, generator=gen, dtype=torch.float64)
        loss = loss + (picture * weights.to(device, dtype)).sum()
    if loss.requires_grad:
        loss.backward()
    gradients = {k: v.grad for k, v in {**leaves, "pose": pose, "background": behind}.items()}
    return out, {k: torch.zeros(1) if v is None else v.detach().cpu() for k, v in gradients.items()}


def relative_error(value: Tensor, truth: Tensor) -> float:
    """L2 of the difference over L2 of the truth."""
    return float((value.double() - truth).norm() / truth.norm().clamp(min=1e-12))


def cosine(value: Tensor, truth: Tensor) -> float:
    """Cosine between two gradients as vectors."""
    return float(
        torch.nn.functional.cosine_similarity(value.double().ravel(), truth.double().ravel(), dim=0)
    )
