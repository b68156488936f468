"""`python -m corr eval`: the same numbers by any route, resumed after a kill, honest about size."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from corr.errors import UserError
from corr.options import EvalOptions, extractors, register_eval, transfers
from corr.semantic.evaluate import evaluate
from corr.semantic.evaluation.predict import in_cache_order
from corr.semantic.evaluation.predictions import (
    Prediction,
    from_line,
    read_predictions,
    to_line,
)
from corr.semantic.evaluation.published import ROWS
from corr.semantic.evaluation.scores import score
from corr.semantic.evaluation.tables import AVERAGES, heading, markdown
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.transfer import Mutual, Nearest, Window
from corr.setup_note import keep_setup
from tests.conftest import ROOT, command

pytestmark = [pytest.mark.weights, pytest.mark.usefixtures("one_thread")]
FEW = 4  # every n-th pair of the tiny split


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def options(root, cache, out, **changes) -> EvalOptions:
    given = {
        "benchmark": "spair71k", "data": str(root), "size": "small", "every": FEW,
        "features": LiteFeatures(long_side=160), "cache": str(cache), "out": str(out),
    }  # fmt: skip
    return EvalOptions(**{**given, **changes})


@pytest.fixture(scope="module")
def whole(tiny_root, cache, tmp_path_factory):
    """The folder of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    (out.parent / "text").write_text(evaluate(options(tiny_root, cache, out, mirrored=True)))
    return out


def test_run_writes_every_file_and_the_numbers_agree(whole, tiny):
    metrics = json.loads((whole / "metrics.json").read_text())
    part = tiny.chosen(every=FEW)
    assert metrics["pairs"] == len(part.pairs)
    assert metrics["points"] == sum(len(p.ids) for p in part.pairs)
    again = score(part, read_predictions(whole / "predictions.jsonl"))
    for kept, averages in zip(metrics["averages"], again.averages, strict=True):
        assert kept == pytest.approx(vars(averages))
    shares = [a["per_image"] for a in metrics["averages"]]
    assert shares == sorted(shares)
    assert shares[2] > 0.1  # far beyond chance, which is about 3 %
    assert metrics["mirrored"]["pairs"] > 0
    text = (whole / "report.md").read_text()
    assert text in (whole.parent / "text").read_text()
    assert all(f"| {label} |" in text for label in AVERAGES.values())
    assert "With the source mirrored" in text
    assert "| **right** |" in text


def test_part_of_a_benchmark_is_called_sanity_wherever_its_number_stands(whole):
    text = (whole / "report.md").read_text()
    assert text.startswith("# SPair-71k small test: sanity\n")
    assert "of the official 2438 pairs" in text
    assert text.count("**this run (sanity)**") == 4


def test_whole_benchmark_is_no_sanity(tiny):
    whole = replace(tiny, official_pairs=len(tiny.pairs))
    predictions = {p.key: exact(p) for p in tiny.pairs}
    scores = score(whole, predictions)
    assert heading(scores) == "SPair-71k small test"
    text = markdown(scores, setup="")
    assert "sanity" not in text
    assert "| per image | 100.0 | 100.0 | 100.0 | 100.0 |" in text


def exact(pair, sure=1.0) -> Prediction:
    n = len(pair.ids)
    return Prediction(pair.key, pair.target.uv, np.full(n, sure), *(np.zeros(n) for _ in range(3)))


def test_published_rows_stand_beside_ours_each_with_its_average(whole):
    text = (whole / "report.md").read_text()
    rows = ROWS["SPair-71k"]
    assert {r.average for r in rows} == {"per image", "per point"}
    for row in rows:
        assert f"| {row.method} | {row.supervision} | {row.average} |" in text
        assert all(np.isnan(v) or 0 < v < 100 for v in row.pck)


