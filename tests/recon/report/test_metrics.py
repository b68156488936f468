import json
import subprocess

import pytest
from report_world import make_metrics

from corr.machine import git_state
from recon.report.metadata import collect_metadata
from recon.report.metrics import Metrics


def test_metrics_come_back_unchanged_from_json():
    metrics = make_metrics(["a.png", "b.png"], "held.png")
    assert Metrics.from_json(metrics.to_json()) == metrics


def test_metrics_come_back_unchanged_when_optional_parts_are_missing():
    metrics = make_metrics(["a.png"], "held.png")
    metrics.held_out = metrics.cameras = metrics.surface = metrics.mesh = metrics.training = None
    again = Metrics.from_json(metrics.to_json())
    assert again == metrics
    assert json.loads(metrics.to_json())["held_out"] is None


def test_infinite_psnr_becomes_null_with_a_note():
    metrics = make_metrics(["a.png"], "held.png")
    metrics.training.per_photo[0].psnr = float("inf")
    plain = json.loads(metrics.to_json())
    assert plain["training"]["per_photo"][0]["psnr"] is None
    assert "training.per_photo[0].psnr was inf, written as null" in plain["notes"]
    assert metrics.notes == ["a note"]


def test_unknown_field_is_refused_by_name():
    plain = json.loads(make_metrics(["a.png"], "held.png").to_json())
    plain["splats"]["colour"] = 3
    with pytest.raises(ValueError, match=r"metrics\.splats has no field 'colour'"):
        Metrics.from_json(json.dumps(plain))


def test_missing_field_is_refused_by_name():
    plain = json.loads(make_metrics(["a.png"], "held.png").to_json())
    del plain["metadata"]["seed"]
    with pytest.raises(ValueError, match=r"metrics\.metadata: .*seed"):
        Metrics.from_json(json.dumps(plain))


def test_metadata_names_versions_and_machine():
    data = collect_metadata(seed=3, quality="fast")
    assert data.packages["numpy"]
    assert data.seed == 3
    assert "core" in data.cpu


def test_git_state_is_unknown_outside_a_checkout(tmp_path):
    assert git_state(tmp_path) == (None, None)


def test_git_state_is_unknown_below_a_foreign_repository(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "site-packages").mkdir()
    assert git_state(tmp_path / "site-packages") == (None, None)


def test_git_state_sees_uncommitted_changes(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "a.txt").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit, dirty = git_state(tmp_path)
    assert len(commit) == 40
    assert dirty is False
    (tmp_path / "a.txt").write_text("2")
    assert git_state(tmp_path) == (commit, True)
