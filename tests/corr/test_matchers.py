from dataclasses import replace

import numpy as np
import pytest

from corr.matchers.nearest import mutual_nearest
from corr.matchers.sift import Sift
from corr.matchers.xfeat import XFeatStar
from corr.matches import Matches

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH, HEIGHT = 471, 313
MATCHERS = [
    pytest.param(XFeatStar(), id="xfeat", marks=pytest.mark.weights),
    pytest.param(Sift(), id="sift"),
]
# Pixels. XFeat* answers from 8 px cells; SIFT interpolates its extrema.
MEDIAN_PX = {XFeatStar: 1.2, Sift: 0.25}


def warp(rgb: np.ndarray, b_from_a: np.ndarray) -> np.ndarray:
    """Photo b of a plane; `b_from_a` is in our pixels (centres at +0.5), OpenCV's are at 0."""
    import cv2

    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    H = np.linalg.inv(half) @ b_from_a @ half
    return cv2.warpPerspective(
        rgb, H, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


def apply(H: np.ndarray, uv: np.ndarray) -> np.ndarray:
    xyw = np.c_[uv, np.ones(len(uv))] @ H.T
    return xyw[:, :2] / xyw[:, 2:]


def homography() -> np.ndarray:
    """Turn by 8 degrees, shrink by a tenth, a little perspective, a shift of no whole pixel."""
    c, s = 0.9 * np.cos(0.14), 0.9 * np.sin(0.14)
    return np.array([[c, -s, 41.37], [s, c, -13.61], [1.5e-4, -1e-4, 1]])


def match(matcher, a, b) -> Matches:
    return next(iter(matcher.match_pairs([a, b], [(0, 1)])))[1]


def equal(x: Matches, y: Matches) -> bool:
    return all(np.array_equal(v, vars(y)[k]) for k, v in vars(x).items())


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("scale", [1, 2])
def test_homography_is_followed(texture, as_image, matcher, scale):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    original_from_work = np.diag([scale, scale, 1.0])
    H_original = original_from_work @ H @ np.linalg.inv(original_from_work)
    a, b = as_image(rgb, "a", scale=scale), as_image(warp(rgb, H), "b", scale=scale)
    matches = match(matcher, a, b)
    error = np.linalg.norm(apply(H_original, matches.uv_a) - matches.uv_b, axis=1) / scale
    assert len(matches) > 150
    assert (error < 3).mean() >= 0.9
    assert np.median(error) <= MEDIAN_PX[type(matcher)]
    assert matches.score.min() >= 0
    assert matches.score.max() <= 1


SHIFTS = [(0.0, 0.0), (5.5, 2.25), (-3.3, 7.75)]


def shifted(texture, as_image, matcher) -> list[tuple[Matches, np.ndarray]]:
    """Matches of a photo with copies of it, shifted."""
    rgb = texture(WIDTH, HEIGHT)
    images = [as_image(rgb, "a")]
    for n, (x, y) in enumerate(SHIFTS):
        images.append(as_image(warp(rgb, np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])), f"b{n}"))
    found = matcher.match_pairs(images, [(0, n + 1) for n in range(len(SHIFTS))])
    return [(m, np.array(shift)) for (_, m), shift in zip(found, SHIFTS, strict=True)]


def bias_and_error(residuals: list[np.ndarray]) -> tuple[float, float]:
    """Largest median component, and median length, of the residuals under 4 px."""
    residual = np.concatenate(residuals)
    length = np.linalg.norm(residual, axis=1)
    near = length < 4
    return float(np.abs(np.median(residual[near], axis=0)).max()), float(np.median(length[near]))


@pytest.mark.weights
def test_shift_is_measured_without_bias_by_xfeat(texture, as_image):
    found = shifted(texture, as_image, XFeatStar(top_k=3000))
    bias, error = bias_and_error([m.uv_b - m.uv_a - shift for m, shift in found])
    assert bias < 0.25
    assert error < 1.0
    # One-sided, where a wrong constant would not cancel between the two photos: without the
    # correction of the network's answers the bias is 1.2 px and more.
    bias, error = bias_and_error(
        [m.anchor_b - (2 * m.uv_a - m.anchor_a) - shift for m, shift in found]
    )
    assert bias < 0.5
    assert error < 1.3


def test_shift_is_measured_without_bias_by_sift(texture, as_image):
    found = shifted(texture, as_image, Sift())
    bias, error = bias_and_error([m.uv_b - m.uv_a - shift for m, shift in found])
    assert bias < 0.05
    assert error < 0.2


@pytest.mark.parametrize("matcher", MATCHERS)
def test_order_and_company_of_a_pair_change_nothing(texture, as_image, matcher):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    images = [
        as_image(rgb, "a"),
        as_image(warp(rgb, H), "b"),
        as_image(warp(rgb, H @ H), "c"),
    ]
    pairs = [(0, 1), (0, 2), (1, 2)]
    once = dict(matcher.match_pairs(images, pairs))
    again = dict(replace(matcher).match_pairs(images, pairs[::-1]))
    assert list(once) == pairs
    assert all(equal(once[pair], again[pair]) for pair in pairs)
    alone = dict(matcher.match_pairs(images, [(1, 2)]))
    assert equal(alone[1, 2], once[1, 2])


@pytest.mark.parametrize("matcher", MATCHERS)
def test_ids_name_the_same_point_in_every_pair(texture, as_image, matcher):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    images = [as_image(rgb, "a"), as_image(warp(rgb, H), "b"), as_image(warp(rgb, H @ H), "c")]
    found = dict(matcher.match_pairs(images, [(0, 1), (0, 2)]))
    place = {}
    for matches in found.values():
        assert len(np.unique(matches.id_a)) == len(np.unique(matches.id_b)) == len(matches)
        fixed = matches.uv_a if matches.anchor_a is None else matches.anchor_a
        for index, uv in zip(matches.id_a.tolist(), fixed.tolist(), strict=True):
            assert place.setdefault(index, uv) == uv
    shared = np.intersect1d(found[0, 1].id_a, found[0, 2].id_a)
    assert len(shared) > 50


