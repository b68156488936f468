"""`registration eval`: same answers by any route, resumed after a kill, refusals in one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from corr.errors import UserError
from corr.geometry.rigid import Rigid3, rotation_angle
from corr.setup_note import keep_setup
from registration.baselines import KissMatcher, Open3DRansac
from registration.datasets.threedmatch import SCENES, read_3dmatch
from registration.evaluate import evaluate, with_keypoints
from registration.evaluation.plots import reliability_and_overlap
from registration.evaluation.predictions import (
    Prediction,
    from_line,
    read_all,
    read_predictions,
    to_line,
)
from registration.evaluation.published import ROWS
from registration.evaluation.scores import score
from registration.evaluation.tables import markdown
from registration.evaluation.workers import PairTask, Setup, _prepare, align, random_motion
from registration.options_eval import EvalOptions
from tests.conftest import ROOT
from tests.registration.fragment_world import VOXEL, write_scene


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Two scenes, of three and two fragments, in our layout: four pairs."""
    root = tmp_path_factory.mktemp("world")
    for scene, count in zip(SCENES, (3, 2), strict=False):
        write_scene(root, scene, root / "benchmarks" / "3DMatch" / scene, count=count, seed=3)
    return root


def options(world: Path, out: Path, **changes) -> EvalOptions:
    registrar = Open3DRansac(iterations=20_000, refit=True)
    return EvalOptions("3dmatch", str(world), registrar, voxel=VOXEL, out=str(out), **changes)


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Path:
    """The folder of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    (out.parent / "text").write_text(evaluate(options(world, out)))
    return out


def answers(out: Path) -> dict:
    """What must not depend on how the run was made: all but the seconds."""
    none = {"seconds": 0.0, "source_seconds": 0.0, "target_seconds": 0.0}
    return {k: to_line(replace(p, **none)) for k, p in read_all(out).items()}


def test_run_writes_every_file_and_is_right(whole):
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["total"]["pairs"] == 4
    assert metrics["total"]["recalls"]["a_pairs"] == 1.0
    assert metrics["total"]["recalls"]["b_pairs"] == 1.0
    assert metrics["total"]["successes"]["rotation_mean_deg"] < 2
    assert 0.1 < metrics["total"]["inlier_ratio"] <= 1
    assert metrics["missing"] == list(SCENES[2:])
    assert ET.parse(whole / "plots.svg").getroot().tag.endswith("svg")
    text = (whole.parent / "text").read_text()
    assert "| **mean over pairs**" in text
    assert "6 scenes are not in the folder" in text
    assert "orientation=none" in text  # published rows are unoriented: said so


def test_workers_do_not_change_answers(world, whole, tmp_path):
    evaluate(options(world, tmp_path / "two", workers=2))
    assert answers(tmp_path / "two") == answers(whole)


def test_shards_make_up_the_whole(world, whole, tmp_path):
    out = tmp_path / "shards"
    first = evaluate(options(world, out, shard="1/2"))
    assert "2 of 4 pairs are still to be predicted" in first
    assert not (out / "metrics.json").exists()
    assert "mean over pairs" in evaluate(options(world, out, shard="2/2"))
    assert answers(out) == answers(whole)


def test_numbers_of_keypoints_are_compared(world, tmp_path):
    out = tmp_path / "counts"
    first = evaluate(options(world, out, keypoints="400:60", shard="1/2"))
    assert first.endswith(f"run the other shards with out={out}")
    text = evaluate(options(world, out, keypoints="400:60", shard="2/2"))
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert rows[2:] == ["400", "60"]
    assert (out / "report.md").read_text() in text
    few, many = (read_all(out / f"keypoints_{n}").values() for n in (60, 400))
    assert max(p.matches for p in few) <= 60 < max(p.matches for p in many)


def test_cut_off_file_is_continued(world, whole, tmp_path):
    out = tmp_path / "cut"
    out.mkdir()
    for name in ("setup.json", "predictions.jsonl"):
        (out / name).write_bytes((whole / name).read_bytes())
    lines = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join(lines[:3]) + lines[3][:40])
    evaluate(options(world, out))
    assert answers(out) == answers(whole)
    kept = (out / "predictions.jsonl").read_text().splitlines(keepends=True)[:3]
    assert kept == lines[:3]


def test_run_resumes_after_a_kill(world, whole, tmp_path):
    out = tmp_path / "killed"
    command = [
        sys.executable, "-m", "registration", "eval", "benchmark=3dmatch", f"data={world}",
        "registrar=ransac", "registrar.iterations=20000", "registrar.refit=true", f"voxel={VOXEL}",
        f"out={out}", "executor.shard_size=1",
    ]  # fmt: skip
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while not list((out / "predictions.shards").glob("*.shard")):
        assert run.poll() is None, run.communicate()[0].decode()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "a killed run leaves no workers behind"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert answers(out) == answers(whole)


def test_other_options_need_another_folder(world, whole):
    with pytest.raises(UserError, match=r"made with seed=0, not 1; choose another out="):
        evaluate(options(world, whole, seed=1))
    changed = options(world, whole)
    changed.registrar.iterations = 30_000
    with pytest.raises(UserError, match="registrar_options"):
        evaluate(changed)


def test_changed_fragment_needs_another_folder(tmp_path):
    write_scene(tmp_path, SCENES[0], tmp_path / "benchmarks" / "3DMatch" / SCENES[0], count=2)
    out = tmp_path / "out"
    evaluate(options(tmp_path, out))
    fragment = next(tmp_path.rglob("*_1.ply"))
    stat = fragment.stat()
    os.utime(fragment, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(UserError, match="of before: the benchmark's files have changed since; "):
        evaluate(options(tmp_path, out))


def test_newer_registrar_needs_another_folder(world, whole, monkeypatch):
    monkeypatch.setattr(Open3DRansac, "VERSION", 3)
    with pytest.raises(UserError, match="made with registrar_version=2, not 3"):
        evaluate(options(world, whole))


def test_other_part_of_the_same_benchmark_continues(tmp_path):
    keep_setup(tmp_path, {"seed": 0, "files": {"kitchen": "a"}})
    (tmp_path / "predictions.jsonl").touch()
    keep_setup(tmp_path, {"seed": 0, "files": {"hotel": "b"}})
    with pytest.raises(UserError, match="files have changed since"):
        keep_setup(tmp_path, {"seed": 0, "files": {"kitchen": "c"}})


# Frames


def test_answers_do_not_see_the_true_frames(world):
    """Fragments are moved before they are prepared, with their sensor, and moved back after."""
    benchmark = read_3dmatch(world, "3dmatch")
    scene = benchmark.scenes[0]
    setup = Setup(Open3DRansac(iterations=20_000), VOXEL, "sensor", True, "none", 0)
    a, b = (_prepare(setup, scene.name, k, scene.fragments[k]) for k in (0, 1))
    assert np.linalg.norm(a.moved_from_fragment.t) > 0.5
    assert np.allclose(a.prepared.cloud.sensor, a.moved_from_fragment.t)
    blind = replace(setup, orientation="none")
    assert _prepare(blind, scene.name, 0, scene.fragments[0]).prepared.cloud.sensor is None
    truth = scene.pairs[0].target_from_source
    task = PairTask(scene.name, 1, 0, scene.fragments[1], scene.fragments[0], truth)
    answer = align(task, b, a, setup)
    error = truth.inverse() @ answer.target_from_source
    assert np.degrees(rotation_angle(error.R)) < 5
    assert np.linalg.norm(error.t) < 0.15
    assert answer.inlier_ratio > 0.05


def test_refinement_needs_no_better_start_than_the_registrar_gives(world):
    scene = read_3dmatch(world, "3dmatch").scenes[0]
    setup = Setup(Open3DRansac(iterations=20_000), VOXEL, "sensor", True, "icp", 0)
    a, b = (_prepare(setup, scene.name, k, scene.fragments[k]) for k in (0, 1))
    task = PairTask(scene.name, 1, 0, scene.fragments[1], scene.fragments[0])
    found = align(task, b, a, setup).target_from_source
    error = scene.pairs[0].target_from_source.inverse() @ found
    assert np.linalg.norm(error.t) < 0.03


def test_motion_is_the_same_for_the_same_name():
    assert (random_motion(3, 1.0).matrix == random_motion(3, 1.0).matrix).all()
    assert rotation_angle(random_motion(3, 1.0).R.T @ random_motion(4, 1.0).R) > 0.05


# Files


def prediction(scene: str, source: int, target: int, estimate: Rigid3 | None, **changes):
    matrix = None if estimate is None else estimate.matrix.ravel().tolist()
    row = Prediction(
        scene, source, target, matrix, 0.9, True, "", float("nan"), 100, 50, 0.2, 0.1, 0.4, 0.6,
        {"votes": 3.0},
    )  # fmt: skip
    return replace(row, **changes)


def test_prediction_survives_its_line():
    row = prediction("a", 2, 1, random_motion(1, 1.0))
    back = from_line(to_line(row))
    assert back.matrix == row.matrix
    assert np.isnan(back.margin)
    assert from_line(to_line(prediction("a", 2, 1, None))).target_from_source is None


def test_damaged_line_in_the_middle_is_refused(tmp_path):
    path = tmp_path / "predictions.jsonl"
    good = to_line(prediction("a", 2, 1, None))
    path.write_text(f"{good}\n{good[:50]}\n{good}\n")
    with pytest.raises(UserError, match=r"predictions\.jsonl:2 is damaged"):
        read_predictions(path)


def test_preparation_is_counted_once_per_fragment(world):
    benchmark = read_3dmatch(world, "3dmatch").chosen(scenes=SCENES[0])
    rows = {
        p.key: prediction(*p.key, p.target_from_source, source_seconds=1.0, target_seconds=1.0)
        for p in benchmark.pairs
    }
    total = score(benchmark, rows).total
    assert total.seconds_register == pytest.approx(0.1)
    assert total.seconds_pair == pytest.approx(0.1 + 3 * 1.0 / 3)


def test_scores_of_wrong_and_missing_answers(world):
    benchmark = read_3dmatch(world, "3dmatch")
    rows = {p.key: prediction(*p.key, p.target_from_source) for p in benchmark.pairs}
    first, second = list(rows)[:2]
    rows[first] = prediction(*first, None, probability=0.0, accepted=False, inlier_ratio=np.nan)
    rows[second] = prediction(*second, random_motion(9, 3.0), probability=0.2, accepted=False)
    scores = score(benchmark, rows)
    assert scores.total.recalls.a_pairs == pytest.approx(2 / 4)
    assert scores.total.recalls.a_scenes == pytest.approx((1 / 3 + 1) / 2)
    assert scores.total.answered == 3
    assert scores.accepted_precision == 1.0
    assert scores.calibration.auc == 1.0
    assert scores.calibration.coverage_95 == pytest.approx(2 / 4)
    assert scores.total.fmr == 1.0
    text = markdown(scores, registrar="x", orientation="none")
    assert "nan" not in text.replace("mean", "")


def test_kitti_has_published_rows_of_both_limits():
    assert {p.definition for p in ROWS["KITTI"]} == {"5 deg / 60 cm", "5 deg / 2 m"}
    assert all(0 < p.recall <= 100 for rows in ROWS.values() for p in rows)


def test_plots_of_nothing_are_still_a_picture():
    assert ET.fromstring(reliability_and_overlap([], [], "a < b")).tag.endswith("svg")


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard": "3/2"}, "shard must be i/n"),
        ({"every": 0}, "every must be 1 or more, got 0"),
        ({"workers": 0}, "workers must be 1 or more, got 0"),
        ({"orientation": "up"}, "orientation must be one of sensor, none, got up"),
        ({"refine": "gicp"}, "refine must be one of none, icp, got gicp"),
        ({"keypoints": "-5"}, "keypoints must be a number"),
    ],
)
def test_option_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        EvalOptions("3dmatch", "data", **changes)


def test_unknown_benchmark_is_refused():
    with pytest.raises(ValueError, match="benchmark must be one of 3dmatch, 3dlomatch"):
        EvalOptions("modelnet", "data")


def test_keypoints_without_effect_are_refused():
    assert with_keypoints(Open3DRansac(), 500).keypoints == 500
    with pytest.raises(UserError, match="keypoints=500 has no effect on KissMatcher"):
        with_keypoints(KissMatcher(), 500)


def test_wrong_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no scene of 3DMatch"):
        evaluate(options(tmp_path, tmp_path / "out"))
    with pytest.raises(UserError, match="is no KITTI odometry folder"):
        evaluate(replace(options(tmp_path, tmp_path / "out"), benchmark="kitti"))


def test_scene_that_is_not_there_is_one_line(world, tmp_path):
    with pytest.raises(UserError, match="scenes: 'garden' fits none of"):
        evaluate(options(world, tmp_path / "out", scenes="garden"))
