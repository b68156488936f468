import copy
import dataclasses
import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from corr.errors import UserError
from corr.matchers.dense.data.pairs import PairOptions
from corr.matchers.dense.data.photos import load_photos
from corr.matchers.dense.network import DenseNetwork
from corr.matchers.dense.training import loop
from corr.matchers.dense.training.curves import append, read
from corr.matchers.dense.training.options import TrainOptions
from corr.matchers.dense.training.validation import calibration_error
from corr.matchers.dense.weights_file import load_dense, read_weights


@pytest.fixture
def train(monkeypatch, small, tmp_path):
    """`train(folder, **options)` of a small network on tiny pairs."""
    from kornia.feature import XFeat

    torch.manual_seed(1)
    frozen = XFeat().net
    monkeypatch.setattr(loop, "Config", lambda: small)
    monkeypatch.setattr(loop, "PairOptions", partial(PairOptions, canvases=1))
    monkeypatch.setattr(loop, "load_xfeat", lambda path: type("X", (), {"net": frozen}))

    def run(folder: str, **options) -> str:
        given = {
            "steps": 4, "batch": 2, "width": 64, "height": 64, "large_width": 96,
            "large_height": 64, "large_batch": 1, "textures": 12, "validate_every": 100,
            "validation_pairs": 1, "device": "cpu",
        }  # fmt: skip
        out = str(tmp_path / folder)
        return loop.train(TrainOptions(matcher="dense", out=out, **{**given, **options}))

    return run


def weights(folder) -> dict[str, torch.Tensor]:
    names = ("weights", "average", "moment1", "moment2")
    return {f"{n}.{k}": v for n in names for k, v in load_file(folder / f"{n}.safetensors").items()}


def interrupt_at(monkeypatch, step: int) -> None:
    plain = loop.PairSource.batch

    def batch(self, index, *size):
        if index == step and self.seed == 0:
            raise KeyboardInterrupt
        return plain(self, index, *size)

    monkeypatch.setattr(loop.PairSource, "batch", batch)


def test_interrupted_training_equals_one_in_a_single_go(train, tmp_path, monkeypatch):
    train("whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train("parts")
    state = json.loads((tmp_path / "parts" / "progress.json").read_text())["progress"]
    assert (state["step"], state["finished"]) == (2, False)
    train("parts")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    rows = read(tmp_path / "parts" / "log.csv")
    assert rows[-1]["step"] == 4
    assert 0 <= rows[-1]["pck5"] <= 1
    assert (tmp_path / "parts" / "curves.png").stat().st_size > 1000


def test_finished_training_goes_on_with_another_stretch(train, tmp_path):
    train("more", steps=2)
    summary = train("more", steps=1)
    assert summary.startswith("3 steps")
    _, config, about = read_weights(tmp_path / "more" / "dense.safetensors")
    assert about["progress"]["step"] == 3
    assert config.layers == 1


def test_step_that_is_not_finite_is_left_out(train, tmp_path, monkeypatch):
    plain, calls = loop.total_loss, []

    def poisoned(*arguments):
        loss, parts = plain(*arguments)
        calls.append(1)
        return (loss * float("nan") if len(calls) == 2 else loss), parts

    monkeypatch.setattr(loop, "total_loss", poisoned)
    assert "(1 skipped)" in train("nan", steps=3)
    assert all(torch.isfinite(v.float()).all() for v in weights(tmp_path / "nan").values())


def test_weights_come_back_as_they_were_up_to_half_precision(train, tmp_path, small):
    from kornia.feature import XFeat

    train("back", steps=1)
    file = tmp_path / "back" / "dense.safetensors"
    stored, _, about = read_weights(file)
    average = load_file(tmp_path / "back" / "average.safetensors")
    assert stored.keys() == average.keys()
    for name, value in stored.items():
        assert torch.allclose(value.float(), average[name].float(), atol=2e-3, rtol=1e-3), name
    torch.manual_seed(0)
    frozen = XFeat().net
    network, _ = load_dense(file, copy.deepcopy(frozen))
    plain = DenseNetwork(small, frozen)
    plain.load_state_dict(stored, strict=False)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():  # batch norms are folded into the kernels
        ours, theirs = network(images), plain.eval()(images)
    assert (ours.refined[-1].warp - theirs.refined[-1].warp).abs().max() < 1e-2
    assert about["options"]["width"] == 64
    assert network.config == small


def test_rate_falls_with_the_spent_budget(small):
    stretch = object.__new__(loop.Stretch)
    stretch.setting = type("S", (), {"options": TrainOptions(matcher="dense", lr=1e-3)})
    rates = [stretch.rate(share) for share in (0.0, 0.015, 0.03, 0.3, 0.6, 0.999)]
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4] > rates[5]
    assert rates[5] == pytest.approx(1e-5, rel=0.1)
    assert rates[2] == pytest.approx(1e-3, rel=0.01)


