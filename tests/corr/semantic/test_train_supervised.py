"""`corr train method=supervised`: learns, looks at no test photo, continues, is used by eval."""

import json
from dataclasses import replace

import numpy as np
import pytest

import corr.semantic.features.cache as cache_module
from corr.errors import UserError
from corr.options import EvalOptions
from corr.semantic.datasets.spair import read_spair
from corr.semantic.datasets.tiny import write_tiny
from corr.semantic.evaluate import evaluate
from corr.semantic.features.cache import FeatureCache
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.learned import supervised
from corr.semantic.learned.files import load_trained
from corr.semantic.learned.judge import pck_percent
from corr.semantic.learned.supervised import Supervised
from corr.semantic.learned.train import train
from corr.training.log import read_rows
from corr.training_options import TrainOptions
from tests.conftest import command

pytestmark = [pytest.mark.weights, pytest.mark.usefixtures("one_thread")]
FEATURES = LiteFeatures(long_side=160)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def options(root, cache, out, **changes) -> TrainOptions:
    method = Supervised(steps=12, couples=2, hidden=24, every=6)
    given = {"benchmark": "spair71k", "data": str(root), "size": "small", "features": FEATURES,
             "cache": str(cache), "out": str(out), "method": method}  # fmt: skip
    return TrainOptions(**{**given, **changes})


@pytest.fixture(scope="module")
def trained(tiny_root, cache, tmp_path_factory):
    """The folder of an undisturbed training, and the photos that were opened for it."""
    out, opened = tmp_path_factory.mktemp("train") / "run", []
    read = cache_module.read_photo

    def spy(photo):
        opened.append(photo.name.removesuffix("|mirror"))
        return read(photo)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "read_photo", spy)
        text = train(options(tiny_root, cache, out))
    return out, set(opened), text


def test_training_opens_no_test_photo(trained, tiny_root, tiny):
    _, opened, _ = trained
    sets = {s: set(read_spair(tiny_root, split=s, size="small").photos) for s in ("trn", "val")}
    assert opened == sets["trn"] | sets["val"]
    assert not opened & set(tiny.photos)


def test_training_leaves_a_head_its_curve_and_what_it_was_trained_on(trained, tiny_root):
    out, _, text = trained
    learned = read_spair(tiny_root, split="trn", size="small")
    _, about = load_trained(out / "head.safetensors")
    assert about["method"] == "Supervised"
    assert len(about["photos"]) == len(learned.photos)
    assert text.startswith("method=supervised features=lite: PCK@0.1 per image on val ")
    assert {p.name for p in out.iterdir()} == {
        "checkpoint.pt", "curve.csv", "curve.svg", "head.safetensors", "result.json", "train.json",
    }  # fmt: skip
    rows = read_rows(out / "curve.csv")
    assert [r["step"] for r in rows] == [0, 6, 12]
    assert rows[2]["loss"] < rows[1]["loss"] - 0.3
    result = json.loads((out / "result.json").read_text())
    assert result["after"] == pytest.approx(rows[2]["pck_val"], abs=0.01)


@pytest.mark.slow
def test_trained_head_finds_more_on_cows_that_it_never_saw(tmp_path):
    """The bar of every trained method: five points of PCK@0.1 on held-out pairs."""
    write_tiny(tmp_path / "cows")
    given = {"features": LiteFeatures(), "method": Supervised()}
    train(options(tmp_path / "cows", tmp_path / "cache", tmp_path / "run", **given))
    test = read_spair(tmp_path / "cows", split="test", size="small")
    frozen = FeatureCache(tmp_path / "cache", LiteFeatures())
    head, _ = load_trained(tmp_path / "run" / "head.safetensors")
    assert pck_percent(test, frozen, head) > pck_percent(test, frozen) + 5


def test_interrupted_training_ends_as_one_in_a_single_go(trained, tiny_root, cache, tmp_path):
    whole, _, _ = trained
    backward, calls = supervised.backward, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return backward(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "backward", stops)
        with pytest.raises(KeyboardInterrupt):
            train(options(tiny_root, cache, tmp_path / "run"))
    train(options(tiny_root, cache, tmp_path / "run"))
    ours, theirs = (load_trained(f / "head.safetensors")[0].state_dict()
                    for f in (tmp_path / "run", whole))  # fmt: skip
    for name, value in ours.items():
        np.testing.assert_array_equal(value.numpy(), theirs[name].numpy(), err_msg=name)


