"""`python -m recon features` on a finished run of the sample, and what it refuses."""

import json

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image as PilImage

from corr.errors import UserError
from corr.options import extractors
from recon.colmap_io import read_colmap
from recon.options_features import FeaturesOptions, register_features
from recon.semantic.field import load_field
from registration.files import read_cloud
from tests.conftest import ROOT, command

FAST = ["features=xfeat", "features.long_side=160", "iterations=30", "max_points=900"]


@pytest.mark.weights
def test_click_in_a_run_lands_at_the_same_place_of_that_run(tiny_run):
    """The other run is the run itself: the truth is the clicked place."""
    words = ["recon", "features", "run=run", "other=run", "photo=photo_01.jpg", "pixel=150:130",
             "out=clicked", *FAST]  # fmt: skip
    done = command(*words, cwd=tiny_run)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "points described, by" in done.stdout
    assert "an order of trust, no probability" in done.stdout
    made = {p.name for p in (tiny_run / "clicked").iterdir()}
    assert made == {"features.npz", "features.json", "other_features.npz", "transfer.json",
                    "transfer.jpg"}  # fmt: skip
    field = load_field(tiny_run / "clicked" / "features.npz")
    landing = json.loads((tiny_run / "clicked" / "transfer.json").read_text())
    assert np.linalg.norm(np.subtract(landing["xyz"], landing["from"])) < 2 * field.radius
    view = next(v for v in read_colmap(tiny_run / "run" / "export" / "sparse" / "0").views
                if v.name == "photo_01.jpg.png")  # fmt: skip
    uv, _ = view.camera.project(view.cam_from_world.apply(np.array([landing["from"]])))
    np.testing.assert_allclose(uv, [[150, 130]], atol=0.01)
    with PilImage.open(tiny_run / "clicked" / "transfer.jpg") as picture:
        assert picture.height == 360
        assert picture.width > 3 * 360
    cloud = read_cloud(tiny_run / "clicked" / "features.npz")
    assert cloud.features.shape == (len(cloud.keypoints), 64)
    facts = json.loads((tiny_run / "clicked" / "features.json").read_text())
    assert facts["described"] == len(cloud.keypoints) > 200


@pytest.mark.weights
def test_photo_pixel_and_run_that_are_not_there_are_named(tiny_run):
    from recon.semantic.run import features

    def given(**changes) -> FeaturesOptions:
        kind = extractors()["xfeat"](long_side=96)
        base = {"run": str(tiny_run / "run"), "features": kind, "iterations": 0, "on": "splats"}
        return FeaturesOptions(**{**base, **changes})

    other = {"other": str(tiny_run / "run")}
    with pytest.raises(UserError, match=r"photo=x.jpg is none of the run's placed photos: photo"):
        features(given(photo="x.jpg", pixel="3:3", **other))
    with pytest.raises(UserError, match=r"pixel=9999:3 lies outside of photo_01.jpg.png \("):
        features(given(photo="photo_01.jpg", pixel="9999:3", **other))
    with pytest.raises(UserError, match="holds no finished run"):
        features(given(run=str(tiny_run / "nothing")))
    with pytest.raises(UserError, match=r"run: no point is seen and agreed upon by 99 views"):
        features(given(min_views=99))
    assert not (tiny_run / "run" / "features" / "features.npz").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on": "mesh"}, "on must be one of points, splats, got mesh"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, got tpu"),
        ({"max_points": 9}, "max_points must be 50 or more, got 9"),
        ({"min_views": 0}, "min_views must be 1 or more"),
        ({"point": "1:2", "other": "b"}, "point must be 3 numbers x:y:z, got 1:2"),
        ({"photo": "a", "pixel": "u", "other": "b"}, "pixel must be 2 numbers u:v, got u"),
        ({"photo": "a", "other": "b"}, "a click needs both photo=<name> and pixel=u:v"),
        ({"point": "1:2:3", "photo": "a", "pixel": "1:2", "other": "b"}, "not both"),
        ({"point": "1:2:3"}, "to carry a place over give other=<run>"),
        ({"other": "b"}, "to carry a place over give other=<run>"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FeaturesOptions(run="a", **changes)


@pytest.mark.parametrize("name", extractors())
def test_every_kind_of_features_composes(name):
    GlobalHydra.instance().clear()
    register_features()
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        config = compose("recon_features", [f"features={name}", "run=a"])
    made = OmegaConf.to_object(config)
    assert type(made.features) is extractors()[name]


def test_command_line_refuses_in_one_line(tmp_path):
    done = command("recon", "features", "run=nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "recon features: nowhere holds no finished run" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
