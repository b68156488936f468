import logging
import subprocess
import sys

import pytest
import torch

from corr.errors import UserError
from recon.render.select import renderer_for

from .scenes import (
    COSINE_FLOOR,
    draw,
    random_scene,
    relative_error,
    skewed_camera,
    turned,
)


def test_cpu_is_chosen_when_asked(caplog):
    with caplog.at_level(logging.INFO):
        assert renderer_for("cpu").name == "cpu"
    assert [r.message for r in caplog.records] == ["renderer: cpu (asked for)"]


def test_auto_falls_back_and_says_why(caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        assert renderer_for("auto").name == "cpu"
    assert "no CUDA device" in caplog.text


def test_cuda_is_refused_with_next_step_when_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device=cpu"):
        renderer_for("cuda")


def test_cuda_is_refused_when_gsplat_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        renderer_for("cuda")


def test_unknown_device_is_refused():
    with pytest.raises(UserError, match="must be auto, cpu or cuda, got tpu"):
        renderer_for("tpu")


def test_gsplat_is_not_imported_by_choosing():
    code = "import sys, recon.render.cuda, recon.render.select as s; s.renderer_for('auto');"
    code += "sys.exit('gsplat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
def test_cuda_matches_reference(reference):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("gsplat")
    scene, camera = random_scene(300, degree=2, seed=1), skewed_camera(61, 45)
    pose = turned((0.05, -0.1, 0.08), (0.1, -0.2, 0.3))
    out, gradients = draw(renderer_for("cuda"), scene, camera, pose, device="cuda")
    truth, true_gradients = draw(reference, scene, camera, pose, dtype=torch.float64)
    # T_MIN: gsplat stops a pixel one splat earlier. 1e-3 of the pixels may flip at the alpha cut.
    off = (out.rgb.cpu() - truth.rgb).abs().amax(-1)
    assert (off > 3e-4).double().mean() <= 1e-3
    assert off.max() <= 1 / 100
    for name, gradient in true_gradients.items():
        value = gradients[name]
        if name == "pose":  # entries off the rotations' tangent are a matter of parametrisation
            value, gradient = _tangent(value.double(), pose), _tangent(gradient, pose)
        assert relative_error(value, gradient) <= 1e-2, name
        cos = torch.nn.functional.cosine_similarity(value.double().ravel(), gradient.ravel(), dim=0)
        assert cos >= COSINE_FLOOR, name


@pytest.mark.gpu
def test_cuda_equals_reference_where_no_pixel_is_closed(reference):
    """Without T_MIN and ALPHA_MAX in play nothing but float32 tells the two apart."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("gsplat")
    scene, camera, pose = thin_scene()
    out, gradients = draw(renderer_for("cuda"), scene, camera, pose, device="cuda")
    truth, true_gradients = draw(reference, scene, camera, pose, dtype=torch.float64)
    assert (out.rgb.cpu() - truth.rgb).abs().max() <= 1e-4
    assert (out.alpha.cpu() - truth.alpha).abs().max() <= 1e-4
    assert (out.depth.cpu() - truth.depth).abs().max() <= 1e-4 * truth.depth.max()
    for name, gradient in true_gradients.items():
        value = gradients[name]
        if name == "pose":
            value, gradient = _tangent(value.double(), pose), _tangent(gradient, pose)
        assert relative_error(value, gradient) <= 1e-3, name


def test_thin_scene_closes_no_pixel_and_fills_the_picture(reference):
    scene, camera, pose = thin_scene()
    alpha = reference.render(scene.to(torch.float64), camera, pose).alpha
    assert alpha.max() < 0.999
    assert alpha.mean() > 0.3


def thin_scene():
    """Splats that let light through everywhere."""
    scene, camera = random_scene(150, degree=3, seed=4, sigma=0.2), skewed_camera(61, 45)
    scene.logit_opacities = scene.logit_opacities.clamp(max=1.0) - 2.0
    return scene, camera, turned((0.05, -0.1, 0.08), (0.1, -0.2, 0.3))


@pytest.mark.gpu
def test_cuda_draws_splats_from_the_host_and_brings_the_picture_back():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("gsplat")
    scene, camera = random_scene(300, degree=1, seed=1), skewed_camera(61, 45)
    pose = torch.as_tensor(turned((0.05, -0.1, 0.08), (0.1, -0.2, 0.3)), dtype=torch.float32)
    renderer = renderer_for("cuda")
    host = renderer.render(scene.to(torch.float32), camera, pose)
    there = renderer.render(scene.to(torch.float32).to("cuda"), camera, pose)
    for name in ("rgb", "alpha", "depth", "radius_px"):
        assert getattr(host, name).device.type == "cpu"
        assert torch.equal(getattr(host, name), getattr(there, name).cpu()), name


def _tangent(gradient, pose):
    """Gradient of a twist applied on the left of the pose."""
    twist = gradient[:3] @ pose[:3].T  # d/dG of tr(gradient^T G pose)
    full = gradient @ pose.T
    return torch.cat([(twist - twist.T).ravel(), full[:3, 3]])