def test_folder_of_another_training_is_refused(trained, tiny_root, cache):
    other = Supervised(steps=12, couples=2, hidden=24, every=6, lr=2e-2)
    with pytest.raises(UserError, match=r"made with options\.lr=0\.002, not 0\.02; choose"):
        train(options(tiny_root, cache, trained[0], method=other))


def test_head_is_evaluated_under_its_own_key(trained, tiny_root, cache, tmp_path):
    head = trained[0] / "head.safetensors"
    given = {"benchmark": "spair71k", "data": str(tiny_root), "size": "small", "every": 4,
             "features": FEATURES, "cache": str(cache), "worst": 0}  # fmt: skip
    plain = evaluate(EvalOptions(**given, out=str(tmp_path / "plain")))
    text = evaluate(EvalOptions(**given, out=str(tmp_path / "head"), head=str(head)))
    assert f"head={head}" in text
    assert "head=" not in plain
    scores = [json.loads((tmp_path / n / "metrics.json").read_text())["averages"]
              for n in ("plain", "head")]  # fmt: skip
    assert scores[0] != scores[1]
    keys = [p.name for p in cache.iterdir() if "-head-" in p.name]
    assert len(keys) == 1
    with pytest.raises(UserError, match="holds predictions made with head=None, not"):
        evaluate(EvalOptions(**given, out=str(tmp_path / "plain"), head=str(head)))
    with pytest.raises(UserError, match="trained on features with long_side=160, not 192"):
        evaluate(EvalOptions(**{**given, "features": LiteFeatures(long_side=192)},
                             out=str(tmp_path / "c"), head=str(head)))  # fmt: skip


def test_evaluation_on_training_photos_says_so(trained, tiny_root, cache, tmp_path):
    head = str(trained[0] / "head.safetensors")
    text = evaluate(EvalOptions(
        benchmark="spair71k", data=str(tiny_root), size="small", split="trn", every=9,
        features=FEATURES, cache=str(cache), worst=0, out=str(tmp_path / "trn"), head=head,
    ))  # fmt: skip
    assert "of these photos, this is no result" in text


def test_splits_that_share_photos_are_refused_or_dropped(tiny_root, cache, tmp_path, monkeypatch):
    import corr.semantic.learned.train as module

    read = module.read_pairs

    def mixed(benchmark, root, *, split, **more):
        pairs = read(benchmark, root, split=split, **more)
        if split != "trn":
            return pairs
        theirs = read(benchmark, root, split="test", **more).pairs[:3]
        return replace(pairs, pairs=(*pairs.pairs, *theirs))

    monkeypatch.setattr(module, "read_pairs", mixed)
    with pytest.raises(UserError, match=r"photos of test are in trn too .*\(shared=drop does\)"):
        train(options(tiny_root, cache, tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    world = module.opened(options(tiny_root, cache, tmp_path / "b", shared="drop"), tmp_path / "b")
    assert len(world.learned.pairs) == len(read_spair(tiny_root, split="trn", size="small").pairs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": "pf_willow"}, "benchmark must be one of spair71k, pf_pascal, ap10k, got"),
        ({"shared": "keep"}, "shared must be one of refuse, drop, got keep"),
        ({"threads": 0}, "threads must be 1 or more, got 0"),
        ({"memory_mb": 0.0}, "memory_mb must be positive, got 0"),
    ],
)
def test_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainOptions(**{"benchmark": "spair71k", "data": "x", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, r"method\.steps must be 1 or more, got 0"),
        ({"lr": 0.0}, r"method\.lr must be positive, got 0"),
        ({"both": 0.9}, r"must be shares of 1, got \(0\.9, 0\.3"),
        ({"dropout": 1.0}, r"method\.dropout must lie in 0 … 1, got 1"),
    ],
)
def test_method_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Supervised(**changes)


def test_command_line_refuses_in_one_line(tmp_path):
    done = command("corr", "train", "benchmark=spair71k", "data=x", "method.steps=0", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "corr train: method.steps must be 1 or more, got 0\n"
    assert not list(tmp_path.iterdir())


def test_command_line_trains(tiny_root, cache, tmp_path):
    done = command(
        "corr", "train", "method=supervised", "benchmark=spair71k", f"data={tiny_root}",
        "size=small", f"cache={cache}", "features.long_side=160", "method.steps=2",
        "method.hidden=24", "method.every=1", "out=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"head: {tmp_path / 'run' / 'head.safetensors'}" in done.stdout
    assert "none of the 8 test photos among them" in done.stdout
