"""`corr match` from end to end on small photos, and every way of asking for it wrongly."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image as PilImage

from corr.cli import _named
from corr.errors import UserError
from corr.match_command import match
from corr.match_files import write_colmap_text
from corr.match_pictures import GREEN, RED, matches_picture
from corr.matchers.dedode import DeDoDe
from corr.matchers.disk import DiskLightGlue
from corr.matchers.loftr import Loftr
from corr.matchers.sift import Sift
from corr.matches import Matches
from corr.options_match import MatchOptions
from corr.photo_files import unique_names
from tests.conftest import command
from tests.corr.test_matchers import apply, homography, warp


@pytest.fixture
def folder(tmp_path, texture):
    """Three photos of a plane in a folder, and nothing else."""
    rgb = texture(471, 313)
    (tmp_path / "photos").mkdir()
    for name, picture in (("a", rgb), ("b", warp(rgb, homography())), ("c", rgb[20:, 30:])):
        PilImage.fromarray(picture).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


def run(photos, out, **changes) -> tuple[str, dict]:
    options = MatchOptions([str(p) for p in photos], Sift(), out=str(out), **changes)
    return match(options), json.loads((out / "matches.json").read_text())


def test_two_photos_give_matches_geometry_picture_and_files(folder, tmp_path):
    out = tmp_path / "out"
    text, record = run([folder / "a.png", folder / "b.png"], out, focal_px=500.0)
    (pair,) = record["pairs"]
    found = Matches.load(out / pair["file"])
    assert len(found) == pair["matches"] > 200
    assert np.median(np.linalg.norm(apply(homography(), found.uv_a) - found.uv_b, axis=1)) < 0.5
    assert pair["inliers"] == len(pair["inlier_rows"]) > 0.8 * len(found)
    assert np.array(pair["b_from_a"]).shape == (4, 4)
    assert pair["focal_known"] is True
    assert "guessed" not in text
    assert pair["verified"] is True
    assert "may be chance" not in text
    assert f"a.png b.png: {len(found)} matches, {pair['inliers']} fit one rigid scene" in text
    (picture,) = (out / "pictures").iterdir()
    with PilImage.open(picture) as file:
        assert file.height == 480
    keypoints = (out / "colmap" / "a.png.txt").read_text().splitlines()
    assert keypoints[0] == f"{len(keypoints) - 1} 128"
    rows = (out / "colmap" / "matches.txt").read_text().splitlines()
    assert rows[0] == "a.png b.png"
    i, j = map(int, rows[1].split())
    best = int(np.argmax(found.score))
    assert keypoints[1 + i].split()[:2] == [f"{v:.4f}" for v in found.uv_a[best]]
    assert (i, j) == (0, 0)


def test_matches_of_unrelated_photos_are_not_called_a_scene(texture, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        PilImage.fromarray(texture(471, 313, seed=seed)).save(tmp_path / f"{name}.png")
    text, record = run([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out", focal_px=500.0)
    (pair,) = record["pairs"]
    assert pair["inliers"] < pair["needed"]
    assert pair["verified"] is False
    assert "may be chance" in text
    assert "turned by" not in text


def test_folder_gives_every_pair_and_a_second_run_computes_nothing(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    text, record = run([folder], out, pictures=False)
    assert [(p["a"], p["b"]) for p in record["pairs"]] == [
        ("a.png", "b.png"), ("a.png", "c.png"), ("b.png", "c.png")
    ]  # fmt: skip
    assert "the focal length was guessed" in text
    assert not (out / "pictures").exists()
    monkeypatch.setattr(Sift, "_describe", lambda *_: pytest.fail("described again"))
    assert run([folder], out, pictures=False) == (text, record)


def left_masked(masks, name):
    """A folder with a mask that hides the left 200 px of a photo."""
    masks.mkdir()
    mask = np.full((313, 471), 255, np.uint8)
    mask[:, :200] = 0
    PilImage.fromarray(mask).save(masks / name)
    return masks


def test_masked_places_are_left_out(folder, tmp_path):
    masks = left_masked(tmp_path / "masks", "a.png")
    out = tmp_path / "out"
    _, record = run([folder / "a.png", folder / "b.png"], out, masks=str(masks))
    found = Matches.load(out / record["pairs"][0]["file"])
    assert len(found) > 50
    assert (found.uv_a[:, 0] >= 200).all()


def test_photos_of_one_name_are_told_apart_by_their_folders(folder, tmp_path):
    """In results, files and masks."""
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "a.png"
    (folder / "b.png").rename(twin)
    masks = left_masked(tmp_path / "masks", "other_a.png")
    out = tmp_path / "out"
    text, record = run([folder / "a.png", twin], out, masks=str(masks))
    assert record["photos"] == ["photos_a.png", "other_a.png"]
    assert "photos_a.png other_a.png: " in text
    assert {f.name for f in (out / "colmap").iterdir()} == {
        "photos_a.png.txt", "other_a.png.txt", "matches.txt"
    }  # fmt: skip
    found = Matches.load(out / record["pairs"][0]["file"])
    assert len(found) > 50
    assert np.median(np.linalg.norm(apply(homography(), found.uv_a) - found.uv_b, axis=1)) < 0.5
    assert (found.uv_b[:, 0] >= 200).all()


def test_names_are_unique_and_no_longer_than_needed(tmp_path):
    def names(*paths):
        return unique_names([tmp_path / p for p in paths])

    assert names("x/a.jpg", "y/b.jpg") == ["a.jpg", "b.jpg"]
    assert names("x/a.jpg", "y/a.jpg", "y/b.jpg") == ["x_a.jpg", "y_a.jpg", "b.jpg"]
    assert names("p/x/a.jpg", "q/x/a.jpg") == ["p_x_a.jpg", "q_x_a.jpg"]
    assert len(set(names("x/a.jpg", "y/a.jpg", "y/x_a.jpg"))) == 3
    assert len(set(names("x_y/a.jpg", "x/y_a.jpg", "z/a.jpg", "z/y_a.jpg"))) == 4


def test_missing_weights_are_told_before_photos_are_prepared(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        "corr.match_command.prepare_files", lambda *_, **__: pytest.fail("photos were prepared")
    )
    photos = [str(folder / "a.png"), str(folder / "b.png")]
    for matcher in (Loftr(), DeDoDe(), DiskLightGlue(weights="no.pth")):
        options = MatchOptions(photos, matcher, out=str(tmp_path / "out"))
        with pytest.raises(UserError, match=r"weights (were not found|file no\.pth does)"):
            match(options)


def test_what_cannot_be_matched_is_one_line(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for photos, message in (
        ([folder / "a.png"], "two photos or a folder are needed, got .*a.png"),
        ([folder / "a.png", folder / "z.png"], "z.png does not exist"),
        ([folder / "a.png", folder], "photos is a folder; give it alone"),
        ([folder / "a.png", folder / "a.png"], "a.png was given twice; give two different"),
        ([folder / "a.png", tmp_path / "notes.txt"], "notes.txt is neither a photo"),
        ([], "two photos or a folder are needed, got nothing"),
    ):
        with pytest.raises(UserError, match=message):
            run(photos, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": "magic"}, "estimator must be one of poselib, pycolmap, opencv, got magic"),
        ({"max_error": 0.0}, "max_error must be positive, got 0"),
        ({"focal_px": -1.0}, "focal_px must be 0 or more, got -1"),
        ({"max_side": 8}, "max_side must be at least 64, got 8"),
        ({"max_pairs": -1}, "max_pairs must be 0 or more, got -1"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MatchOptions(**changes)


def test_arguments_without_a_key_are_the_photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=1.jpg").write_bytes(b"")
    arguments = ["a b.jpg", "seed=3", "it's.jpg", "x=1.jpg", "--cfg", "job"]
    assert _named(arguments, "photos") == [
        r"photos=['a b.jpg','it\'s.jpg','x=1.jpg']", "seed=3", "--cfg", "job"
    ]  # fmt: skip
    assert _named(["seed=3", "--help"], "photos") == ["seed=3", "--help"]
    assert _named(["a.jpg"], "") == ["a.jpg"]


def test_command_line_takes_odd_names(folder, tmp_path):
    odd = folder / "it's [1], x=2.png"
    (folder / "a.png").rename(odd)
    done = command("corr", "match", odd, folder / "b.png", "matcher=sift", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"x=2\.png b\.png: \d+ matches, \d+ fit one rigid scene", done.stdout)
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "outputs" / "match").iterdir())


def test_picture_draws_what_fits_green_and_what_does_not_red():
    white = np.full((100, 80, 3), 255, np.uint8)
    uv = np.array([[20.0, 25.0], [60.0, 75.0]])
    picture = matches_picture(white, white, uv, uv, np.ones(2), np.array([True, False]), height=200)
    assert picture.shape == (200, 2 * 160 + 12, 3)
    near = [picture[int(2 * v), int(2 * u)].astype(int) for u, v in uv]
    for shown, colour in zip(near, (GREEN, RED), strict=True):
        assert np.argmin(np.abs(shown - 255)) == np.argmax(colour)
    assert not np.array_equal(near[0], near[1])


def test_colmap_files_number_a_point_once(tmp_path):
    ids = np.array([4, 9])
    places = np.array([[1.0, 2], [3, 4]])
    first = Matches(places, places + 4, np.array([0.5, 0.9]), id_a=ids, id_b=ids)
    second = Matches(np.array([[1.2, 2.1]]), np.array([[9.0, 9]]), np.array([0.7]),
                     id_a=ids[:1], id_b=ids[1:])  # fmt: skip
    write_colmap_text(tmp_path, ["a", "b", "c"], {(0, 1): first, (0, 2): second})
    rows = (tmp_path / "a.txt").read_text().splitlines()
    assert [r.split()[:2] for r in rows] == [["2", "128"], ["3.0000", "4.0000"],
                                             ["1.2000", "2.1000"]]  # fmt: skip
    assert all(len(r.split()) == 4 + 128 for r in rows[1:])
    text = (tmp_path / "matches.txt").read_text()
    assert text == "a b\n0 0\n1 1\n\na c\n1 0\n\n"


@pytest.mark.weights
def test_semantic_matches_are_drawn_without_geometry(tmp_path):
    from corr.matchers.semantic import SemanticMatcher
    from corr.semantic.datasets.tiny import TinySize, write_tiny

    write_tiny(tmp_path / "cows", size=TinySize((1, 1, 2), views=3))
    photos = sorted((tmp_path / "cows" / "JPEGImages").rglob("*.jpg"))[:2]
    options = MatchOptions(
        [str(p) for p in photos], SemanticMatcher(transfer="nearest"), out=str(tmp_path / "out")
    )
    text = match(options)
    record = json.loads((tmp_path / "out" / "matches.json").read_text())
    (pair,) = record["pairs"]
    assert pair["matches"] > 10
    assert "inliers" not in pair
    assert record["estimator"] is None
    assert "rigid" not in text
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 1


def test_help_needs_no_torch():
    import subprocess

    code = "import sys, corr.options_match; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