def test_start_weights_are_taken_over(train, tmp_path):
    train("first", steps=1)
    start = str(tmp_path / "first" / "dense.safetensors")
    train("second", steps=1, start=start, lr=1e-12)
    before = load_file(start)
    after = load_file(tmp_path / "second" / "weights.safetensors")
    name = "matcher.enter.weight"
    assert torch.allclose(before[name].float(), after[name], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matcher": "sparse"}, "matcher must be one of dense, got sparse"),
        ({"width": 100}, "width must be a multiple of 32 of at least 64, got 100"),
        ({"large_height": 32}, "large_height must be a multiple of 32"),
        ({"batch": 0}, "batch must be positive, got 0"),
        ({"minutes": -1.0}, r"minutes must be 0 \(count steps\) or positive, got -1.0"),
        ({"precision": "half"}, "precision must be one of auto, bf16, float32, got half"),
        ({"compile": "all"}, "compile must be one of off, data, got all"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda, got tpu"),
        ({"ema": 1.0}, r"ema must lie in \[0, 1\), got 1.0"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"workers": -1}, r"workers must be 0 \(none\) or more, got -1"),
        ({"textures": 3}, "textures must be at least 12, got 3"),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        TrainOptions(**{"matcher": "dense", **change})


def test_missing_and_foreign_files_are_named(tmp_path, train):
    with pytest.raises(UserError, match=r"packed photos .* do not exist; make them by"):
        load_photos(str(tmp_path / "none.npz"), torch.device("cpu"))
    with pytest.raises(UserError, match="train it by: python -m corr train matcher=dense"):
        read_weights(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"no weights")
    with pytest.raises(UserError, match="does not hold weights of the dense matcher"):
        read_weights(foreign)


def test_checkpoint_of_mixed_steps_is_refused(train, tmp_path):
    train("a", steps=1)
    train("b", steps=2)
    (tmp_path / "a" / "moment1.safetensors").replace(tmp_path / "b" / "moment1.safetensors")
    with pytest.raises(UserError, match="a write was cut off"):
        train("b", steps=1)


def test_log_takes_new_columns(tmp_path):
    append(tmp_path / "log.csv", {"step": 1.0, "loss": 2.5})
    append(tmp_path / "log.csv", {"step": 2.0, "pck1": 0.5})
    assert read(tmp_path / "log.csv") == [{"step": 1, "loss": 2.5}, {"step": 2, "pck1": 0.5}]


def test_calibration_error_is_zero_for_honest_and_large_for_boastful():
    generator = torch.Generator().manual_seed(0)
    said = torch.rand(200_000, generator=generator)
    right = torch.rand(200_000, generator=generator) < said
    assert calibration_error(said, right) < 0.01
    assert calibration_error((said + 1) / 2, right) == pytest.approx(0.25, abs=0.02)


def test_every_option_has_a_plain_default():
    assert all(f.default is not dataclasses.MISSING for f in dataclasses.fields(TrainOptions))
