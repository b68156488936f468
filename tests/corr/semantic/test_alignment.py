"""Votes for a shift, the choice of the flipped source, and the page of worst pairs."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from corr.semantic.datasets.base import PairSet
from corr.semantic.evaluation.page import worst_first, write_page
from corr.semantic.evaluation.predictions import Prediction
from corr.semantic.evaluation.scores import score
from corr.semantic.features.cache import FeatureCache, save_grid
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.hough import Hough, shift_votes
from corr.semantic.pck import point_errors
from corr.semantic.pictures import GREEN, GREY, RED, pair_picture
from corr.semantic.pose_alignment import align, flipped_side, object_cells
from corr.semantic.transfer import Nearest, Window

STEP = 10.0


@dataclass
class Patches(Extractor):
    """Every eighth pixel's colour, beside a constant."""

    def extract(self, rgb):
        cells = rgb[4::8, 4::8].astype(np.float32) / 255
        cells = unit(np.concatenate([cells, np.ones_like(cells[..., :1])], -1))
        height, width = rgb.shape[:2]
        return FeatureGrid(cells, np.full(2, 4.5), np.full(2, 8.0), width, height)


def noise(rows=12, columns=16, d=48, seed=0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(rows, columns, d))).astype(np.float32)


def as_grid(cells: np.ndarray) -> FeatureGrid:
    rows, columns = cells.shape[:2]
    size = int(columns * STEP), int(rows * STEP)
    return FeatureGrid(cells, np.full(2, STEP / 2), np.full(2, STEP), *size)


def test_votes_peak_at_the_shift_of_the_photo():
    cells = noise()
    source, target = as_grid(cells[:, :-3]), as_grid(cells[:, 3:])
    votes = shift_votes(source, target, 3.0)
    # What lies at u in the source lies 3 cells further left in the target.
    v, u = np.mgrid[-60:61:10, -60:61:10].astype(float)
    shifts = np.stack([u, v], -1)
    support = votes.at(shifts)
    best = shifts.reshape(-1, 2)[support.argmax()]
    assert np.abs(best - [-3 * STEP, 0]).max() <= STEP
    assert support.max() <= 1 + 1e-9
    assert support[0, -1] < 0.3


def test_hough_prefers_the_candidate_that_the_rest_of_the_photo_supports():
    """A part that occurs twice: the lone twin is the better match, the shift says otherwise."""
    cells = noise()
    source = as_grid(cells[:, :13])
    moved = cells[:, 3:].copy()
    part = cells[5, 6]
    moved[5, 3] = unit(part + 0.4 * noise(seed=1)[0, 0])  # where the shift puts it, a bit changed
    moved[10, 12] = part  # far away, the same
    target = as_grid(moved)
    uv = np.array([[65.0, 55.0]])
    np.testing.assert_allclose(Nearest().transfer(source, target, uv).uv, [[125.0, 105.0]])
    found = Hough(floor=0.2, temperature=0.01).transfer(source, target, uv).uv
    assert np.abs(found - [[35.0, 55.0]]).max() < STEP / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"power": 0.0}, "power must be positive"), ({"floor": 2.0}, "floor must lie in 0 … 1")],
)
def test_bad_options_of_hough_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Hough(**options)


def flipped_world(tiny, tmp_path):
    """A pair with both sides of a twin whose target looks like the flipped source."""
    pair = next(p for p in tiny.pairs if {"2", "3"} <= set(p.ids))
    cells = noise()
    size = {"width": 160, "height": 120}
    source = replace(pair.source, **size, uv=np.array([[35.0, 25.0], [115.0, 85.0]]), mask=None,
                     box=np.array([0.0, 0, 160, 120]))  # fmt: skip
    target = replace(pair.target, **size, uv=np.zeros((2, 2)))
    pair = replace(pair, source=source, target=target, ids=("2", "3"))
    cache = FeatureCache(tmp_path, None, key="made-up")
    cache.place.mkdir()
    save_grid(cache.file(source.name), as_grid(cells))
    save_grid(cache.file(flipped_side(source).name), as_grid(noise(seed=7)))
    return pair, cache, cells


TWINS = {"2": "3", "3": "2"}


def test_source_that_fits_as_it_is_is_not_flipped(tiny, tmp_path):
    pair, cache, cells = flipped_world(tiny, tmp_path)
    save_grid(cache.file(pair.target.name), as_grid(cells))
    got = align(pair, TWINS, cache, Nearest())
    assert not got.flipped
    np.testing.assert_allclose(got.found.uv, pair.source.uv)


