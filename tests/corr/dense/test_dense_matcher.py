"""The shipped network on photos with known warps. Sizes divide by nothing."""

from dataclasses import replace

import numpy as np
import pytest

from corr.errors import UserError
from corr.matchers.dense.matcher import CELL, DenseMatcher
from corr.matchers.dense.weights_file import SHIPPED, read_weights
from corr.matches import Matches

pytestmark = pytest.mark.weights
WIDTH, HEIGHT = 301, 213
MATCHER = DenseMatcher(samples=2000, device="cpu")  # its network is loaded once


def plane(rgb: np.ndarray, b_from_a: np.ndarray, size=(WIDTH, HEIGHT)) -> np.ndarray:
    """Photo b of a plane; `b_from_a` is in our pixels (centres at +0.5), OpenCV's are at 0."""
    import cv2

    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    H = np.linalg.inv(half) @ b_from_a @ half
    return cv2.warpPerspective(rgb, H, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def homography() -> np.ndarray:
    """Turn by 10 degrees, shrink a little, some perspective, a shift of no whole pixel."""
    c, s = 0.9 * np.cos(0.17), 0.9 * np.sin(0.17)
    return np.array([[c, -s, 41.37], [s, c, -13.61], [1.5e-4, -1e-4, 1]])


def through(H: np.ndarray, uv: np.ndarray) -> np.ndarray:
    xyw = uv @ H[:, :2].T + H[:, 2]
    return xyw[..., :2] / xyw[..., 2:]


def match(a, b, matcher=MATCHER) -> Matches:
    return next(iter(matcher.match_pairs([a, b], [(0, 1)])))[1]


@pytest.mark.parametrize("scale", [1, 2])
def test_field_and_matches_follow_a_homography(texture, as_image, scale):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    up = np.diag([scale, scale, 1.0])
    original = up @ H @ np.linalg.inv(up)
    a, b = as_image(rgb, "a", scale=scale), as_image(plane(rgb, H), "b", scale=scale)
    field, back = MATCHER.warp(a, b)
    truth = through(original, field.uv_a)
    inside = ((truth > 8 * scale) & (truth < np.array([WIDTH - 8, HEIGHT - 8]) * scale)).all(-1)
    error = np.linalg.norm(field.uv_b - truth, axis=-1)[inside] / scale
    assert inside.mean() > 0.5
    assert np.median(error) < 0.6
    assert (error < 3).mean() > 0.9
    assert field.certainty[inside].mean() > 0.8
    home = np.linalg.norm(back.uv_b - through(np.linalg.inv(original), back.uv_a), axis=-1)
    assert np.median(home[back.certainty > 0.5]) < 0.8 * scale
    matches = match(a, b)
    error = np.linalg.norm(through(original, matches.uv_a) - matches.uv_b, axis=1) / scale
    assert len(matches) > 250
    assert np.median(error) < 0.6
    assert (error < 3).mean() > 0.9
    assert 0.3 <= matches.score.min() <= matches.score.max() <= 1


def test_photo_lies_on_itself(texture, as_image):
    image = as_image(texture(WIDTH, HEIGHT), "a")
    field, _ = MATCHER.warp(image, image)
    error = np.linalg.norm(field.uv_b - field.uv_a, axis=-1)
    assert np.median(error) < 0.3
    assert (error < 1).mean() > 0.97


def test_covariances_are_definite_and_scale_with_the_photo(texture, as_image):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    small = MATCHER.warp(as_image(rgb, "a"), as_image(plane(rgb, H), "b"))[0]
    big = MATCHER.warp(as_image(rgb, "c", scale=2), as_image(plane(rgb, H), "d", scale=2))[0]
    assert np.linalg.eigvalsh(small.covariance).min() > 0
    assert np.allclose(small.covariance, small.covariance.swapaxes(-1, -2))
    assert np.allclose(4 * small.covariance, big.covariance, rtol=1e-6)


def test_matches_are_the_same_again_and_in_any_company(texture, as_image):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    images = [as_image(rgb, "a"), as_image(plane(rgb, H), "b"), as_image(plane(rgb, H @ H), "c")]
    pairs = [(0, 1), (0, 2)]
    once = dict(MATCHER.match_pairs(images, pairs))
    again = dict(MATCHER.match_pairs(images, pairs[::-1]))
    for pair in pairs:
        for name, value in vars(once[pair]).items():
            assert np.array_equal(value, vars(again[pair])[name])
    other = match(images[0], images[1], replace(MATCHER, seed=1, samples=100))
    assert len(other) <= 100


def test_cells_link_pairs_that_share_a_photo(texture, as_image):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    images = [as_image(rgb, "a"), as_image(plane(rgb, H), "b"), as_image(plane(rgb, H @ H), "c")]
    found = dict(MATCHER.match_pairs(images, [(0, 1), (1, 2)]))
    first, second = found[(0, 1)], found[(1, 2)]
    for m in found.values():
        for ids, anchor, uv in ((m.id_a, m.anchor_a, m.uv_a), (m.id_b, m.anchor_b, m.uv_b)):
            assert len(np.unique(ids)) == len(ids)
            assert np.abs(anchor - uv).max() <= CELL / 2 + 1e-9
    shared, i, j = np.intersect1d(first.id_b, second.id_a, return_indices=True)
    assert len(shared) > 50
    assert np.array_equal(first.anchor_b[i], second.anchor_a[j])


def test_masked_places_get_no_match(texture, as_image):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[:, 140:] = False
    a, b = as_image(rgb, "a", mask=mask), as_image(plane(rgb, H), "b")
    field, back = MATCHER.warp(a, b)
    assert field.certainty[field.uv_a[..., 0] > 142].max() == 0
    landed = back.uv_b[..., 0] > 142
    assert back.certainty[landed].max() == 0
    matches = match(a, b)
    assert len(matches) > 60
    assert matches.uv_a[:, 0].max() < 140
    nothing = as_image(rgb, "n", mask=np.zeros((HEIGHT, WIDTH), bool))
    assert len(match(nothing, b)) == 0


def test_photos_of_different_shape_are_matched_without_distortion(texture, as_image):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    upright = as_image(plane(rgb, H, (171, 259)), "b")
    matches = match(as_image(rgb, "a"), upright)
    error = np.linalg.norm(through(H, matches.uv_a) - matches.uv_b, axis=1)
    assert len(matches) > 100
    assert np.median(error) < 0.7
    assert (matches.uv_b < [171, 259]).all()


def test_weights_are_small_and_carry_their_history():
    assert SHIPPED.stat().st_size < 12e6
    _, config, about = read_weights(SHIPPED)
    assert config.sixteen == 160
    assert about["options"]["seed"] == 1
    assert about["progress"]["finished"]
    log = (SHIPPED.parent / "dense_log_2.csv").read_text().splitlines()
    assert log[-1].startswith(f"{about['progress']['step']},")


def test_missing_weights_are_named(texture, as_image, tmp_path):
    image = as_image(texture(WIDTH, HEIGHT), "a")
    with pytest.raises(UserError, match=r"weights file .*none.safetensors does not exist"):
        match(image, image, DenseMatcher(weights=str(tmp_path / "none.safetensors")))
