"""The network behind XFeat*'s sub-pixel places, and its training."""

import json

import numpy as np
import pytest
import torch

from corr.matchers.dense.data.pairs import PairOptions, PairSource
from corr.matchers.offset_head import train as training
from corr.matchers.offset_head.data import COLUMNS, matched_cells
from corr.matchers.offset_head.network import OffsetHead, load_offset_head
from corr.matchers.offset_head.train import HeadOptions, loss_of, make_rows, train
from corr.matchers.xfeat import XFeatStar
from corr.training.log import read_rows
from corr.training.weights_file import load_network


def made_rows(*_) -> list[torch.Tensor]:
    """Offsets that two descriptor values tell, in twelve batches; every fifth is unknown."""
    draw = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(12):
        pairs = torch.randn(200, 128, generator=draw)
        offset = 2 * pairs[:, :2] - pairs[:, 64:66]
        offset[::5] = torch.nan
        batches.append(torch.cat([pairs, pairs[:, 3:4].sigmoid(), offset], 1))
    return batches


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "make_rows", made_rows)
    return HeadOptions(out=str(tmp_path / "head"), steps=300, rows=128)


def test_training_learns_and_writes_what_loads(options, tmp_path):
    found = json.loads(train(options))
    course = read_rows(tmp_path / "head" / "log.csv")
    assert course[0]["step"] == 30
    assert found["median"] < 0.5 * course[0]["median"]
    head = OffsetHead()
    about = load_network(head, tmp_path / "head" / "offset_head.safetensors")
    assert about["options"]["steps"] == 300
    assert about["scores"]["median"] == found["median"]


def test_a_cut_off_training_ends_as_one_in_a_single_go(options, tmp_path, monkeypatch):
    whole = train(options)
    other = HeadOptions(out=str(tmp_path / "other"), steps=300, rows=128)
    calls = []

    def stopping(found, rows):
        calls.append(1)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return loss_of(found, rows)

    monkeypatch.setattr(training, "loss_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(other)
    monkeypatch.setattr(training, "loss_of", loss_of)
    assert train(other) == whole


def test_wrong_matches_and_unseen_places_teach_no_offset():
    rows = made_rows()[0]
    far = rows.clone()
    far[1, COLUMNS["offset"]] = torch.tensor([300.0, 0.0])
    found = torch.zeros(len(rows), 3, requires_grad=True)
    loss_of(found, far).backward()
    assert found.grad[:, :2].abs().sum(1)[[0, 1, 5]].tolist() == [0, 0, 0]
    assert (found.grad[2, :2] != 0).all()


@pytest.mark.weights
def test_rows_tell_where_the_partner_lies():
    """Flat pictures: what the rows say is what the shipped head says, within its error."""
    source = PairSource(
        PairOptions(flat_share=1.0, textures=12, texture_size=64), 3, torch.device("cpu"), None
    )
    with torch.inference_mode():
        rows = matched_cells(2, source, XFeatStar(top_k=2000))
        offset, _ = load_offset_head()(rows[:, COLUMNS["pairs"]])
    true = rows[:, COLUMNS["offset"]]
    known = true.isfinite().all(1)
    assert 0.3 < known.float().mean() < 1
    near = known & (true.norm(dim=1) < 8)
    assert (offset - true)[near].norm(dim=1).median() < 2.0
    assert true[near].norm(dim=1).median() > 2.0


@pytest.mark.weights
def test_rows_that_were_made_are_not_made_again(tmp_path, monkeypatch):
    asked = []

    def one(index, *_):
        asked.append(index)
        return torch.full((3, 131), float(index))

    monkeypatch.setattr(training, "matched_cells", one)
    options = HeadOptions(batches=3)
    first = make_rows(options, tmp_path)
    assert [float(r[0, 0]) for r in make_rows(options, tmp_path)] == [0, 1, 2]
    assert asked == [0, 1, 2]
    assert len(first) == 3


def test_the_shipped_head_is_a_quarter_of_the_work():
    """Multiplications per pair: XFeat's own head has five layers of up to 512 x 512."""
    own = sum(p.numel() for p in load_offset_head().parameters() if p.dim() == 2)
    assert own <= (128 * 512 + 3 * 512 * 512 + 512 * 64) / 4


def test_any_number_of_pairs():
    head = load_offset_head()
    for count in (0, 1, 2049):
        offset, sure = head(torch.zeros(count, 128))
        assert offset.shape == (count, 2)
        assert sure.shape == (count,)
        assert np.isfinite(offset.numpy()).all()