def test_flipped_source_that_fits_better_is_used_and_left_and_right_change_places(tiny, tmp_path):
    pair, cache, _ = flipped_world(tiny, tmp_path)
    save_grid(cache.file(pair.target.name), as_grid(noise(seed=7)))
    got = align(pair, TWINS, cache, Nearest())
    assert got.flipped
    # Point 2 is where the mirrored 3 lies: 160 - 115, and the other way round.
    np.testing.assert_allclose(got.found.uv, [[45.0, 85.0], [125.0, 25.0]])
    alone = align(pair, {}, cache, Nearest())
    np.testing.assert_allclose(alone.found.uv, [[125.0, 25.0], [45.0, 85.0]])


def test_cells_of_the_object_follow_its_mask_its_box_and_the_flip(tiny):
    side = tiny.pairs[0].source
    step = np.full(2, 5.0)
    rows, columns = side.height // 5, side.width // 5
    grid = FeatureGrid(np.ones((rows, columns, 2), np.float32), step / 2, step, side.width,
                       side.height)  # fmt: skip
    by_mask = object_cells(side, grid)
    by_box = object_cells(replace(side, mask=None), grid)
    everything = object_cells(replace(side, mask=None, box=None), grid)
    assert 0 < by_mask.sum() < by_box.sum() < everything.sum() == rows * columns
    # The mirror image's cells are centred elsewhere (the width is no multiple of the step).
    turned = object_cells(side, grid, flip=True).reshape(rows, columns)
    straight = by_mask.reshape(rows, columns)
    middle = (np.argwhere(m)[:, 1].mean() for m in (straight, turned))
    assert sum(middle) == pytest.approx(columns, abs=2)


def answers(tiny: PairSet) -> dict[str, Prediction]:
    """The first pair all wrong, the second without an answer, the rest right."""
    out = {}
    for k, pair in enumerate(tiny.pairs):
        uv = pair.target.uv + (60 if k == 0 else np.nan if k == 1 else 0)
        n = len(uv)
        out[pair.key] = Prediction(pair.key, uv, np.full(n, 0.5), *(np.zeros(n),) * 3)
    return out


def test_worst_pairs_come_first(tiny):
    uv = {k: p.uv for k, p in answers(tiny).items()}
    order = worst_first(point_errors(tiny, uv))
    assert sorted(order[:2]) == [0, 1]
    assert order[2:] == sorted(order[2:])
    assert len(order) == len(tiny.pairs)


def test_page_shows_the_worst_pairs_and_loads_nothing(tiny, tmp_path):
    predictions = answers(tiny)
    scores = score(tiny, predictions)
    path = tmp_path / "report.html"
    write_page(
        path, tiny, predictions, scores, setup="made <up>", worst=3,
        cache=FeatureCache(tmp_path / "cache", Patches()), transfer=Window(),
    )  # fmt: skip
    html = path.read_text()
    assert html.count("<figure>") == 3
    assert html.count('src="data:image/jpeg;base64,') == 6
    assert html.index(tiny.pairs[0].key) < html.index(tiny.pairs[2].key)
    assert "made &lt;up&gt;" in html
    assert "sanity" in html
    assert "–" in html  # no answer has no median error
    assert not re.search(r'(src|href)="(?!data:)', html)


def test_picture_is_green_where_found_red_where_not_and_grey_without_an_answer():
    photo = np.full((100, 150, 3), 255, np.uint8)
    uv = np.array([[20.0, 20.0], [70.0, 50.0], [120.0, 80.0]])
    found = np.array([True, False, False])
    answer = uv + np.array([[0, 0], [40, 0], [np.nan, 0]])
    picture = pair_picture(photo, photo, uv_source=uv, uv_true=uv, uv_found=answer, found=found,
                           height=100)  # fmt: skip
    assert picture.shape == (100, 150 + 12 + 150, 3)
    for (u, v), colour in zip(uv.astype(int), (GREEN, RED, GREY), strict=True):
        assert tuple(picture[v, u]) == colour
    assert tuple(picture[20, 162 + 20]) == GREEN
    assert tuple(picture[50, 162 + 110]) == RED
    assert not (picture == np.array(GREEN)).all(-1)[60:].any()
