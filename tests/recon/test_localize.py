"""New photos placed against a finished run."""

import json
import shutil

import numpy as np
import pytest

from recon.camera_metrics import read_cameras
from recon.export.transforms import read_transforms, write_transforms
from recon.scene import View
from tests.conftest import SAMPLE, command

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def truth_in_run(tiny_run, tmp_path_factory):
    """True cameras in the run's own world, as a user with surveyed cameras would have them."""
    from recon.camera_metrics import score_cameras

    truth = read_cameras(SAMPLE / "truth" / "transforms.json")
    score = score_cameras(read_transforms(tiny_run / "run" / "export" / "transforms.json"), truth)
    run_from_true = score.true_from_world.inverse()
    path = tmp_path_factory.mktemp("truth") / "transforms.json"
    views = [
        View(v.name, v.camera, run_from_true.apply_to_camera(v.cam_from_world))
        for v in truth.values()
    ]
    write_transforms(path, views, "photos")
    return path


def test_a_folder_of_new_photos_is_placed(tiny_run, truth_in_run, tmp_path):
    (tmp_path / "new").mkdir()
    for name in ("photo_04.jpg", "photo_06.jpg"):
        shutil.copy(SAMPLE / "photos" / name, tmp_path / "new")
    other = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    from PIL import Image as PilImage

    PilImage.fromarray(other).save(tmp_path / "new" / "noise.png")
    with PilImage.open(SAMPLE / "photos" / "photo_08.jpg") as photo:  # on its side
        turned = photo.transpose(PilImage.Transpose.ROTATE_90)
    turned.save(tmp_path / "new" / "photo_08.jpg", quality=95)
    done = command(
        "recon", "localize", f"run={tiny_run / 'run'}", "image=new", "out=found", "height=120",
        f"cameras={truth_in_run}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "3 of 4 photos placed" in done.stdout
    assert "not placed: noise.png: " in done.stdout
    errors = json.loads((tmp_path / "found" / "errors.json").read_text())
    assert sorted(errors) == ["photo_04.jpg", "photo_06.jpg", "photo_08.jpg"]
    assert max(errors[f"photo_0{k}.jpg"]["rotation_deg"] for k in (4, 6)) < 1.0
    assert 89 < errors["photo_08.jpg"]["rotation_deg"] < 91  # the truth is as it was taken
    extent = np.ptp([v.cam_from_world.centre for v in read_cameras(truth_in_run).values()], axis=0)
    assert errors["photo_08.jpg"]["centre"] < 0.02 * np.linalg.norm(extent)
    assert (tmp_path / "found" / "photo_04_render.png").is_file()
    cameras = read_transforms(tmp_path / "found" / "transforms.json")
    assert len(cameras) == 3


def test_what_cannot_be_localized_is_said(tiny_run, tmp_path):
    shutil.copy(SAMPLE / "photos" / "photo_01.jpg", tmp_path / "same.jpg")
    for image, message in (("same.jpg", "is an input photo of this run"), ("no.jpg", "no.jpg")):
        done = command(
            "recon", "localize", f"run={tiny_run / 'run'}", f"image={image}", cwd=tmp_path
        )
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