def test_interrupted_run_is_continued_to_the_same_predictions(whole, tiny_root, cache, tmp_path):
    lines = (whole / "predictions.jsonl").read_text().splitlines(keepends=True)
    out = tmp_path / "run"
    evaluate(options(tiny_root, cache, out))
    file = out / "predictions.jsonl"
    file.write_text("".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    evaluate(options(tiny_root, cache, out))
    ends = [sorted(p.read_text().splitlines()) for p in (file, whole / "predictions.jsonl")]
    assert ends[0] == ends[1]


def test_damaged_line_before_the_last_is_refused(whole, tmp_path):
    lines = (whole / "predictions.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "predictions.jsonl"
    path.write_text("nonsense\n" + "".join(lines))
    with pytest.raises(UserError, match=r"predictions\.jsonl:1 is damaged"):
        read_predictions(path)


def test_folder_of_another_run_is_refused(whole, tiny_root, cache):
    with pytest.raises(UserError, match="holds predictions made with transfer="):
        evaluate(options(tiny_root, cache, whole, transfer=Nearest()))


def test_setup_of_an_empty_folder_may_change(tmp_path):
    keep_setup(tmp_path, {"a": 1})
    keep_setup(tmp_path, {"a": 2})
    (tmp_path / "predictions.jsonl").write_text("")
    with pytest.raises(UserError, match="a=2, not 3"):
        keep_setup(tmp_path, {"a": 3})


def test_prediction_survives_its_line():
    p = Prediction("k", np.array([[1.25, np.nan], [3, 4]]), *(np.array([0.5, 0.25]),) * 4)
    back = from_line(to_line(p))
    np.testing.assert_array_equal(back.uv, p.uv)
    np.testing.assert_array_equal(back.confidence, p.confidence)
    assert back.key == "k"
    for line in ('{"key": "k"}', '{"key": "k", "uv": [[1, 2]], "confidence": []', "3"):
        with pytest.raises((ValueError, TypeError)):
            from_line(line)


def test_mutual_leaves_points_unanswered_and_says_so(tiny_root, cache, tmp_path):
    text = evaluate(options(tiny_root, cache, tmp_path / "run", transfer=Mutual(within_cells=1.0)))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["unanswered"] > 0
    assert f"{metrics['unanswered']} points have no answer and count as not found" in text


def test_pose_alignment_needs_mirrored_features_and_answers_every_point(tiny_root, cache, tmp_path):
    evaluate(options(tiny_root, cache, tmp_path / "run", align="pose", mirrored=True, worst=0))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["unanswered"] == metrics["mirrored"]["unanswered"] == 0
    assert not (tmp_path / "run" / "report.html").exists()
    assert json.loads((tmp_path / "run" / "setup.json").read_text())["align"] == "pose"
    with pytest.raises(UserError, match="holds predictions made with align=pose, not none"):
        evaluate(options(tiny_root, cache, tmp_path / "run", worst=0))


def test_confidence_is_judged(tiny):
    """The surer half is right and the other wrong: nothing could be told better."""
    predictions = {}
    for k, pair in enumerate(tiny.pairs):
        good = exact(pair)
        predictions[pair.key] = (
            good if k % 2 else replace(good, uv=good.uv + 500, confidence=good.confidence * 0.1)
        )
    trust = score(tiny, predictions).trust
    assert trust.auc == 1.0
    assert trust.surest_half > 0.85  # pairs differ in their number of points
    flat = {k: replace(p, confidence=np.full(len(p.uv), 0.5)) for k, p in predictions.items()}
    assert score(tiny, flat).trust.auc == 0.5


def test_order_of_work_keeps_photos_of_a_category_together(tiny):
    ordered = in_cache_order(list(tiny.pairs)[::-1])
    assert [p.key for p in ordered] == [
        p.key for p in sorted(tiny.pairs, key=lambda p: (p.source.name, p.target.name))
    ]


def test_unknown_category_and_missing_twins_are_refused(tiny_root, cache, tmp_path):
    with pytest.raises(UserError, match="'dog' is none of cow"):
        evaluate(options(tiny_root, cache, tmp_path / "a", categories="dog"))


@pytest.mark.data
def test_the_six_real_pairs_are_evaluated_as_sanity(data_dir, cache, tmp_path):
    root = data_dir / "semantic" / "SPair-71k-mini6"
    text = evaluate(options(root, cache, tmp_path / "run", every=1))
    assert text.startswith("# SPair-71k small test: sanity\n")
    assert "sanity: 6 of the official 2438 pairs" in text
    assert "| aeroplane | 1 | 7 |" in text


def test_command_line_prints_the_table_and_resumes(tiny_root, cache, tmp_path):
    words = ["corr", "eval", "benchmark=spair71k", f"data={tiny_root}", "size=small",
             f"cache={cache}", f"every={FEW}", "features.long_side=160", "out=run"]  # fmt: skip
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "# SPair-71k small test: sanity" in done.stdout
    assert f"report: {tmp_path / 'run' / 'report.html'}" in done.stdout
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "setup.json", "predictions.jsonl", "metrics.json", "report.md", "report.html",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=x"], "corr eval: missing benchmark=…"),
        (["benchmark=imagenet", "data=x"], "corr eval: benchmark must be one of spair71k, "),
        (["benchmark=own", "data=nowhere"], "corr eval: data=nowhere is not a folder"),
        (["benchmark=own", "data=x", "every=0"], "corr eval: every must be 1 or more, got 0"),
        (["benchmark=own", "data=x", "align=left"], "corr eval: align must be one of none, pose"),
        (["benchmark=own", "data=x", "worst=-1"], "corr eval: worst must be 0 or more, got -1"),
        (["benchmark=own", "data=x", "transfer.radius=0"], "transfer.radius must be 1 or more"),
    ],
)
def test_command_line_refuses_in_one_line(words, message, tmp_path):
    done = command("corr", "eval", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("features", extractors())
@pytest.mark.parametrize("transfer", transfers())
def test_every_choice_composes(features, transfer):
    GlobalHydra.instance().clear()
    register_eval()
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        config = compose(
            "corr_eval",
            [f"features={features}", f"transfer={transfer}", "benchmark=own", "data=x"],
        )
    made = OmegaConf.to_object(config)
    assert type(made.features) is extractors()[features]
    assert type(made.transfer) is transfers()[transfer]


def test_help_lists_choices_and_options_without_torch(tmp_path):
    done = command("corr", "eval", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "features=dino | fusion | lite | sd | xfeat" in done.stdout
    assert "transfer=hough | mutual | nearest | window" in done.stdout
    assert "features.long_side=512" in done.stdout
    code = "import sys, corr.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_defaults_are_a_window_on_lite():
    made = EvalOptions(benchmark="own", data="x")
    assert isinstance(made.features, LiteFeatures)
    assert isinstance(made.transfer, Window)
