"""The oracle itself: its gradients against finite differences."""

import pytest
import torch

from corr.geometry import Camera
from recon.splats.gaussians import SH_C0, Gaussians

from .scenes import turned


def _smooth_scene(n, degree, seed):
    """Splats so wide and opaque that no pixel of an 8 x 8 picture is near the alpha cut.

    Steps of finite differences must not cross the cut, the stop or the cap: sigma is about a
    picture, opacities stay in .1 .. .6, and the product of (1 - alpha) stays above T_MIN because
    the opacities shrink as n grows.
    """
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=gen, dtype=torch.float64)

    means = normal(n, 3) * 0.2 + torch.tensor([0, 0, 4.0], dtype=torch.float64)
    opacity = (0.1 + 0.5 * torch.rand(n, generator=gen, dtype=torch.float64)) / n**0.5
    sh = normal(n, (degree + 1) ** 2, 3) * 0.1
    return Gaussians(means, normal(n, 3) * 0.1 + 0.7, normal(n, 4), torch.logit(opacity), sh)


@pytest.mark.parametrize(("n", "degree"), [(1, 0), (4, 3), (6, 2), (30, 1)])
def test_reference_gradients_match_finite_differences(reference, n, degree):
    scene, camera = _smooth_scene(n, degree, seed=n), Camera.simple(8, 8, 9.0)
    leaves = [v.requires_grad_() for v in scene.tensors().values()]
    pose = turned((0.02, -0.03, 0.05), (0.1, 0.0, 0.2)).requires_grad_()
    background = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64, requires_grad=True)

    def f(means, log_scales, quats, logits, sh, pose, background):
        out = reference.render(
            Gaussians(means, log_scales, quats, logits, sh), camera, pose, background=background
        )
        return out.rgb, out.alpha, out.depth

    assert torch.autograd.gradcheck(f, (*leaves, pose, background), fast_mode=n > 1)


def test_one_splat_has_the_closed_form(reference):
    """A round splat on the axis: alpha = o exp(-r^2 / 2 (s^2 + blur)), s = f sigma / z."""
    zero = torch.zeros(1, 3, dtype=torch.float64)
    quat = torch.tensor([[2.0, 0, 0, 0]], dtype=torch.float64)
    colour = torch.tensor([[[0.3, -0.2, 0.1]]], dtype=torch.float64)
    scene = Gaussians(
        zero + torch.tensor([0, 0, 5.0]), zero - 1, quat, torch.zeros(1).double(), colour / SH_C0
    )
    camera = Camera.simple(9, 9, 20.0)
    out = reference.render(scene, camera, torch.eye(4).double())
    variance = (20 * torch.exp(torch.tensor(-1.0)).double() / 5) ** 2 + 0.3
    expected = 0.5 * torch.exp(-0.5 * (2**2 + 1**2) / variance)
    assert out.alpha[4 + 1, 4 + 2] == pytest.approx(float(expected), rel=1e-6)
    assert out.rgb[5, 6].numpy() == pytest.approx(
        expected * torch.tensor([0.8, 0.3, 0.6]), rel=1e-6
    )
    assert out.depth[5, 6] == pytest.approx(5 * float(expected), rel=1e-6)
