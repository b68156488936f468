"""The compiled renderer against the float64 reference."""

import numba
import pytest
import torch

from corr.geometry import Camera
from recon.splats.gaussians import Gaussians

from .scenes import (
    COSINE_FLOOR,
    GRADIENT_TOLERANCE,
    IMAGE_TOLERANCE,
    cosine,
    draw,
    random_scene,
    relative_error,
    skewed_camera,
    turned,
)

POSE = turned((0.05, -0.1, 0.08), (0.1, -0.2, 0.3))


def assert_same(fast, slow):
    (out, gradients), (truth, true_gradients) = fast, slow
    assert (out.rgb - truth.rgb).abs().max() <= IMAGE_TOLERANCE
    assert (out.alpha - truth.alpha).abs().max() <= IMAGE_TOLERANCE
    assert (out.depth - truth.depth).abs().max() <= IMAGE_TOLERANCE * truth.depth.abs().max()
    for name, gradient in true_gradients.items():
        assert relative_error(gradients[name], gradient) <= GRADIENT_TOLERANCE, name
        if gradient.norm() > 0:
            assert cosine(gradients[name], gradient) >= COSINE_FLOOR, name


@pytest.mark.parametrize(
    ("width", "height", "n", "degree", "sigma"),
    [
        (61, 45, 300, 3, 0.1),
        (33, 17, 40, 0, 0.2),
        (70, 41, 900, 1, 0.05),
        (23, 37, 120, 2, 0.3),
        (5, 90, 60, 1, 0.6),
        (1, 1, 20, 1, 0.5),
    ],
)
def test_picture_and_gradients_match_reference(cpu, reference, width, height, n, degree, sigma):
    scene = random_scene(n, degree=degree, seed=n, sigma=sigma)
    camera = skewed_camera(width, height)
    slow = draw(reference, scene, camera, POSE, dtype=torch.float64)
    assert_same(draw(cpu, scene, camera, POSE), slow)


def test_long_needles_match_reference(cpu, reference):
    scene = random_scene(150, degree=1, seed=5)
    scene.log_scales[:, 0] = 0.5
    scene.log_scales[:, 1:] = -6
    camera = skewed_camera(75, 59)
    slow = draw(reference, scene, camera, POSE, dtype=torch.float64)
    assert_same(draw(cpu, scene, camera, POSE), slow)


def test_opaque_stack_stops_where_reference_stops(cpu, reference):
    scene = random_scene(400, degree=0, seed=8, sigma=0.8)
    scene.logit_opacities[:] = scene.logit_opacities.abs() + 2
    camera = skewed_camera(37, 29)
    slow = draw(reference, scene, camera, POSE, dtype=torch.float64)
    assert slow[0].alpha.min() > 1 - 1e-4, "the scene must exercise the stop"
    assert_same(draw(cpu, scene, camera, POSE), slow)


def test_fewer_bands_match_reference_when_sh_degree_given(cpu, reference):
    scene, camera = random_scene(80, degree=3, seed=3), skewed_camera(31, 22)
    slow = draw(reference, scene, camera, POSE, dtype=torch.float64, sh_degree=1)
    fast = draw(cpu, scene, camera, POSE, sh_degree=1)
    assert_same(fast, slow)
    assert fast[1]["sh"][:, 4:].abs().max() == 0


def test_equal_depths_keep_index_order(cpu, reference):
    scene = random_scene(60, degree=0, seed=11, sigma=0.3)
    scene.means[:, 2] = 2.0
    camera, pose = skewed_camera(29, 21), torch.eye(4, dtype=torch.float64)
    slow = draw(reference, scene, camera, pose, dtype=torch.float64)
    assert_same(draw(cpu, scene, camera, pose), slow)


def test_bits_do_not_depend_on_threads(cpu, threads):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one core only")
    scene, camera = random_scene(3000, degree=1, seed=2), skewed_camera(125, 93)
    threads(1)
    out_1, gradients_1 = draw(cpu, scene, camera, POSE)
    threads(2)
    out_2, gradients_2 = draw(cpu, scene, camera, POSE)
    for name in ("rgb", "alpha", "depth", "radius_px"):
        assert torch.equal(getattr(out_1, name), getattr(out_2, name)), name
    for name, gradient in gradients_1.items():
        assert torch.equal(gradient, gradients_2[name]), name


def test_two_pictures_before_one_backward_keep_their_own_state(cpu):
    scene, camera = random_scene(100, degree=1, seed=4), skewed_camera(41, 30)
    means = scene.means.clone().requires_grad_()
    moved = Gaussians(**{**scene.tensors(), "means": means})
    other = turned((0.0, 0.1, 0.0))
    apart = []
    for pose in (POSE, other):
        (apart_gradient,) = torch.autograd.grad(cpu.render(moved, camera, pose).rgb.sum(), means)
        apart.append(apart_gradient)
    both = cpu.render(moved, camera, POSE).rgb.sum() + cpu.render(moved, camera, other).rgb.sum()
    (together,) = torch.autograd.grad(both, means)
    torch.testing.assert_close(together, apart[0] + apart[1])


def test_focal_edge_is_linearised_inside_margin(cpu, reference):
    """Wide splats beside a wide-angle camera: the clamped Jacobian and its gradient."""
    scene = random_scene(120, degree=0, seed=21, sigma=0.5)
    scene.means[:, 0] *= 3
    camera = Camera.simple(47, 35, 30.0)
    slow = draw(reference, scene, camera, POSE, dtype=torch.float64)
    assert_same(draw(cpu, scene, camera, POSE), slow)
