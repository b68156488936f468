"""Registering a photo on the picture itself; the rest of held-out scoring runs end to end."""

import numpy as np
import pytest

from recon.held_out import PhotoScore, draw, refine_pose, save_picture, summarise
from recon.render.cpu.renderer import CpuRenderer
from tests.recon import scenes

START_PX = 2.0  # what 2D-3D matches leave at worst
END_PX = 0.3  # below what PSNR at this size can tell
GREY = np.full(3, 0.5, np.float32)  # behind the splats


def moved_px(a, b):
    """Median displacement of the surface's picture between two poses of one camera."""
    xyz = scenes.trace(a)[2][::6, ::6].reshape(-1, 3)
    first, _ = a.camera.project(a.cam_from_world.apply(xyz))
    second, _ = b.camera.project(b.cam_from_world.apply(xyz))
    return np.median(np.linalg.norm(first - second, axis=1))


@pytest.fixture(scope="module")
def view():
    return scenes.scene().reconstruction.views[2]


@pytest.fixture(scope="module")
def photo(view):
    return draw(scenes.seeds().gaussians, view, CpuRenderer(), background=GREY)


def perturbed(view, kind):
    f = view.camera.K[0, 0]
    vector = {"turn": [1.5 / f, -1.3 / f, 0.01], "shift": [0, 0, 0]}[kind]
    shift = {"turn": [0, 0, 0], "shift": [-1.6 * 4 / f, 1.2 * 4 / f, 0.02]}[kind]
    return scenes.shifted(view, np.array(vector), np.array(shift))


@pytest.mark.parametrize("kind", ["turn", "shift"])
def test_refined_pose_returns_from_two_pixels_to_a_third(view, photo, kind):
    start = perturbed(view, kind)
    assert moved_px(view, start) == pytest.approx(START_PX, abs=0.5)
    mask = np.ones(photo.shape[:2], bool)
    found, size = refine_pose(start, photo, mask, scenes.seeds().gaussians, CpuRenderer(), GREY)
    assert moved_px(view, found) < END_PX
    assert size > 1.0
    assert found.name == view.name


def test_brightness_does_not_pull_the_pose_and_masked_pixels_have_no_say(view, photo):
    spoilt = photo * np.array([0.8, 0.75, 0.85])
    mask = np.ones(photo.shape[:2], bool)
    mask[:, 80:] = False
    spoilt[:, 80:] = photo[:, 76:-4]  # what the mask hides says: four pixels to the side
    start = perturbed(view, "turn")
    found, _ = refine_pose(start, spoilt, mask, scenes.seeds().gaussians, CpuRenderer(), GREY)
    assert moved_px(view, found) < END_PX


def test_true_pose_stays(view, photo):
    mask = np.ones(photo.shape[:2], bool)
    found, size = refine_pose(view, photo, mask, scenes.seeds().gaussians, CpuRenderer(), GREY)
    assert moved_px(view, found) < 0.05
    assert size < 0.1


def test_pooled_psnr_is_of_the_mean_error():
    def score(psnr):
        return PhotoScore("a", psnr, psnr + 1, 0.5, 10 ** (-psnr / 10), 61, 45, 30, 0.1)

    mean = summarise([score(20.0), score(30.0)])
    assert mean["psnr"] == pytest.approx(25.0)
    assert mean["psnr_corrected"] == pytest.approx(26.0)
    assert mean["psnr_pooled"] == pytest.approx(-10 * np.log10((0.01 + 0.001) / 2))


def test_pictures_are_clipped_and_rounded(tmp_path):
    from PIL import Image

    rgb = np.zeros((9, 11, 3))
    rgb[0, :3] = [-1.0, 0.5, 2.0]
    save_picture(tmp_path / "a.png", rgb)
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, 0].tolist() == [0, 128, 255]
