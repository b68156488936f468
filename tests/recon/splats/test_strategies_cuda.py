"""The training on a GPU, with each strategy, on photos of made-up splats; no compiled kernels."""

import math

import numpy as np
import pytest
import torch

from corr.geometry import Camera, Rigid3
from recon.render.select import renderer_for
from recon.scene import View
from recon.splats.gaussians import Gaussians
from recon.splats.losses import Target, photometric_loss, photometric_loss_reference
from recon.splats.optimiser import Optimiser
from recon.splats.seeds import Seeds
from recon.splats.several import Work, train_together
from recon.splats.training import Loop

pytestmark = pytest.mark.gpu
SIZE = (123, 93)  # not divisible by eight
N = 400


@pytest.fixture(scope="module")
def renderer():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("gsplat")
    return renderer_for("cuda")


def cloud(seed: int) -> Gaussians:
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=gen)

    return Gaussians(
        normal(N, 3) * torch.tensor([1.0, 0.8, 0.5]) + torch.tensor([0.0, 0.0, 4.0]),
        normal(N, 3) * 0.3 + math.log(0.12),
        normal(N, 4),
        normal(N) + 1.0,
        normal(N, 4, 3) * torch.tensor([1.0, 0.1, 0.1, 0.1])[:, None],
    )


@pytest.fixture(scope="module")
def scene(renderer) -> tuple[Seeds, tuple[View, ...], dict[str, np.ndarray]]:
    """Seeds that are half of the true splats, four views and their photos."""
    camera = Camera.simple(*SIZE, 110.0)
    shifts = [(-0.6, 0.0), (-0.2, 0.1), (0.2, -0.1), (0.6, 0.0)]
    views = tuple(
        View(f"v{i}", camera, Rigid3(np.eye(3), np.array([-x, -y, 0.0])))
        for i, (x, y) in enumerate(shifts)
    )
    true = cloud(0)
    pictures = {}
    for view in views:
        pose = torch.tensor(view.cam_from_world.matrix, dtype=torch.float32)
        rgb = renderer.render(true, camera, pose).rgb.clamp(0, 1)
        pictures[view.name] = np.round(rgb.numpy() * 255).astype(np.uint8)
    half = true.select(torch.arange(0, N, 2))
    seeds = Seeds(half, np.ones(len(half), np.float32), np.ones((4, 3)), {})
    return seeds, views, pictures


def trained(scene, renderer, **options) -> Loop:
    small = {"iterations": 60, "coarse_share": 0.0, "stop_view": False, "pose_px": 0.0,
             "exposure_rate": 0.0, "random_background": False}  # fmt: skip
    seeds, views, pictures = scene
    device = torch.device("cuda")
    loop = Loop(Optimiser(**{**small, **options}), seeds, views, pictures, {}, renderer, device, 0)
    while loop.step < loop.end:
        loop.advance()
    return loop


def psnr_gain(loop: Loop) -> float:
    """Of the last twenty steps over the first; every step sees another photo."""
    first, last = loop.history[:2], loop.history[-2:]
    return np.mean([h["psnr_train"] for h in last]) - np.mean([h["psnr_train"] for h in first])


def test_edgs_learns_and_keeps_its_splats(scene, renderer):
    loop = trained(scene, renderer, sh_degree=3, sh_every=20)
    assert psnr_gain(loop) > 0.2  # 0.7 dB on a CPU
    assert len(loop.splats) <= N // 2
    fitted = loop.result()
    assert fitted.gaussians.means.device.type == "cpu"
    assert fitted.gaussians.sh_degree == 3
    assert bool(fitted.gaussians.is_finite().all())


def test_densify_grows_where_splats_are_missing(scene, renderer):
    loop = trained(scene, renderer, strategy="densify")
    assert len(loop.splats) > N // 2
    assert bool(loop.splats.gaussians().is_finite().all())


