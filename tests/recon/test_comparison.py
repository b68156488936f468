"""`recon compare`: finished runs of every kind in one table and one page."""

import csv
import json
from pathlib import Path

import pytest

from corr.errors import UserError
from recon.comparison.command import compare
from recon.comparison.runs import find_runs
from recon.comparison.table import as_text, tables_of
from recon.options_compare import CompareOptions
from recon.workspace import mark_finished


def write_run(folder: Path, *, seed: int, psnr: float | None, seconds: float) -> None:
    """What of a reconstruction's folder is read."""
    folder.mkdir(parents=True)
    metrics = {
        "photos": {"placed": 9}, "metadata": {}, "held_out": {"psnr_mean": psnr},
        "total_seconds": seconds, "peak_mb": 1200.4,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text(f"seed: {seed}\nmatcher: {{top_k: 8000}}\nout: {folder}\n")
    (folder / "choices.json").write_text(json.dumps({"matcher": "sift", "executor": "local"}))
    (folder / "report.html").write_text("<html></html>")


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Two jobs of a sweep, one evaluation, and folders that hold no run."""
    write_run(tmp_path / "photos" / "0_seed=0", seed=0, psnr=28.125, seconds=100)
    write_run(tmp_path / "photos" / "1_seed=1", seed=1, psnr=29.5, seconds=140.4)
    (tmp_path / "features").mkdir()
    evaluation = tmp_path / "eval" / "posed_sift"
    evaluation.mkdir(parents=True)
    headline = {"auc": [0.8, 0.9, 0.95], "median_error": 1.25}
    record = {"benchmark": "posed", "kind": "pose", "headline": headline, "pairs": 3}
    (evaluation / "metrics.json").write_text(json.dumps(record))
    (evaluation / "setup.json").write_text(json.dumps({"seed": 0}))
    return tmp_path


def test_table_shows_what_differs_and_which_is_best(sweep):
    first, second = tables_of(find_runs([str(sweep / "photos"), str(sweep / "eval")]))
    assert as_text(first).splitlines() == [
        "reconstruction  seed  photos placed  PSNR held out dB  seconds  peak MB",
        "0_seed=0        0                9             28.12      100*    1200",
        "1_seed=1        1                9             29.50*     140     1200",
    ]
    assert "AUC@5 deg %" in as_text(second)
    assert " 80.0" in as_text(second)


def test_files_hold_every_run(sweep):
    out = sweep / "compared"
    text = compare(CompareOptions([str(sweep)], str(out)))
    assert text.endswith(f"report: {out / 'compare.html'}")
    rows = list(csv.DictReader((out / "compare.csv").open()))
    assert [row["kind"] for row in rows] == ["two views, posed", *2 * ["reconstruction"]]
    assert [row["PSNR held out dB"] for row in rows] == ["", "28.125", "29.5"]
    assert [row["seed"] for row in rows] == ["", "0", "1"]
    records = json.loads((out / "compare.json").read_text())
    assert records[1]["figures"]["seconds"] == 100
    assert records[1]["options"] == {"seed": "0"}
    page = (out / "compare.html").read_text()
    assert 'href="../photos/1_seed%3D1/report.html"' in page
    assert '<td class="best">29.50' in page
    assert "<script" not in page


def test_run_that_is_given_twice_is_one_row(sweep):
    assert len(find_runs([str(sweep / "photos"), str(sweep / "photos" / "0_seed=0")])) == 2


def test_missing_figure_is_a_dash(tmp_path):
    write_run(tmp_path / "a", seed=0, psnr=None, seconds=1)
    write_run(tmp_path / "b", seed=0, psnr=20.0, seconds=1)
    (table,) = tables_of(find_runs([str(tmp_path)]))
    assert table.options == ()
    assert [table.cells(run)[1] for run in table.runs] == ["-", "20.00"]


def test_folder_without_runs_is_one_line(tmp_path):
    for places, message in (
        ([str(tmp_path)], "there is no finished run in"),
        ([str(tmp_path / "gone")], "gone does not exist; give folders of finished runs"),
        ([], "name folders of finished runs"),
    ):
        with pytest.raises(UserError, match=message):
            find_runs(places)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.json", "{"), ("metrics.json", '{"averages": 3}'), ("config.yaml", "a: [1"),
        ("choices.json", "{"),
    ],
)  # fmt: skip
def test_damaged_result_is_named_and_left_out(sweep, caplog, name, text):
    place = sweep / "photos" / "0_seed=0"
    (place / name).write_text(text)
    with pytest.raises(UserError, match=r"metrics.json is damaged .*; run it again or leave it"):
        find_runs([str(place)])
    assert {r.folder.name for r in find_runs([str(sweep)])} == {"1_seed=1", "posed_sift"}
    assert f"left out: {place}" in caplog.text


def test_sweep_below_a_finished_run_is_found_too(sweep):
    write_run(sweep / "photos2", seed=5, psnr=20.0, seconds=1)
    (sweep / "photos").rename(sweep / "photos2" / "sweep")
    names = [r.folder.name for r in find_runs([str(sweep / "photos2")])]
    assert names == ["photos2", "0_seed=0", "1_seed=1"]


def test_run_that_was_begun_again_is_told(sweep, caplog):
    place = sweep / "photos" / "0_seed=0"
    mark_finished(place)
    find_runs([str(place)])
    assert caplog.text == ""
    (place / "config.yaml").write_text("seed: 7")
    find_runs([str(place)])
    assert "did not end: its figures are of the run before" in caplog.text
