"""`python -m registration run`: what it writes, prints and refuses."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from run_world import TRUE, Knows, pair

from corr.errors import UserError
from corr.geometry.rigid import rotation_angle
from registration.cloud import PointCloud
from registration.files import read_cloud, write_cloud
from registration.options import RunOptions, register_run
from registration.options_eval import registrars
from registration.outputs import plain, read_truth
from registration.pipeline import result_folder, run, with_bundled
from tests.conftest import ROOT, command

RANSAC = ("registrar=ransac", "registrar.refit=true", "voxel=0.03")


@pytest.fixture
def scans(tmp_path):
    """A folder with a pair of files and the true transform."""
    source, target = pair()
    write_cloud(tmp_path / "a.ply", source)
    write_cloud(tmp_path / "b.xyz", target)
    np.savetxt(tmp_path / "truth.txt", TRUE.matrix)
    return tmp_path


def options(folder, **changes) -> RunOptions:
    given = {
        "source": str(folder / "a.ply"), "target": str(folder / "b.xyz"), "voxel": 0.05,
        "registrar": Knows(), "out": str(folder / "out"),
    }  # fmt: skip
    return RunOptions(**{**given, **changes})


def test_command_line_aligns_the_bundled_pair(tmp_path):
    done = command("registration", "run", *RANSAC, "out=here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / "here"
    matrix = np.loadtxt(out / "transform.txt")
    truth = np.loadtxt(ROOT / "data/scans/target_from_source.txt")
    assert np.degrees(rotation_angle(truth[:3, :3].T @ matrix[:3, :3])) < 5
    assert re.search(r"^true error: \d\.\d+°, 0\.0\d+$", done.stdout, re.MULTILINE)
    assert re.search(r"^report: here/report\.html$", done.stdout, re.MULTILINE)
    figures = json.loads((out / "result.json").read_text())
    np.testing.assert_allclose(figures["target_from_source"], matrix, rtol=1e-9)
    assert figures["options"]["registrar"]["Open3DRansac"]["refit"] is True
    assert figures["clouds"]["source"]["sensor"] == [0, 0, 0]
    written = {p.name for p in out.iterdir()}
    assert written == {
        "transform.txt", "aligned.ply", "result.json", "config.yaml", "run.log", "report.html",
        "overlay_before.png", "overlay_after.png", "overlay_distance.png", "overlay_colours.png",
    }  # fmt: skip
    assert "source.ply: 9223 points" in (out / "run.log").read_text()


def test_everything_about_the_answer_is_written(scans):
    summary = run(options(scans, truth=str(scans / "truth.txt")))
    out = scans / "out"
    np.testing.assert_allclose(np.loadtxt(out / "transform.txt"), TRUE.matrix, atol=1e-9)
    moved, source = read_cloud(out / "aligned.ply"), read_cloud(scans / "a.ply")
    assert len(moved) == len(source)
    np.testing.assert_allclose(moved.xyz, TRUE.apply(source.xyz), atol=1e-6)
    np.testing.assert_array_equal(moved.rgb, source.rgb)
    figures = json.loads((out / "result.json").read_text())
    assert figures["accepted"] is True
    assert figures["true_error"]["rotation_deg"] == pytest.approx(0, abs=1e-4)
    assert [h["inliers"] for h in figures["hypotheses"]] == [250, 12]
    assert figures["hypotheses"][1]["violations"] is None
    assert figures["hypotheses"][1]["from_best_deg"] == pytest.approx(90)
    assert figures["degeneracies"][0]["text"].startswith("sliding along (1.00, 0.00, 0.00)")
    assert figures["matches"] == {"count": 501, "inliers": 251}
    assert figures["evidence"] == {"inliers": 250.0, "odd": None}
    assert figures["parameters"]["voxel"] == 0.05
    assert np.shape(figures["covariance"]) == (6, 6)
    assert summary.files[-1] == "report.html"


def test_no_answer_is_a_result_that_says_so_and_leaves_no_old_transform(scans):
    run(options(scans))
    summary = run(options(scans, registrar=Knows(finds=False)))
    assert "NOT accepted: only 2 matches agree" in summary.text()
    assert "try: say where the scanner stood" in summary.text()
    left = {p.name for p in (scans / "out").iterdir()}
    assert not left & {"transform.txt", "aligned.ply", "overlay_after.png"}
    assert json.loads((scans / "out" / "result.json").read_text())["target_from_source"] is None


def test_pictures_can_be_left_out(scans):
    summary = run(options(scans, pictures=False))
    assert summary.files == ("transform.txt", "aligned.ply", "result.json")
    assert not list((scans / "out").glob("*.png"))


def test_same_seed_gives_the_same_files(scans):
    for name in ("one", "two"):
        run(options(scans, out=str(scans / name), pictures=False))
    first, second = ((scans / n / "aligned.ply").read_bytes() for n in ("one", "two"))
    assert first == second


REFUSALS = [
    (["source=a.ply"], r"^registration run: target must be given as well"),
    (["target=a.ply"], r"^registration run: source must be given as well"),
    (["source=a.ply", "target=c.ply"], r"there is no file c\.ply"),
    (["source=a.ply", "target=b.stl"], r"there is no file b\.stl|not supported"),
    (["source=a.ply", "target=b.xyz", "voxel=-1"], r"voxel must be 0 .* got -1"),
    (["source=a.ply", "target=b.xyz", "voxel=9"], r"voxel must be well below .* got 9"),
    (["source=a.ply", "target=b.xyz", "sensor_source=here"], r"sensor_source must be empty"),
    (["source=a.ply", "target=b.xyz", "truth=a.ply"], r"truth a\.ply cannot be read"),
    (["source=a.ply", "target=b.xyz", "truth=c.txt"], r"truth c\.txt cannot be read"),
    (["source=few.xyz", "target=b.xyz"], r"source \(few\.xyz\) has 3 distinct points"),
    (["source=line.xyz", "target=b.xyz"], r"source \(line\.xyz\): all points lie on one line"),
]


@pytest.mark.parametrize(("words", "message"), REFUSALS, ids=lambda w: " ".join(w)[:40])
def test_what_cannot_work_is_refused_in_one_line(scans, words, message, monkeypatch, capsys):
    from corr.cli import dispatch
    from registration.__main__ import COMMANDS

    write_cloud(scans / "few.xyz", PointCloud(np.eye(3)))
    write_cloud(scans / "line.xyz", PointCloud(np.outer(np.arange(50.0), [1, 1, 0])))
    monkeypatch.chdir(scans)
    GlobalHydra.instance().clear()
    common = [] if any(w.startswith("voxel") for w in words) else ["voxel=0.05"]
    monkeypatch.setattr(sys, "argv", ["registration", "run", *words, *common, "registrar=ransac"])
    with pytest.raises(SystemExit) as caught:
        dispatch("registration", COMMANDS)
    told = capsys.readouterr().err.strip()
    assert caught.value.code == 1
    assert re.search(message, told)
    assert "\n" not in told
    assert told.startswith("registration run: ")


@pytest.mark.parametrize("name", list(registrars()))
def test_every_registrar_composes(name):
    register_run()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        made = OmegaConf.to_object(compose("registration_run", overrides=[f"registrar={name}"]))
    assert isinstance(made, RunOptions)
    assert type(made.registrar) is registrars()[name]


def test_help_is_quick_and_names_every_option():
    code = (
        "import sys, registration.__main__ as m; sys.argv = ['x', 'run', '--help', 'registrar=fgr']"
        "\nfrom corr.cli import dispatch\ndispatch('registration', m.COMMANDS)"
        "\nprint(sorted({'torch', 'open3d', 'laspy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stdout[-300:] + done.stderr[-2000:]
    for option in ("source=", "voxel=0.0", "sensor_target=", "registrar.iterations=64", "fgr"):
        assert option in done.stdout


def test_commands_are_listed():
    done = command("registration", cwd=ROOT)
    assert done.returncode == 2
    assert all(name in done.stdout for name in ("run", "eval", "multiway"))


def test_result_folder_is_named_after_both_scans(tmp_path):
    named = RunOptions(source="x/left scan.ply", target="y/right.las", registrar=Knows())
    assert str(result_folder(named)) == "outputs/left_scan_to_right"
    assert str(result_folder(RunOptions(registrar=Knows()))) == "outputs/scans"


def test_bundled_pair_knows_its_truth_and_its_scanners():
    filled = with_bundled(RunOptions(registrar=Knows()))
    assert filled.sensor_source == filled.sensor_target == "origin"
    assert filled.truth.endswith("target_from_source.txt")
    own = RunOptions(source="a", target="b", registrar=Knows())
    assert with_bundled(own) is own


def test_installation_without_scans_says_what_to_give(monkeypatch, tmp_path):
    monkeypatch.setattr("registration.pipeline.SCANS", tmp_path)
    with pytest.raises(UserError, match="carries no scans; give source=<file> target=<file>"):
        with_bundled(RunOptions(registrar=Knows()))


@pytest.mark.parametrize("rows", ["1 2 3\n4 5 6\n", "2 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "x\n"])
def test_truth_that_is_no_motion_is_refused(tmp_path, rows):
    (tmp_path / "truth.txt").write_text(rows)
    with pytest.raises(UserError, match=r"truth .*truth\.txt (must be a 4 x 4|cannot be read)"):
        read_truth(tmp_path / "truth.txt")


def test_figures_become_plain_json():
    value = {"a": np.float32(1.5), "b": (np.int64(2), float("inf")), "c": np.array([np.nan])}
    assert plain(value) == {"a": 1.5, "b": [2, None], "c": [None]}