def test_mcmc_grows_to_its_cap_and_no_further(scene, renderer):
    loop = trained(scene, renderer, strategy="mcmc", max_splats=N // 2 + 30)
    assert len(loop.splats) == N // 2 + 30
    assert bool(loop.splats.gaussians().is_finite().all())


def test_poses_and_exposures_move_on_a_gpu(scene, renderer):
    loop = trained(scene, renderer, pose_px=0.05, exposure_rate=0.01)
    assert float(loop.corrections.twist_px.detach().abs().max()) > 0
    assert float(loop.corrections.log_gains.detach().abs().max()) > 0


def test_run_is_continued_with_grown_splats(scene, renderer, tmp_path):
    seeds, views, pictures = scene
    options = Optimiser(strategy="densify", iterations=60, coarse_share=0.0, stop_view=False,
                        checkpoint_every=25)  # fmt: skip
    device = torch.device("cuda")
    first = Loop(options, seeds, views, pictures, {}, renderer, device, 0)
    while first.step < 50:
        first.advance()
    first._save(tmp_path / "checkpoint.pt")
    fitted = options.fit(seeds, views, pictures, {}, renderer, tmp_path, 0)
    assert len(fitted.gaussians) > N // 2
    assert fitted.history[-1]["iteration"] == 60


@pytest.mark.parametrize("strategy", ["edgs", "densify", "mcmc"])
def test_processes_of_their_own_train_like_one_loop(scene, renderer, tmp_path, strategy):
    """As many as there are GPUs; rounding of the GPU's own sums is all that differs."""
    seeds, views, pictures = scene
    gpus = min(2, torch.cuda.device_count())
    options = Optimiser(strategy=strategy, iterations=60, coarse_share=0.0, stop_view=False,
                        batch=2)  # fmt: skip
    alone = options.fit(seeds, views, pictures, {}, renderer, tmp_path, 0)
    work = Work(options, seeds, views, pictures, {}, renderer, tmp_path, 0)
    together = train_together(work, gpus)
    assert len(together.gaussians) == pytest.approx(len(alone.gaussians), rel=0.05)
    for mine, others in zip(together.history, alone.history, strict=True):
        assert mine["psnr_train"] == pytest.approx(others["psnr_train"], abs=0.2)


def test_splat_that_is_not_finite_is_not_drawn_and_spoils_nothing(scene, renderer):
    seeds, views, _ = scene
    good = seeds.gaussians.to("cuda")
    pose = torch.tensor(views[0].cam_from_world.matrix, dtype=torch.float32, device="cuda")
    without = good.select(torch.arange(3, len(good), device="cuda"))
    wanted = renderer.render(without, views[0].camera, pose).rgb
    broken = good.detached()
    broken.means[0, 1] = float("nan")
    broken.log_scales[1] = float("inf")
    broken.sh[2, 3, 1] = float("nan")
    leaves = {k: v.requires_grad_() for k, v in broken.tensors().items()}
    drawn = renderer.render(Gaussians(**leaves), views[0].camera, pose)
    assert torch.equal(drawn.rgb, wanted)
    assert float(drawn.radius_px[:3].abs().max()) == 0
    drawn.rgb.sum().backward()
    for name, leaf in leaves.items():
        assert bool(torch.isfinite(leaf.grad[3:]).all()), name


def test_loss_on_a_gpu_equals_the_reference():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    gen = torch.Generator().manual_seed(0)
    photo = torch.rand(45, 61, 3, generator=gen)
    render = (photo + 0.1 * torch.randn(45, 61, 3, generator=gen)).cuda().requires_grad_()
    value = photometric_loss(render, Target(photo.cuda()))
    value.backward()
    slow = render.detach().cpu().double().requires_grad_()
    wanted = photometric_loss_reference(slow, Target(photo))
    wanted.backward()
    assert float(value) == pytest.approx(float(wanted), abs=1e-5)
    assert (render.grad.cpu() - slow.grad).abs().max() < 1e-4 * slow.grad.abs().max()
