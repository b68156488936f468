"""`corr eval` of two-view benchmarks: truth is read right, numbers survive kills and shards."""

import json
import pickle

import numpy as np
import pytest

from corr.errors import UserError
from corr.evaluation.estimate import Seen
from corr.evaluation.evaluate import evaluate
from corr.evaluation.homography_sets import read_hpatches, read_oxford
from corr.evaluation.pickled import read_npz
from corr.evaluation.pose_sets import read_megadepth, read_posed_folder, read_scannet
from corr.evaluation.published import ROWS
from corr.evaluation.scores import auc
from corr.evaluation.sets import PairSet, PhotoFile, TruePair
from corr.geometry import Camera
from corr.geometry.overlap import shared_view
from corr.geometry.transforms_json import read_posed
from corr.matchers.sift import Sift
from corr.matches import Matches
from corr.options import EvalOptions, TwoViewOptions
from tests.corr.two_view_worlds import write_megadepth, write_planes, write_posed, write_scannet
from tests.synthetic import look_at

TWO = TwoViewOptions(estimators="poselib:opencv", thresholds="1:2", overlap=0.1)


@pytest.fixture(scope="module")
def posed(tmp_path_factory):
    return write_posed(tmp_path_factory.mktemp("posed") / "room")


@pytest.fixture(scope="module")
def planes(tmp_path_factory, texture):
    return write_planes(tmp_path_factory.mktemp("planes"), texture)


def options(benchmark, data, out, **changes) -> EvalOptions:
    given = {"matcher": Sift(), "two_view": TWO, "out": str(out), "worst": 2}
    return EvalOptions(benchmark=benchmark, data=str(data), **{**given, **changes})


