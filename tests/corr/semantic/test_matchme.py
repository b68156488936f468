"""`method=matchme`: guesses stand their tests, hidden annotations stay hidden, rounds go on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from corr.semantic.datasets.base import Side
from corr.semantic.datasets.spair import read_spair
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.learned.annotator import Guessing, agreed, annotated, nearer
from corr.semantic.learned.files import load_trained
from corr.semantic.learned.matchme import MatchMe, coupled
from corr.semantic.learned.shots import Shot
from corr.semantic.learned.train import opened, train
from corr.training_options import TrainOptions

ROWS, COLUMNS, STEP = 9, 11, 10.0
GUESSING = Guessing()


def side(name: str) -> Side:
    return Side(name, Path(f"{name}.jpg"), int(COLUMNS * STEP), int(ROWS * STEP),
                uv=np.zeros((0, 2)))  # fmt: skip


def world(names: str, seed=0) -> tuple[dict[str, FeatureGrid], dict[str, np.ndarray]]:
    """Photos of the same object, its parts in each shifted by a cell; and where its parts are."""
    rng = np.random.default_rng(seed)
    parts = unit(rng.normal(size=(ROWS, COLUMNS, 16)))
    grids, shift = {}, {}
    for k, name in enumerate(names):
        noise = 0.02 * rng.normal(size=parts.shape)
        cells = unit(np.roll(parts, k, axis=1) + noise).astype(np.float32)
        step = np.array([STEP, STEP])
        grid = FeatureGrid(cells, step / 2, step, int(COLUMNS * STEP), int(ROWS * STEP))
        grids[name], shift[name] = grid, np.array([k * STEP, 0])
        # Mirror images look like nothing else.
        other = unit(rng.normal(size=parts.shape)).astype(np.float32)
        grids[f"{name}|mirror"] = replace(grid, descriptor=other)
    return grids, shift


POINTS = {"a": np.array([25.0, 35.0]), "b": np.array([45.0, 65.0]), "c": np.array([15.0, 15.0])}


def shots(names: str, shift) -> list[Shot]:
    return [Shot(side(n), "cow", {k: uv + shift[n] for k, uv in POINTS.items()}) for n in names]


def test_key_points_of_a_new_photo_are_guessed_where_they_are():
    grids, shift = world("pqr")
    photo = Shot(side("r"), "cow", {})
    found = annotated(photo, shots("pq", shift), lambda s: grids[s.name], {}, GUESSING)
    assert set(found.points) == set(POINTS)
    for name, uv in found.points.items():
        np.testing.assert_allclose(uv, POINTS[name] + shift["r"], atol=2)
    assert set(found.trust.values()) == {1.0}


def test_part_that_looks_like_another_is_not_guessed():
    grids, shift = world("pqr")
    for name in "pqr":
        cells = grids[name].descriptor.copy()
        column = int((POINTS["a"] + shift[name])[0] // STEP)
        cells[7, (column + 5) % COLUMNS] = cells[3, column]  # part a, twice
        grids[name] = replace(grids[name], descriptor=cells)
    photo = Shot(side("r"), "cow", {})
    found = annotated(photo, shots("pq", shift), lambda s: grids[s.name], {}, GUESSING)
    assert set(found.points) == {"b", "c"}


def test_guesses_that_do_not_lead_back_or_do_not_agree_are_dropped():
    near, far = np.array([10.0, 10.0]), np.array([60.0, 10.0])
    asked = {"a": 4, "b": 4, "c": 4}
    points, trust = agreed({"a": [near, near + 1, far], "b": [near, near, far, far], "c": [near]},
                           asked, STEP, GUESSING)  # fmt: skip
    assert set(points) == {"a"}
    np.testing.assert_allclose(points["a"], near + 0.5)
    assert trust == {"a": 0.5}
    grids, shift = world("pq")
    strangers = replace(grids["q"], descriptor=grids["q|mirror"].descriptor)
    photo = Shot(side("q"), "cow", {})
    strict = Guessing(back_cells=0.5, margin=0.3, least=1)
    table = {**grids, "q": strangers}
    assert not annotated(photo, shots("p", shift), lambda s: table[s.name], {}, strict).points


def test_mirror_image_is_asked_where_it_fits_better():
    grids, shift = world("pq")
    (known,) = shots("p", shift)
    swapped = {**grids, "p": grids["p|mirror"], "p|mirror": grids["p"]}
    assert not nearer(known, grids["q"], lambda s: grids[s.name], {}).side.mirrored
    turned = nearer(known, grids["q"], lambda s: swapped[s.name], {"cow": {"a": "b", "b": "a"}})
    assert turned.side.mirrored
    np.testing.assert_allclose(turned.points["b"], [COLUMNS * STEP - 25, 35])


def test_couples_need_common_points():
    grids, shift = world("pq")
    assert grids
    known = shots("pq", shift)
    assert len(coupled(known)) == 1
    with pytest.raises(ValueError, match="no two annotated photos have 3 key-points in common"):
        coupled([known[0], replace(known[1], category="dog")])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labelled": 0.0}, r"method\.labelled must lie in 0 … 1, got 0"),
        ({"rounds": 0}, r"method\.rounds and method\.agree must be 1 or more"),
        ({"back_cells": 0.0}, r"method\.back_cells must be positive, got 0"),
        ({"steps": 0}, r"method\.steps must be 1 or more, got 0"),
    ],
)
def test_options_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MatchMe(**changes)


@pytest.mark.weights
@pytest.mark.usefixtures("one_thread")
def test_training_uses_the_annotations_of_few_photos_only(tiny_root, tmp_path):
    method = MatchMe(steps=3, couples=1, hidden=20, every=3, labelled=0.5)
    options = TrainOptions(
        benchmark="spair71k", data=str(tiny_root), size="small", method=method,
        features=LiteFeatures(long_side=160), cache=str(tmp_path / "cache"),
        out=str(tmp_path / "run"),
    )  # fmt: skip
    known, hidden = method.divided(opened(options, tmp_path / "run"))
    learned = read_spair(tiny_root, split="trn", size="small")
    assert len(known) == len(hidden) == len(learned.photos) / 2
    assert all(s.points for s in known)
    assert not any(s.points for s in hidden)
    text = train(options)
    assert text.startswith("method=matchme features=lite: PCK@0.1 per image on val ")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "round_0", "round_1", "head.safetensors", "curve.csv", "curve.svg", "result.json",
    }  # fmt: skip
    _, about = load_trained(tmp_path / "run" / "head.safetensors")
    assert about["options"]["labelled"] == 0.5
    assert len(about["photos"]) == len(learned.photos)
    before = (tmp_path / "run" / "head.safetensors").read_bytes()
    train(options)  # finished rounds are not repeated
    assert (tmp_path / "run" / "head.safetensors").read_bytes() == before
