"""Every wrong input gets its one line and exit status 1, and leaves nothing that looks finished."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SAMPLE, TINY, command

PHOTOS = SAMPLE / "photos"


def refuse(folder: Path, *arguments: str) -> str:
    done = command("recon", "run", *arguments, *TINY, cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("recon run: "), done.stderr
    return line


def photos(folder: Path, *names: str) -> Path:
    target = folder / "set"
    target.mkdir()
    for name in names:
        shutil.copy(PHOTOS / name, target / name)
    return target


def test_missing_folder(tmp_path):
    assert "nowhere" in refuse(tmp_path, "scene.images=nowhere")


def test_empty_folder(tmp_path):
    (tmp_path / "set").mkdir()
    assert "no photos" in refuse(tmp_path, "scene.images=set")


def test_one_photo(tmp_path):
    photos(tmp_path, "photo_01.jpg")
    line = refuse(tmp_path, "scene.images=set")
    assert "1" in line
    assert "2" in line


def test_two_identical_photos(tmp_path):
    folder = photos(tmp_path, "photo_01.jpg")
    shutil.copy(folder / "photo_01.jpg", folder / "copy.jpg")
    assert "copy" in refuse(tmp_path, "scene.images=set")


def test_text_file_named_jpg(tmp_path):
    folder = photos(tmp_path, "photo_01.jpg")
    (folder / "notes.jpg").write_text("these are no pixels")
    assert "notes.jpg" in refuse(tmp_path, "scene.images=set")


def test_photos_without_texture(tmp_path):
    (tmp_path / "set").mkdir()
    for i in range(3):
        grey = np.full((240, 320, 3), 120 + 5 * i, np.uint8)
        Image.fromarray(grey).save(tmp_path / "set" / f"wall_{i}.png")
    assert "texture" in refuse(tmp_path, "scene.images=set")


def test_photos_of_different_things(tmp_path):
    rng = np.random.default_rng(0)
    folder = photos(tmp_path, "photo_01.jpg")
    noise = np.kron(rng.integers(0, 255, (60, 80, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    Image.fromarray(noise).save(folder / "other.png")
    line = refuse(tmp_path, "scene.images=set")
    assert "match" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_write_permission_as_a_user(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot write to" in refuse(tmp_path, "out=closed/run")


def test_result_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot write to file/run" in refuse(tmp_path, "out=file/run")


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("optimiser.iterations=0", "optimiser.iterations must be positive, got 0"),
        ("scene.frames=1", "scene.frames must be 2 or more, got 1"),
        ("device=tpu", "device must be one of auto, cpu, cuda, got tpu"),
        ("scene.use=every:x", "scene.use must be every:N"),
        ("scene.cameras=nowhere.json", "nowhere.json"),
        ("scene.surface=nowhere.ply", "nowhere.ply"),
        (f"scene.surface={SAMPLE / 'README.md'}", "is no PLY of points"),
    ],
)
def test_bad_option_value(tmp_path, argument, part):
    done = command("recon", "run", *[a for a in TINY if a.split("=")[0] != argument.split("=")[0]],
                   argument, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert part in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "outputs").exists()


@pytest.mark.weights
def test_photo_of_something_else_is_left_out_with_a_reason(tmp_path):
    from recon.report.metrics import Metrics

    folder = photos(tmp_path, "photo_01.jpg", "photo_02.jpg", "photo_04.jpg")
    rng = np.random.default_rng(1)
    blobs = np.kron(rng.integers(0, 255, (30, 40, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    Image.fromarray(blobs).save(folder / "stranger.png")
    (folder / "broken.jpg").write_text("these are no pixels")
    done = command("recon", "run", "scene.images=set", "out=run", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "3 of 5 photos placed" in done.stdout
    reasons = Metrics.read(tmp_path / "run").photos.left_out
    assert set(reasons) == {"stranger.png", "broken.jpg"}
    assert "match" in reasons["stranger.png"]
    report = (tmp_path / "run" / "report.html").read_text()
    assert "stranger.png" in report


def test_growing_splats_without_a_gpu_is_refused_before_photos_are_read(tmp_path):
    line = refuse(tmp_path, "optimiser.strategy=densify", "device=cpu", "out=run")
    assert "optimiser.strategy=densify is gsplat's and needs CUDA" in line
    assert not (tmp_path / "run" / "0_photos").exists()