@pytest.fixture(scope="module")
def whole(posed, tmp_path_factory):
    """The folder of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    (out.parent / "text").write_text(evaluate(options("posed", posed, out)))
    return out


def metrics(out) -> dict:
    """Without what the clock says."""
    found = json.loads((out / "metrics.json").read_text())
    del found["seconds"]
    for row in (*found["rows"], found["headline"]):
        del row["seconds"]
    return found


def test_poses_of_real_photos_are_found_and_every_file_agrees(whole):
    found = json.loads((whole / "metrics.json").read_text())
    assert found["pairs"] == 3
    assert [(r["estimator"], r["threshold"]) for r in found["rows"]] == [
        ("poselib", 1.0), ("poselib", 2.0), ("opencv", 1.0), ("opencv", 2.0)
    ]  # fmt: skip
    for row in found["rows"]:
        assert row["failures"] == 0
        assert row["auc"][2] > 0.85
    assert found["headline"]["auc"][0] > 0.7
    assert found["precision"] > 0.7
    errors = [p["error"] for p in found["per_pair"]]
    assert found["headline"]["auc"] == pytest.approx(auc(np.array(errors), (5.0, 10.0, 20.0)))
    recall, precision = np.array(found["curve"]).T
    assert (np.diff(recall) >= 0).all()
    assert recall[-1] == 1
    assert precision[-1] < precision[0]
    text = (whole / "report.md").read_text()
    assert text in (whole.parent / "text").read_text()
    assert "matcher=sift: max_side=0" in text
    assert "a longer side of 1200 px; one run, seed 0" in text
    page = (whole / "report.html").read_text()
    assert page.count("<figure>") == 2
    assert page.count("data:image/jpeg") == 2
    assert "<polyline" in page


def test_worst_pair_comes_first_on_the_page(whole):
    found = json.loads((whole / "metrics.json").read_text())
    worst = sorted(found["per_pair"], key=lambda p: -p["error"])
    page = (whole / "report.html").read_text()
    places = [page.index(f"<figcaption>{p['key']} ") for p in worst[:2]]
    assert places == sorted(places)
    assert f"<figcaption>{worst[2]['key']} " not in page


def test_killed_run_is_continued_to_the_same_numbers(whole, posed, tmp_path, monkeypatch):
    out = tmp_path / "run"
    evaluate(options("posed", posed, out))
    for name in ("predictions.jsonl", "estimates.jsonl"):
        lines = (out / name).read_text().splitlines(keepends=True)
        (out / name).write_text("".join(lines[:-1]) + lines[-1][:-9])
    again = options("posed", posed, out)
    described = []
    original = Sift._describe
    monkeypatch.setattr(Sift, "_describe", lambda self, p: described.append(p) or original(self, p))
    evaluate(again)
    assert len(described) == 2  # the photos of the last pair alone
    assert metrics(out) == metrics(whole)


def test_shards_add_up_to_the_whole(whole, posed, tmp_path):
    out = tmp_path / "run"
    parts = [TwoViewOptions(**{**vars(TWO), "shard": f"{k}/2"}) for k in (1, 2)]
    first = evaluate(options("posed", posed, out, two_view=parts[0]))
    assert "shard 1/2 is done; 2 of 3 pairs are still to be matched" in first
    assert not (out / "metrics.json").exists()
    assert "report:" in evaluate(options("posed", posed, out, two_view=parts[1]))
    assert metrics(out) == metrics(whole)


def test_folder_of_another_run_is_refused(whole, posed):
    with pytest.raises(UserError, match=r"holds predictions made with matcher=.*choose another"):
        evaluate(options("posed", posed, whole, matcher=Sift(ratio=0.7)))


def test_sweep_may_grow_without_matching_again(whole, posed, monkeypatch):
    more = TwoViewOptions(**{**vars(TWO), "estimators": "poselib:pycolmap:opencv"})
    monkeypatch.setattr(Sift, "_describe", lambda *_: pytest.fail("matched again"))
    evaluate(options("posed", posed, whole, two_view=more))
    assert len(json.loads((whole / "metrics.json").read_text())["rows"]) == 6
    evaluate(options("posed", posed, whole))


def test_homographies_are_found_to_a_fraction_of_a_pixel(planes, tmp_path):
    text = evaluate(options("oxford", planes, tmp_path / "run", worst=0))
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["pairs"] == 5
    assert found["headline"]["median_error"] < 0.4  # half a pixel of convention would show
    assert found["headline"]["auc"][0] > 0.8
    assert found["precision"] > 0.9
    assert "AUC@3 px" in text
    assert text.endswith("report.md")


def test_part_of_megadepth_is_called_sanity_and_stands_beside_published_rows(posed, tmp_path):
    root = write_megadepth(tmp_path / "mega", posed)
    text = evaluate(options("megadepth1500", root, tmp_path / "run", every=2, worst=0))
    assert text.startswith("# MegaDepth-1500: sanity\n")
    assert "1 of the official 1500 pairs" in text
    assert "**this run (sanity)** | poselib 1 px | 1 pairs |" in text
    for row in ROWS["MegaDepth-1500"]:
        assert f"| {row.method} | {row.estimator} | {row.protocol} |" in text


@pytest.mark.parametrize("reader", ["megadepth", "scannet", "sample"])
def test_readers_of_official_files_find_the_true_pose_and_calibration(posed, tmp_path, reader):
    photos = read_posed(posed / "transforms.json")
    truth = photos[1].cam_from_world @ photos[0].cam_from_world.inverse()
    if reader == "megadepth":
        pair = read_megadepth(write_megadepth(tmp_path, posed)).pairs[0]
    else:
        root = write_scannet(tmp_path, posed)
        if reader == "sample":
            with np.load(root / "intrinsics.npz") as file:
                K = file["scene0707_00"]
            words = ["scene0707_00/color/0.jpg", "scene0707_00/color/15.jpg", "0", "0",
                     *(str(v) for m in (K, K, truth.matrix) for v in m.ravel())]  # fmt: skip
            (root / "scannet_sample_pairs_with_gt.txt").write_text(" ".join(words) + "\n")
        (pair,) = read_scannet(root).pairs
    assert pair.b_from_a.matrix == pytest.approx(truth.matrix, abs=1e-6)
    np.testing.assert_allclose(pair.a.K, photos[0].camera.K)
    assert pair.a.path.read_bytes() == photos[0].path.read_bytes()


def test_readers_name_what_is_missing(tmp_path, posed):
    for read, message in (
        (read_megadepth, "no scene infos"), (read_scannet, "test.npz"),
        (read_hpatches, "no sequences"), (read_oxford, "no Oxford affine set"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            read(tmp_path)
    with pytest.raises(UserError, match=r"share 100%; lower two_view.overlap"):
        read_posed_folder(posed, min_overlap=1.0, most_pairs=0)
    root = write_scannet(tmp_path / "s", posed)
    (root / "scene0707_00" / "pose" / "15.txt").unlink()
    with pytest.raises(UserError, match=r"a pose is missing: .*15\.txt"):
        read_scannet(root)
    folder = tmp_path / "v_wall"
    folder.mkdir()
    with pytest.raises(UserError, match=r"photo .*v_wall/1\.ppm .* is missing"):
        read_hpatches(tmp_path)


def test_archives_that_would_run_code_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("code ran",)

    evil = np.empty(1, dtype=object)
    evil[0] = Evil()
    np.savez(tmp_path / "evil.npz", pair_infos=evil)
    with pytest.raises(UserError, match=r"builtins\.print is not allowed"):
        read_npz(tmp_path / "evil.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "evil.npz").read_bytes()[:50])
    with pytest.raises(UserError, match=r"cut\.npz cannot be read"):
        read_npz(tmp_path / "cut.npz")
    assert pickle.loads(pickle.dumps(1)) == 1


def test_auc_is_the_area_under_the_recall_curve():
    assert auc(np.array([np.inf, np.inf]), (5.0,)) == (0.0,)
    assert auc(np.zeros(4), (5.0, 10.0)) == (1.0, 1.0)
    # One pair of two at 2 degrees: a rise to 0.5 at 2, then flat to 5.
    assert auc(np.array([2.0, np.nan]), (5.0,))[0] == pytest.approx((0.5 * 2 * 0.5 + 3 * 0.5) / 5)
    errors = np.random.default_rng(0).exponential(8, 300)
    x = np.linspace(0, 10, 200_001)
    curve = np.interp(x, np.r_[0, np.sort(errors)], np.arange(301) / 300)
    assert auc(errors, (10.0,))[0] == pytest.approx(curve.mean(), abs=1e-3)


def test_cameras_that_see_the_same_overlap_and_others_do_not():
    camera = Camera.simple(611, 467, 640.0)
    middle = np.zeros(3)
    around = [look_at(5 * np.array([np.sin(a), 0.0, -np.cos(a)]), middle) for a in (0, 0.2, np.pi)]
    away = look_at(np.array([0.0, 0.0, -5.0]), np.array([0.0, 0.0, -30.0]))
    share = shared_view([camera] * 4, [*around, away])
    assert np.diag(share) == pytest.approx(1)
    assert share[0, 1] > 0.5
    assert share[0, 2] == share[0, 3] == 0


def test_lens_distortion_is_removed_before_geometry(tmp_path, as_image, texture):
    """A match of a point with its own distorted place is right once both are undistorted."""
    import cv2

    as_image(texture(641, 479), "p")
    K = Camera.simple(641, 479, 500.0).K
    bent = (0.1, -0.05, 0.001, -0.002)
    plain = PhotoFile("p", tmp_path / "p.png", K)
    lens = PhotoFile("q", tmp_path / "p.png", K, bent)
    uv = np.random.default_rng(0).uniform(50, 430, (40, 2))
    xyz = np.c_[(uv - K[:2, 2]) / 500, np.ones(40)]
    seen = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), K, np.array(bent))[0][:, 0]
    assert np.abs(seen - uv).max() > 2
    pair = TruePair("k", plain, lens, H=np.eye(3))
    whole = PairSet("x", "homography", (pair,), 641, "long")
    both = Seen.of(pair, Matches(uv, seen, np.ones(40)), whole)
    assert both.uv_a == pytest.approx(both.uv_b, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimators": "magic"}, "two_view.estimators must be of poselib, pycolmap, opencv"),
        ({"thresholds": "1:x"}, "two_view.thresholds must be positive numbers with colons"),
        ({"thresholds": "0"}, "two_view.thresholds must be positive numbers with colons"),
        ({"shard": "3/2"}, "two_view.shard must be k/n with k up to n, got 3/2"),
        ({"overlap": 1.5}, "two_view.overlap must lie in 0 … 1, got 1.5"),
        ({"most_pairs": -1}, "two_view.most_pairs must be 0 or more, got -1"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TwoViewOptions(**changes)


def test_matcher_without_rigid_geometry_is_refused(planes, tmp_path):
    from corr.matchers.semantic import SemanticMatcher

    with pytest.raises(UserError, match="one rigid scene; choose another matcher="):
        evaluate(options("oxford", planes, tmp_path / "run", matcher=SemanticMatcher()))
