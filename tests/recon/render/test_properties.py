"""What must hold for any correct picture of splats, and what broken splats must not do."""

import numpy as np
import pytest
import torch

from corr.geometry import Camera, rotation_angle
from recon.splats.gaussians import Gaussians

from .scenes import PARAMETERS, draw, random_scene, skewed_camera, turned

POSE = turned((0.05, -0.1, 0.08), (0.1, -0.2, 0.3))
CAMERA = skewed_camera(53, 35)
BACKGROUND = (0.2, 0.5, 0.9)


@pytest.fixture(params=["cpu", "reference"])
def renderer(request):
    return request.getfixturevalue(request.param)


def assert_background_only(out):
    assert torch.equal(out.rgb, torch.tensor(BACKGROUND, dtype=out.rgb.dtype).expand(out.rgb.shape))
    assert out.alpha.abs().max() == 0
    assert out.depth.abs().max() == 0


def test_order_of_splats_does_not_matter(renderer):
    scene = random_scene(200, degree=1, seed=1)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    out, gradients = draw(renderer, scene, CAMERA, POSE)
    shuffled, shuffled_gradients = draw(renderer, scene.select(order), CAMERA, POSE)
    torch.testing.assert_close(shuffled.rgb, out.rgb, atol=1e-6, rtol=0)
    for name in PARAMETERS:
        close = {"atol": 1e-5 * float(gradients[name].abs().max()), "rtol": 1e-4}
        torch.testing.assert_close(shuffled_gradients[name], gradients[name][order], **close)


def test_length_of_quaternion_does_not_matter(renderer):
    scene = random_scene(100, degree=0, seed=2)
    out, gradients = draw(renderer, scene, CAMERA, POSE)
    longer = Gaussians(**{**scene.tensors(), "quats_wxyz": scene.quats_wxyz * 7.3})
    torch.testing.assert_close(
        draw(renderer, longer, CAMERA, POSE)[0].rgb, out.rgb, atol=2e-6, rtol=0
    )
    radial = (gradients["quats_wxyz"] * scene.quats_wxyz).sum(1).abs()
    assert radial.max() <= 1e-5 * gradients["quats_wxyz"].norm(dim=1).max()


def test_picture_shifts_with_the_principal_point(renderer):
    scene, wide = random_scene(100, degree=1, seed=3, sigma=0.02), skewed_camera(60, 40)
    scene.means[:, :2] *= 0.3  # inside both views, so that no direction is clamped
    K = wide.K.copy()
    K[:2, 2] -= [7, 5]
    whole = draw(renderer, scene, wide, torch.eye(4))[0]
    part = draw(renderer, scene, Camera(41, 30, K), torch.eye(4))[0]
    assert part.alpha.max() > 0.5
    assert (part.rgb - whole.rgb[5:35, 7:48]).abs().max() < 1e-5


def test_invisible_splats_leave_the_background_exactly(renderer):
    scene = random_scene(50, degree=1, seed=4)
    scene.logit_opacities[:] = -30
    out, gradients = draw(renderer, scene, CAMERA, POSE)
    assert_background_only(out)
    assert all(gradients[name].abs().max() == 0 for name in PARAMETERS)


def test_no_splats_give_the_background(renderer):
    out, gradients = draw(renderer, random_scene(0, degree=1, seed=5), CAMERA, POSE)
    assert_background_only(out)
    assert all(
        gradients[name].numel() == 0 or gradients[name].abs().max() == 0 for name in PARAMETERS
    )


def test_splats_behind_or_beside_give_the_background(renderer):
    behind = random_scene(50, degree=1, seed=6)
    behind.means[:, 2] = -behind.means[:, 2].abs() - 1
    beside = random_scene(50, degree=1, seed=7)
    beside.means[:] = torch.tensor([50.0, 0.0, 3.0])
    for scene in (behind, beside):
        out, gradients = draw(renderer, scene, CAMERA, POSE)
        assert_background_only(out)
        assert gradients["pose"].abs().max() == 0


def test_premultiplied_sums_stay_in_range(renderer):
    scene = random_scene(2000 if renderer.name == "cpu" else 300, degree=0, seed=8, sigma=0.3)
    out = draw(renderer, scene, CAMERA, POSE, background=(0.0, 0.0, 0.0))[0]
    assert out.alpha.min() >= 0
    assert out.alpha.max() <= 1
    assert out.rgb.min() >= 0
    assert bool((out.depth <= out.alpha * 8 + 1e-5).all())


def test_one_huge_splat_covers_the_picture(renderer):
    scene = random_scene(1, degree=0, seed=9)
    scene.means[:] = torch.tensor([0.0, 0.0, 3.0])
    scene.log_scales[:] = 9.0
    scene.logit_opacities[:] = 0.0
    out, gradients = draw(renderer, scene, CAMERA, torch.eye(4))
    torch.testing.assert_close(out.alpha, torch.full_like(out.alpha, 0.5), atol=1e-4, rtol=0)
    assert all(bool(torch.isfinite(g).all()) for g in gradients.values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e-42])
@pytest.mark.parametrize("name", PARAMETERS)
def test_broken_splat_harms_no_other(renderer, name, bad):
    """Values that break a splat: it is skipped. Values that do not: all stays finite."""
    clean, n = random_scene(40, degree=1, seed=10), 40
    broken = clean.detached()
    broken.tensors()[name][7].view(-1)[0] = bad
    out, gradients = draw(renderer, broken, CAMERA, POSE)
    for picture in (out.rgb, out.alpha, out.depth):
        assert bool(torch.isfinite(picture).all())
    others = torch.arange(n) != 7
    assert all(bool(torch.isfinite(gradients[k][others]).all()) for k in PARAMETERS)
    assert bool(torch.isfinite(gradients["pose"]).all())
    if not np.isfinite(bad) and not (name == "logit_opacities" and bad == float("inf")):
        without, true_gradients = draw(renderer, clean.select(others), CAMERA, POSE)
        if not (name == "log_scales" and bad == -float("inf")):  # flat, but drawable
            assert torch.equal(out.rgb, without.rgb)
            assert all(gradients[k][7].abs().max() == 0 for k in PARAMETERS)
            for k in PARAMETERS:
                torch.testing.assert_close(gradients[k][others], true_gradients[k])


def test_turned_camera_is_found_again(cpu):
    """One degree off; gradient descent on the picture alone brings it under a hundredth."""
    scene, camera = random_scene(400, degree=1, seed=12, sigma=0.15), skewed_camera(61, 47)
    truth = POSE.float()
    target = cpu.render(scene, camera, truth).rgb
    start = turned((0.01, 0.01, -0.01), (0.01, -0.01, 0.01)).float() @ truth
    twist = torch.zeros(6, requires_grad=True)
    optimiser = torch.optim.Adam([twist], lr=2e-3)
    basis = torch.zeros(6, 4, 4)
    for axis, (i, j) in enumerate([(2, 1), (0, 2), (1, 0)]):
        basis[axis, i, j], basis[axis, j, i] = 1, -1
        basis[axis + 3, axis, 3] = 1
    for step in range(80):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / 80)
        pose = torch.linalg.matrix_exp((twist[:, None, None] * basis).sum(0)) @ start
        loss = (cpu.render(scene, camera, pose).rgb - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    off = (pose.detach() @ torch.linalg.inv(truth)).double().numpy()
    before = (start @ torch.linalg.inv(truth)).double().numpy()
    assert np.degrees(rotation_angle(before[:3, :3])) > 0.9
    assert np.degrees(rotation_angle(off[:3, :3])) < 0.02
