"""Regression floors on real photos; the measured errors are about half of what is asked here."""

import pytest

from corr.matchers.xfeat import XFeatStar
from corr.pairs import choose_pairs
from corr.photo_input import list_photos, prepare_photos
from recon.camera_metrics import read_cameras, score_cameras
from recon.poses.solve import PoseSolver
from tests.conftest import SAMPLE

pytestmark = [pytest.mark.slow, pytest.mark.weights]


def solved(source, names, folder):
    images = prepare_photos(source, folder / "photos", max_side=1024, names=names).images
    matches = dict(XFeatStar().match_pairs(images, choose_pairs(images)))
    return PoseSolver().solve(images, matches, folder / "cameras")


@pytest.mark.data
@pytest.mark.parametrize(("step", "count"), [(6, 9), (12, 5)])
def test_fox_is_placed_without_known_intrinsics(step, count, data_dir, tmp_path):
    source = data_dir / "photos" / "fox"
    names = [p.name for p in list_photos(source / "images")][::step]
    result = solved(source / "images", names, tmp_path)
    assert len(result.views) == count
    score = score_cameras(result.views, read_cameras(source))
    assert score.median_rotation_deg < 0.5
    assert score.median_centre_percent < 0.4


def test_sample_scene_is_placed(tmp_path):
    held = set((SAMPLE / "truth" / "held_out.txt").read_text().split())
    names = [p.name for p in list_photos(SAMPLE / "photos") if p.name not in held]
    result = solved(SAMPLE / "photos", names, tmp_path)
    assert len(result.views) == len(names)
    score = score_cameras(result.views, read_cameras(SAMPLE / "truth"))
    assert score.median_rotation_deg < 0.1
    assert score.median_centre_percent < 0.1