@pytest.mark.parametrize("matcher", MATCHERS)
def test_masked_places_have_no_matches(texture, as_image, matcher):
    rgb, H = texture(WIDTH, HEIGHT), homography()
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[100:, :200] = False
    b = as_image(warp(rgb, H), "b")
    free, masked = (match(matcher, as_image(rgb, n, m), b) for n, m in (("a", None), ("m", mask)))
    hidden = (free.uv_a[:, 0] < 200) & (free.uv_a[:, 1] >= 100)
    assert hidden.sum() > 20
    assert len(masked) > 50
    assert not ((masked.uv_a[:, 0] < 200) & (masked.uv_a[:, 1] >= 100)).any()
    backwards = match(matcher, b, as_image(rgb, "m2", mask))
    assert not ((backwards.uv_b[:, 0] < 200) & (backwards.uv_b[:, 1] >= 100)).any()


@pytest.mark.parametrize("matcher", MATCHERS)
def test_nothing_to_match_is_no_error(texture, as_image, matcher):
    flat = as_image(np.full((47, 61, 3), 128, np.uint8), "flat")
    hidden = as_image(texture(61, 47), "hidden", np.zeros((47, 61), bool))
    other = as_image(texture(WIDTH, HEIGHT), "other")
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = dict(matcher.match_pairs([flat, hidden, other], pairs))
    assert list(found) == pairs
    assert len(found[0, 1]) == len(found[1, 2]) == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: XFeatStar(top_k=-1), "matcher.top_k must be positive, got -1"),
        (lambda: XFeatStar(min_cossim=1.0), r"matcher.min_cossim must lie in \[-1, 1\), got 1"),
        (lambda: XFeatStar(min_confidence=-0.1), "matcher.min_confidence must lie in"),
        (lambda: XFeatStar(max_side=8), "matcher.max_side must be at least 64, got 8"),
        (lambda: XFeatStar(device="tpu"), "matcher.device must be auto, cpu, cuda or mps, got tpu"),
        (lambda: Sift(max_keypoints=0), "matcher.max_keypoints must be positive, got 0"),
        (lambda: Sift(ratio=0.0), r"matcher.ratio must lie in \(0, 1\], got 0"),
        (lambda: Sift(contrast=-1.0), "matcher.contrast must not be negative, got -1"),
    ],
)
def test_bad_options_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_equal_descriptors_are_matched_once():
    import torch

    same = torch.nn.functional.normalize(torch.ones(5, 8), dim=1)
    i, j, cossim = mutual_nearest(same, same[:3], -1.0)
    assert i.tolist() == j.tolist() == [0]
    assert cossim.tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_tiles_do_not_change_nearest_neighbours(monkeypatch, block):
    import torch

    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.nn.functional.normalize(torch.randn(n, 8, generator=generator), dim=1)
        for n in (101, 157)
    )
    monkeypatch.setattr("corr.matchers.nearest.TILE_ROWS", block)
    monkeypatch.setattr("corr.matchers.nearest.TILE_COLUMNS", 64)
    i, j, _ = mutual_nearest(a, b, -1.0)
    similarity = a @ b.T
    expected = [
        (x, int(similarity[x].argmax()))
        for x in range(101)
        if int(similarity[:, int(similarity[x].argmax())].argmax()) == x
    ]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected


def test_options_are_built_without_heavy_imports():
    import subprocess
    import sys

    code = "import sys, corr.matchers.xfeat, corr.matchers.sift; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.weights
@pytest.mark.data
@pytest.mark.parametrize(
    ("matcher", "least", "share"), [(XFeatStar(), 1000, 0.85), (Sift(), 500, 0.85)]
)
def test_real_matches_fit_the_true_cameras(real_data, tmp_path, matcher, least, share):
    """Floors: a Sampson distance under 1.5 working px for photos 4 and 6 of fountain-P11."""
    import json

    from corr.photo_input import prepare_photos

    folder = real_data / "photos" / "fountain-P11"
    names = ["0004.jpg", "0006.jpg"]
    a, b = prepare_photos(folder / "images", tmp_path, max_side=1024, names=names).images
    matches = match(matcher, a, b)
    truth = json.loads((folder / "transforms.json").read_text())
    K, cam_from_world = {}, {}
    for frame in truth["frames"]:
        name, whole = frame["file_path"].rpartition("/")[2], {**truth, **frame}
        K[name] = np.array(
            [[whole["fl_x"], 0, whole["cx"]], [0, whole["fl_y"], whole["cy"]], [0, 0, 1]]
        )
        pose = np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])
        cam_from_world[name] = np.linalg.inv(pose)
    b_from_a = cam_from_world[b.name] @ np.linalg.inv(cam_from_world[a.name])
    x, y, z = b_from_a[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    F = np.linalg.inv(K[b.name]).T @ cross @ b_from_a[:3, :3] @ np.linalg.inv(K[a.name])
    pa, pb = (np.c_[uv, np.ones(len(uv))] for uv in (matches.uv_a, matches.uv_b))
    la, lb = pb @ F, pa @ F.T
    norm = np.sqrt((la[:, :2] ** 2).sum(1) + (lb[:, :2] ** 2).sum(1))
    sampson = np.abs((pb * lb).sum(1)) / norm * a.work_per_original[0]
    assert (sampson < 1.5).sum() >= least
    assert (sampson < 1.5).mean() >= share
