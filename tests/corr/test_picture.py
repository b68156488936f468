"""Where a picture lies in its photo: cut, turned, shrunk, tiled, each pixel finds its way back."""

import numpy as np
import pytest

from corr.matchers.feature_store import FeatureStore, size_bytes
from corr.matchers.picture import Picture, network_input
from corr.matchers.tiles import PARTNERS, tile_pairs, tiling

WIDTH, HEIGHT = 61, 43


@pytest.fixture
def picture(as_image) -> Picture:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask = rng.random((HEIGHT, WIDTH)) > 0.3
    return Picture.whole(as_image(rgb, "p", mask, scale=2))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("cut", [(0, 0, WIDTH, HEIGHT), (7, 5, 50, 28)])
def test_every_pixel_of_a_turned_part_leads_to_its_own_colour(picture, turns, cut):
    part = picture.cut(*cut).turned(turns)
    rows, columns = np.indices(part.rgb.shape[:2]).reshape(2, -1)
    at = part.place.to_original(np.stack([columns, rows], -1) + 0.5) / 2 - 0.5
    assert np.array_equal(at, np.round(at))
    x, y = at.astype(int).T
    assert np.array_equal(part.rgb[rows, columns], picture.rgb[y, x])
    assert np.array_equal(part.usable[rows, columns], picture.usable[y, x])
    assert (part.place.width, part.place.height) == part.rgb.shape[1::-1]


@pytest.mark.parametrize(("max_side", "multiple"), [(0, 1), (40, 1), (40, 8), (0, 32), (200, 16)])
def test_network_input_spans_the_whole_picture(picture, max_side, multiple):
    import torch

    seen = network_input(picture, torch.device("cpu"), max_side=max_side, multiple=multiple)
    width, height = seen.size
    assert width % multiple == height % multiple == 0
    assert max(width, height) <= max(max_side or WIDTH, WIDTH + multiple)
    assert seen.px * seen.size == pytest.approx([WIDTH, HEIGHT])
    assert seen.usable.shape == (height, width)
    assert float(seen.usable.mean()) == pytest.approx(picture.usable.mean(), abs=0.05)


def test_masked_pixels_are_shown_as_the_mean_of_the_others(picture):
    import torch

    seen = network_input(picture, torch.device("cpu"), max_side=0)
    shown = seen.pixels[0].permute(1, 2, 0).numpy()
    mean = picture.rgb[picture.usable].mean(0) / 255
    assert shown[~picture.usable] == pytest.approx(np.tile(mean, ((~picture.usable).sum(), 1)))
    assert shown[picture.usable] == pytest.approx(picture.rgb[picture.usable] / 255.0)


@pytest.mark.parametrize(
    ("width", "height", "side"), [(1000, 701, 300), (299, 300, 300), (301, 40, 300)]
)
def test_cores_of_tiles_cover_a_picture_once(width, height, side):
    found = tiling(width, height, side)
    count = np.zeros((height, width), int)
    for number, tile in enumerate(found.tiles):
        left, top, right, bottom = tile.core
        count[top:bottom, left:right] += 1
        assert tile.left <= left < right <= tile.right <= width
        assert tile.top <= top < bottom <= tile.bottom <= height
        assert max(tile.right - tile.left, tile.bottom - tile.top) <= side + 1
        corners = np.array([[left, top], [right - 0.01, bottom - 0.01]])
        assert found.of(corners).tolist() == [number, number]
    assert (count == 1).all()
    assert (len(found.tiles) == 1) == (max(width, height) <= side)


def test_tiles_are_paired_by_the_matches_that_they_share():
    shared = {(0, 1): 9, (0, 0): 2, (3, 2): 3, (4, 0): 50, **{(1, k): 10 + k for k in range(8)}}
    tile_a, tile_b = np.array([pair for pair, n in shared.items() for _ in range(n)]).T
    best = [(1, k) for k in range(8 - PARTNERS, 8)]
    assert tile_pairs(tile_a, tile_b) == sorted([(0, 1), (3, 2), (4, 0), *best])


def test_features_are_computed_once_and_forgotten_after_the_last_pair():
    made = []

    def get(store, photo):
        return store.get((photo, 0, -1), lambda: made.append(photo) or np.zeros(1000))

    pairs = [(0, 1), (0, 2), (1, 2)]
    store = FeatureStore(pairs, limit_mb=10.0)
    for a, b in pairs:
        get(store, a)
        get(store, b)
        store.done((a, b))
    assert made == [0, 1, 2]
    assert not store._kept


def test_least_used_features_go_when_memory_is_short():
    made = []
    store = FeatureStore([(0, 1), (0, 2), (0, 1)], limit_mb=2.5 * 8e6 / 2**20)
    for photo in (0, 1, 0, 2, 0, 1):
        store.get((photo, 0, -1), lambda photo=photo: made.append(photo) or np.zeros(10**6))
    assert made == [0, 1, 2, 1]


def test_size_counts_what_lies_inside():
    assert size_bytes({"a": [np.zeros(3), (np.zeros(2, np.float32),)], "b": 7}) == 32
