"""Steps of several photos, by one process and by several: CPU processes stand for the GPUs."""

import logging
import math

import numpy as np
import pytest
import torch

from corr.errors import UserError
from recon.held_out import draw
from recon.image_metrics import psnr
from recon.render.base import Renderer
from recon.render.cpu.renderer import CpuRenderer
from recon.render.select import check_gpus
from recon.splats.batch import betas, per_batch, with_batch
from recon.splats.optimiser import Optimiser
from recon.splats.several import Work, train_together
from recon.splats.training import train
from tests.recon import scenes

TINY = {"iterations": 60, "max_side": 61, "stop_view": False, "checkpoint_every": 20, "batch": 2}
GREY = np.full(3, 0.5, np.float32)  # behind the splats


class Breaks(Renderer):
    """The CPU renderer; fails when it has drawn enough. A spawned process finds it by name."""

    name = "cpu"

    def __init__(self, after):
        self.left = after

    def render(self, gaussians, camera, cam_from_world, *, background=None, sh_degree=None):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the power went out")
        return CpuRenderer().render(
            gaussians, camera, cam_from_world, background=background, sh_degree=sh_degree
        )


def work(folder, renderer=None, **options):
    true = scenes.scene()
    folder.mkdir(exist_ok=True)
    return Work(
        Optimiser(**{**TINY, **options}), scenes.seeds(), true.reconstruction.views, true.pictures,
        {}, renderer or CpuRenderer(), folder, 0,
    )  # fmt: skip


def alone(w):
    return train(w.options, w.seeds, w.views, w.pictures, w.masks, w.renderer, w.folder, w.seed)


def same(a, b):
    pairs = zip(a.gaussians.tensors().values(), b.gaussians.tensors().values(), strict=True)
    poses = all(
        np.array_equal(x.cam_from_world.matrix, y.cam_from_world.matrix)
        for x, y in zip(a.views, b.views, strict=True)
    )
    return all(torch.equal(x, y) for x, y in pairs) and poses and np.array_equal(a.gains, b.gains)


def mean_psnr(gaussians, views):
    renderer, true = CpuRenderer(), scenes.scene()
    pictures = [draw(gaussians, v, renderer, background=GREY) for v in views]
    return np.mean([psnr(p, true.pictures[v.name]) for p, v in zip(pictures, views, strict=True)])


def test_batch_shows_as_many_photos_by_fewer_and_larger_steps():
    whole = Optimiser(iterations=900, stop_every=100, sh_every=1000, checkpoint_every=200)
    four = per_batch(Optimiser(iterations=900, stop_every=100, sh_every=1000, batch=4))
    assert (four.iterations, four.stop_every, four.sh_every) == (225, 25, 250)
    for name in ("position_px", "colour_rate", "opacity_rate", "pose_px", "exposure_rate"):
        assert getattr(four, name) == pytest.approx(2 * getattr(whole, name))
    assert betas(four) == pytest.approx((0.9**4, 0.999**4))
    assert four.decay_total == whole.decay_total  # is of the whole run
    one = per_batch(whole)
    assert (one.iterations, one.position_px, betas(one)) == (900, whole.position_px, (0.9, 0.999))


def test_batch_is_one_photo_per_gpu_unless_it_is_given():
    assert with_batch(Optimiser(), 4).batch == 4
    assert with_batch(Optimiser(batch=8), 4).batch == 8
    with pytest.raises(UserError, match=r"batch=3.*gpus=2.*multiple of 2"):
        with_batch(Optimiser(batch=3), 2)
    with pytest.raises(ValueError, match=r"optimiser\.batch must be 0 or more"):
        Optimiser(batch=-1)


def test_gpus_that_are_not_there_are_refused():
    check_gpus(1, CpuRenderer())
    with pytest.raises(UserError, match="gpus=2 needs CUDA"):
        check_gpus(2, CpuRenderer())
    pretender = CpuRenderer()
    pretender.name = "cuda"
    more = torch.cuda.device_count() + 2
    with pytest.raises(UserError, match=f"gpus={more}, but torch sees {more - 2}"):
        check_gpus(more, pretender)


def test_batches_learn(tmp_path):
    w = work(tmp_path / "a", batch=4, iterations=80)
    fitted = alone(w)
    assert len(fitted.history) == math.ceil(80 / 4) // 10
    gain = mean_psnr(fitted.gaussians, fitted.views) - mean_psnr(w.seeds.gaussians, w.views)
    assert gain > 1.0


STOPS = {"stop_view": True, "stop_min_views": 3, "stop_every": 20}


def test_two_processes_train_as_one_does(tmp_path):
    expected = alone(work(tmp_path / "one", **STOPS))
    two = tmp_path / "two #2"  # no name of a folder may get in the way
    fitted = train_together(work(two, **STOPS), 2, "cpu")
    assert same(fitted, expected)
    assert [h["psnr_stop"] for h in fitted.history] == [h["psnr_stop"] for h in expected.history]
    assert list(two.iterdir()) == []


@pytest.mark.slow
def test_two_processes_go_on_after_one_failed(tmp_path, caplog):
    options = STOPS
    expected = alone(work(tmp_path / "one", **options))
    two = tmp_path / "two"
    broken = work(two, Breaks(after=25), **options)
    with pytest.raises(Exception, match="the power went out"):
        train_together(broken, 2, "cpu")
    assert (broken.folder / "checkpoint.pt").exists()

    with caplog.at_level(logging.INFO):
        fitted = train_together(work(two, **options), 2, "cpu")
    assert same(fitted, expected)
    said = [r.getMessage() for r in caplog.records]
    assert said.count("optimise: continuing at step 20") == 1  # of the first process alone
    assert list(broken.folder.iterdir()) == []
