"""The rendered cows: truth that fits the pictures, hard cases, splits by instance, same bytes."""

import json

import numpy as np
import pytest
from PIL import Image as PilImage

from corr.semantic.datasets.left_right import SPAIR_TWINS
from corr.semantic.datasets.spair import read_spair
from corr.semantic.datasets.tiny import TinySize, write_tiny
from corr.semantic.datasets.tiny_render import View, make_cow, project, render


def front(**changes) -> View:
    given = {"azimuth": 0.0, "elevation": 0.2, "distance": 3.6, "focal_px": 150.0, "width": 161,
             "height": 139, "shift_px": np.zeros(2), "post": -1.0}  # fmt: skip
    return View(**{**given, **changes})


def test_key_points_lie_on_the_cow():
    rng = np.random.default_rng(5)
    for azimuth in np.linspace(0, 6, 7):
        photo = render(make_cow(rng), front(azimuth=float(azimuth)), rng)
        column, row = np.floor(photo.uv).astype(int).T
        near = [photo.mask[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3].any()
                for r, c in zip(row, column, strict=True)]  # fmt: skip
        assert all(near)
        assert len(photo.ids) >= 6


def test_left_is_on_the_viewers_right_from_the_front_and_on_the_left_from_behind():
    cow = make_cow(np.random.default_rng(1))
    right, left = (cow.ids.index(i) for i in ("19", "20"))
    for azimuth, sign in ((0.0, 1), (np.pi, -1)):
        uv = project(front(azimuth=azimuth), cow.xyz)
        assert sign * (uv[left, 0] - uv[right, 0]) > 5
    assert SPAIR_TWINS["cow"]["19"] == "20"


def test_hidden_key_points_are_not_listed():
    cow = make_cow(np.random.default_rng(2))
    rng = np.random.default_rng(0)
    assert "14" not in render(cow, front(), rng).ids  # the tail's tip, from the front
    assert "14" in render(cow, front(azimuth=np.pi), rng).ids
    assert {"4", "5"} <= set(render(cow, front(), rng).ids)  # the eyes
    assert not {"4", "5"} & set(render(cow, front(azimuth=np.pi), rng).ids)


def test_post_hides_what_is_behind_it_and_counts_as_occlusion():
    cow = make_cow(np.random.default_rng(2))
    free = render(cow, front(azimuth=1.5), np.random.default_rng(0))
    behind = render(cow, front(azimuth=1.5, post=0.5), np.random.default_rng(0))
    assert behind.occluded
    assert not free.occluded
    assert behind.mask.sum() < free.mask.sum()
    assert render(cow, front(focal_px=500.0), np.random.default_rng(0)).truncated


def test_same_seed_writes_the_same_files_and_splits_have_other_cows(tmp_path, tiny_root):
    small = TinySize(instances=(1, 0, 2), views=2, side_px=101)
    for name in ("a", "b"):
        write_tiny(tmp_path / name, size=small, seed=3)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 15
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    instances = {
        split: {p.name.partition("/")[2].partition("_")[0]
                for p in read_spair(tiny_root, split=split, size="small").photos.values()}
        for split in ("trn", "val", "test")
    }  # fmt: skip
    assert instances == {"trn": {"000", "001"}, "val": {"002", "003"}, "test": {"004", "005"}}


def test_photos_are_of_several_sizes_and_the_pairs_have_levels(tiny, tiny_root):
    sizes = {(s.width, s.height) for s in tiny.photos.values()}
    assert len(sizes) > 3
    assert any(w > h for w, h in sizes)
    assert any(h > w for w, h in sizes)
    for side in tiny.photos.values():
        with PilImage.open(side.path) as photo, PilImage.open(side.mask) as mask:
            assert photo.size == mask.size == (side.width, side.height)
            rows = np.flatnonzero(np.asarray(mask).any(1))
        assert side.box[1] == rows[0] + 0.5
        assert side.box[3] == rows[-1] + 0.5
    assert {p.difficulty.viewpoint for p in tiny.pairs} == {0, 1, 2}
    annotation = json.loads(next((tiny_root / "ImageAnnotation" / "cow").glob("*")).read_text())
    assert len(annotation["kps"]) == 30


def test_default_size_is_rendered_in_seconds_with_hundreds_of_pairs(tmp_path):
    assert write_tiny(tmp_path, size=TinySize(instances=(0, 0, 4))) > 300
    with pytest.raises(Exception, match="lists no pair"):
        read_spair(tmp_path, split="trn", size="small")
