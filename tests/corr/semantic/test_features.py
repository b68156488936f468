"""The contract of features: exact places, any size, no squashing; and what is kept on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PilImage

from corr.errors import UserError
from corr.semantic.features.cache import (
    FeatureCache,
    described,
    extractor_key,
    load_grid,
    read_photo,
    save_grid,
)
from corr.semantic.features.extractor import Extractor, Frame, fit
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.features.xfeat import XFeatFeatures
from tests.conftest import SAMPLE


def grid(rows=5, columns=7, d=3, seed=0) -> FeatureGrid:
    rng = np.random.default_rng(seed)
    cells = unit(rng.normal(size=(rows, columns, d))).astype(np.float32)
    return FeatureGrid(cells, np.array([4.0, 5.0]), np.array([8.0, 9.0]), 60, 50)


class Ramp(Extractor):
    """Cells that say where they are: u and v of their centre. A step of 4 pixels."""

    def extract(self, rgb):
        height, width = rgb.shape[:2]
        v, u = np.mgrid[2:height:4, 2:width:4].astype(float)
        cells = unit(np.stack([u, v, np.full_like(u, 50)], -1))
        return FeatureGrid(cells, np.array([2.0, 2.0]), np.array([4.0, 4.0]), width, height)


def test_places_of_cells_go_there_and_back():
    g = grid()
    centres = g.centres()
    assert centres.shape == (35, 2)
    np.testing.assert_array_equal(centres[0], [4, 5])
    np.testing.assert_array_equal(centres[7 + 2], [4 + 2 * 8, 5 + 9])
    np.testing.assert_allclose(g.uv_of(g.cell_of(centres)), centres)


def test_sampling_at_centres_gives_the_cells_and_half_way_their_mean():
    g = grid()
    np.testing.assert_allclose(g.sample(g.centres()), g.flat, atol=1e-6)
    middle = g.sample(np.array([[8.0, 5.0]]))
    np.testing.assert_allclose(middle, unit(g.flat[:1] + g.flat[1:2]), atol=1e-6)
    np.testing.assert_allclose(g.sample(np.array([[-99.0, -99.0]])), g.flat[:1], atol=1e-6)
    np.testing.assert_allclose(g.sample(np.array([[999.0, 999.0]])), g.flat[-1:], atol=1e-6)
    single = FeatureGrid(g.descriptor[:1, :1], g.first_uv, g.step_uv, 9, 9)
    np.testing.assert_allclose(single.sample(np.array([[3.0, 3.0]])), g.flat[:1], atol=1e-6)


def test_grid_without_cells_or_with_a_backward_step_is_refused():
    with pytest.raises(ValueError, match="a grid must have cells"):
        FeatureGrid(np.zeros((0, 3, 2)), np.zeros(2), np.ones(2), 9, 9)
    with pytest.raises(ValueError, match="step between cells must be positive"):
        FeatureGrid(np.ones((1, 3, 2)), np.zeros(2), np.array([1.0, 0.0]), 9, 9)


@pytest.mark.parametrize(("width", "height"), [(501, 333), (97, 401), (64, 64), (1300, 211)])
def test_frame_keeps_the_ratio_of_sides_and_pads_to_the_multiple(width, height):
    rgb = np.full((height, width, 3), 255, np.uint8)
    pixels, frame = fit(rgb, long_side=320, multiple=32, lead=18, trail=16, mean=(0.5,) * 3,
                        std=(0.5,) * 3)  # fmt: skip
    assert max(frame.columns, frame.rows) == 320
    assert frame.columns / frame.rows == pytest.approx(width / height, rel=0.02)
    assert pixels.shape[-1] % 32 == pixels.shape[-2] % 32 == 0
    assert pixels.shape[-1] >= 18 + frame.columns + 16
    # White is 1 after normalising, padding is 0: nothing of the photo is lost or repeated.
    inside = pixels[0, 0, 18 : 18 + frame.rows, 18 : 18 + frame.columns]
    np.testing.assert_allclose(inside, 1, atol=1e-5)
    outside = float(pixels[0, 0].abs().sum() - inside.abs().sum())
    assert outside == pytest.approx(0, abs=1e-2)


def test_frame_places_cells_exactly_and_leaves_out_padding():
    frame = Frame(width=200, height=100, columns=100, rows=50, lead=6)
    maps = np.arange(2 * 9 * 15, dtype=float).reshape(2, 9, 15) + 1
    g = frame.grid(maps, stride=8, centre=4.0)
    # In network pixels of the photo the centres are -2 (out), 6, 14, …: two original pixels each.
    np.testing.assert_allclose(g.first_uv, [12, 12])
    np.testing.assert_allclose(g.step_uv, [16, 16])
    assert g.shape == (6, 12)
    centres = g.centres()
    assert ((centres >= 0) & (centres <= [200, 100])).all()
    np.testing.assert_allclose(g.flat[0], unit(maps[:, 1, 1]), rtol=1e-6)


EXTRACTORS = {
    "lite 10": (lambda side: LiteFeatures(long_side=side, blocks="10"), 16, 1.0),
    "lite 4": (lambda side: LiteFeatures(long_side=side, blocks="4"), 8, 0.5),
    "lite 7": (lambda side: LiteFeatures(long_side=side, blocks="7"), 16, 1.5),
    "xfeat": (lambda side: XFeatFeatures(long_side=side), 8, 0.8),
}


def sample_photo() -> np.ndarray:
    with PilImage.open(SAMPLE / "photos" / "photo_06.jpg") as file:
        file.thumbnail((400, 400))
        return np.asarray(file.convert("RGB"))


@pytest.mark.weights
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", EXTRACTORS)
def test_centres_mirror_into_each_other(name):
    """A photo and its mirror image describe the same places by cells that mirror, on average.

    The tolerance is what seven photos scattered by, in network pixels; the grids' places differ
    from size to size, which averages the rounding to whole cells out.
    """
    make, stride, tolerance = EXTRACTORS[name]
    rgb = sample_photo()
    offsets = []
    for side in np.linspace(320, 320 + stride, 5).astype(int)[:-1]:
        extractor = make(int(side))
        a, b = extractor.extract(rgb), extractor.extract(np.ascontiguousarray(rgb[:, ::-1]))
        similarity = a.flat @ b.flat.T
        j = similarity.argmax(1)
        mutual = similarity.argmax(0)[j] == np.arange(len(j))
        found = b.centres()[j]
        off = np.stack([a.width - found[:, 0], found[:, 1]], 1) - a.centres()
        cells = off / a.step_uv
        offsets.append(cells[mutual & (np.abs(cells) < 2.6).all(1)])
    every = np.concatenate(offsets)
    assert len(every) > 100
    assert abs(every[:, 0].mean()) * stride / 2 < tolerance


@pytest.mark.weights
@pytest.mark.usefixtures("one_thread")
def test_default_features_have_the_stated_grid_and_unit_length_at_any_size():
    for height, width in ((333, 500), (120, 91)):
        rgb = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
        g = LiteFeatures(long_side=256).extract(rgb)
        assert g.descriptor.shape[-1] == 112 + 192
        assert max(g.shape) == 16
        np.testing.assert_allclose(np.linalg.norm(g.flat, axis=1), 1, atol=1e-5)
        again = LiteFeatures(long_side=256).extract(rgb)
        np.testing.assert_array_equal(g.descriptor, again.descriptor)


@pytest.mark.weights
@pytest.mark.usefixtures("one_thread")
def test_efficientnet_lite_has_the_official_parameters_and_knows_a_cat_and_a_coffee():
    import torch
    from skimage import data

    from corr.semantic.features.efficientnet_lite import (
        CHANNELS_OF_BLOCK,
        MEAN,
        STD,
        STRIDE_OF_BLOCK,
    )
    from corr.semantic.features.lite import load_lite

    network = load_lite()  # refuses any name or shape that differs
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    with torch.inference_mode():
        maps = network.blocks(torch.zeros(1, 3, 96, 64), tuple(range(16)))
    assert tuple(m.shape[1] for m in maps) == CHANNELS_OF_BLOCK
    assert [(96 // m.shape[2], 64 // m.shape[3]) for m in maps] == [(s, s) for s in STRIDE_OF_BLOCK]
    with pytest.raises(ValueError, match="multiples of 32"):
        network.blocks(torch.zeros(1, 3, 97, 64), (0,))
    # ImageNet: 281 to 285 are domestic cats, 967 is an espresso, 657 a missile.
    for rgb, classes in ((data.chelsea(), {281, 282, 285}), (data.coffee(), {967}),
                         (data.rocket(), {657})):  # fmt: skip
        side = min(rgb.shape[:2])
        top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
        crop = PilImage.fromarray(rgb[top : top + side, left : left + side])
        pixels = np.asarray(crop.resize((224, 224), PilImage.Resampling.BICUBIC)) / 255
        x = torch.tensor((pixels - MEAN) / STD, dtype=torch.float32).permute(2, 0, 1)[None]
        with torch.inference_mode():
            assert int(network(x).argmax()) in classes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long_side": 10}, "long_side must be at least 64, got 10"),
        ({"blocks": "4:16"}, "blocks must be 0 … 15 with colons, got 4:16"),
        ({"blocks": "a"}, "blocks must be 0 … 15"),
        ({"device": "gpu"}, "device must be auto, cpu or cuda, got gpu"),
    ],
)
def test_bad_options_of_features_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LiteFeatures(**options)


def test_cache_keeps_half_precision_and_states_its_size(tiny, tmp_path):
    cache = FeatureCache(tmp_path, Ramp())
    photos = list(tiny.photos.values())
    size = cache.fill(photos)
    assert size == pytest.approx(sum(p.stat().st_size for p in cache.place.glob("*.npz")) / 2**20)
    g = cache.get(photos[0])
    assert load_grid(cache.file(photos[0].name)).descriptor.dtype == np.float16
    assert g.descriptor.dtype == np.float32
    exact = Ramp().extract(read_photo(photos[0]))
    np.testing.assert_allclose(g.descriptor, exact.descriptor, atol=1e-3)
    np.testing.assert_array_equal(g.centres(), exact.centres())
    assert json.loads((cache.place / "features.json").read_text())["class"] == "Ramp"


def test_cache_computes_a_photo_once_and_forgets_the_oldest(tiny, tmp_path):
    calls = []

    class Counting(Ramp):
        def extract(self, rgb):
            calls.append(rgb.shape)
            return super().extract(rgb)

    photos = list(tiny.photos.values())
    cache = FeatureCache(tmp_path, Counting(), memory_mb=0.02)
    for photo in [*photos, *photos]:
        cache.get(photo)
    assert len(calls) == len(photos)
    assert cache._kept_bytes <= 0.02 * 2**20
    assert 0 < len(cache._kept) < len(photos)
    assert FeatureCache(tmp_path, Counting()).fill(photos) > 0
    assert len(calls) == len(photos)


def test_features_of_other_options_are_kept_apart_and_the_device_does_not_count():
    assert extractor_key(LiteFeatures()) == extractor_key(LiteFeatures(device="cpu"))
    assert extractor_key(LiteFeatures()) != extractor_key(LiteFeatures(long_side=256))
    assert extractor_key(LiteFeatures()) != extractor_key(XFeatFeatures())
    assert "device" not in described(LiteFeatures())


def test_photos_whose_names_look_alike_get_files_of_their_own(tmp_path):
    cache = FeatureCache(tmp_path, Ramp())
    assert cache.file("a/b") != cache.file("a_b")
    assert cache.file("a|mirror") != cache.file("a_mirror")


def test_mirrored_photo_is_read_flipped(tiny):
    photo = tiny.pairs[0].source
    np.testing.assert_array_equal(
        read_photo(replace(photo, mirrored=True)), read_photo(photo)[:, ::-1]
    )


def test_photo_of_another_size_than_its_annotation_is_refused(tiny):
    photo = tiny.pairs[0].source
    with pytest.raises(UserError, match=r"its annotation says 7 x .*key-points would not fit"):
        read_photo(replace(photo, width=7))


def test_damaged_and_missing_features_are_refused(tiny, tmp_path):
    photo = tiny.pairs[0].source
    cache = FeatureCache(tmp_path, Ramp())
    cache.fill([photo])
    offline = FeatureCache(tmp_path, None, key=cache.key)
    offline.get(photo)
    with pytest.raises(UserError, match="1 of 1 photos have no features in"):
        offline.fill([tiny.pairs[0].target])
    cache.file(photo.name).write_bytes(b"PK broken")
    with pytest.raises(UserError, match=r"is damaged .*; delete it to have it made again"):
        FeatureCache(tmp_path, None, key=cache.key).get(photo)
    with pytest.raises(ValueError, match="must be told its key"):
        FeatureCache(tmp_path, None)


def test_grid_is_read_as_it_was_saved(tmp_path):
    g = grid()
    save_grid(tmp_path / "g.npz", g)
    back = load_grid(tmp_path / "g.npz")
    np.testing.assert_array_equal(back.descriptor, g.descriptor.astype(np.float16))
    assert back.descriptor.dtype == np.float16
    assert (back.width, back.height) == (60, 50)
