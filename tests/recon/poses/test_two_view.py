from dataclasses import replace

import numpy as np
import pytest

from corr.geometry import rotation_angle
from recon.poses.intrinsics import group_photos, scale_of, vote_focal
from recon.poses.lens import Lens
from recon.poses.two_view import Verification, verify_pairs
from recon.poses.two_view_file import load_two_views, save_two_views
from tests.synthetic import FOCAL, HEIGHT, WIDTH, ring_scene, with_foreign_photo


def verified(world, *, trusted=True, focal=FOCAL, **options):
    lenses = [Lens.centred(WIDTH, HEIGHT, focal)] * len(world.images)
    how = Verification(**options)
    return verify_pairs(world.matches, lenses, [1.0] * len(lenses), how, trusted=trusted)


def is_right(world, a, b):
    m = world.matches[a, b]
    right = [
        world.point_of_id[a][i] == world.point_of_id[b][j]
        for i, j in zip(m.id_a.tolist(), m.id_b.tolist(), strict=True)
    ]
    return np.array(right)


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_inliers_are_precise_and_complete_with_most_matches_wrong(trusted, seed):
    world = ring_scene(5, 500, noise_px=0.5, outlier_ratio=0.6, seed=seed)
    precision, recall = [], []
    for pair in verified(world, trusted=trusted):
        right = is_right(world, pair.a, pair.b)
        inlier = np.zeros(len(right), dtype=bool)
        inlier[pair.inliers] = True
        precision.append((inlier & right).sum() / inlier.sum())
        recall.append((inlier & right).sum() / right.sum())
        assert pair.verified
        assert pair.label == "general"
    assert np.mean(precision) >= 0.99
    assert np.mean(recall) >= 0.95
    assert min(precision) > 0.96  # one or two of two hundred lie in the band and at a right depth


def test_few_matches_at_an_odd_depth_stay_where_hardly_any_are_wrong():
    world = ring_scene(2, 400, noise_px=0.3, outlier_ratio=0.02)
    a, b = (view.cam_from_world for view in world.views)
    near = 0.35 * world.xyz[:3] + 0.65 * a.centre  # three points at a third of the distance
    camera, m = world.views[0].camera, world.matches[0, 1]
    m = replace(
        m, uv_a=np.vstack([m.uv_a, camera.project(a.apply(near))[0]]),
        uv_b=np.vstack([m.uv_b, camera.project(b.apply(near))[0]]),
        score=np.append(m.score, np.ones(3)), id_a=None, id_b=None,
    )  # fmt: skip
    lens = Lens.centred(WIDTH, HEIGHT, FOCAL)
    (pair,) = verify_pairs({(0, 1): m}, [lens] * 2, [1.0, 1.0], Verification(), trusted=True)
    assert set(range(len(m) - 3, len(m))) <= set(pair.inliers.tolist())


def test_relative_pose_is_the_true_one():
    world = ring_scene(3, 400, noise_px=0.2)
    for pair in verified(world):
        a, b = (world.views[i].cam_from_world for i in (pair.a, pair.b))
        true = b @ a.inverse()
        assert np.degrees(rotation_angle(pair.b_from_a.R @ true.R.T)) < 0.15
        assert pair.b_from_a.t @ true.t / np.linalg.norm(true.t) > 0.9999
        assert pair.parallax_deg == pytest.approx(9.0 * (pair.b - pair.a), rel=0.25)


def test_pairs_are_labelled_when_degenerate():
    turning = verified(ring_scene(3, 300, turning=True, noise_px=0.2, step_deg=4))
    assert {pair.label for pair in turning} == {"rotation"}
    flat = verified(ring_scene(3, 300, flat=True, noise_px=0.2))
    assert {pair.label for pair in flat} == {"planar"}


@pytest.mark.parametrize(("wrong", "step_deg"), [(0.7, 4.0), (1.0, 4.0), (1.4, 9.0)])
def test_a_turn_is_told_from_a_flat_scene_without_knowing_the_focal_length(wrong, step_deg):
    focal = float(wrong * FOCAL)
    turning = ring_scene(3, 300, turning=True, noise_px=0.4, step_deg=step_deg)
    assert {p.label for p in verified(turning, trusted=False, focal=focal)} == {"rotation"}
    flat = ring_scene(3, 300, flat=True, noise_px=0.4, step_deg=step_deg)
    assert {p.label for p in verified(flat, trusted=False, focal=focal)} == {"planar"}


def test_random_matches_are_not_verified(tmp_path):
    world = with_foreign_photo(ring_scene(4, 300), tmp_path)
    for pair in verified(world):
        assert pair.verified == (pair.b != 4)
        assert pair.label == ("unverified" if pair.b == 4 else "general")


def test_same_seed_gives_the_same_pairs_and_they_survive_the_disk(tmp_path):
    world = ring_scene(3, 200, noise_px=0.5, outlier_ratio=0.3)
    once, again = verified(world, seed=3), verified(world, seed=3)
    names = [image.name for image in world.images]
    save_two_views(tmp_path, once, names)
    for a, b, c in zip(once, again, load_two_views(tmp_path), strict=True):
        np.testing.assert_array_equal(a.inliers, b.inliers)
        np.testing.assert_array_equal(a.b_from_a.matrix, b.b_from_a.matrix)
        np.testing.assert_array_equal(a.inliers, c.inliers)
        np.testing.assert_allclose(a.b_from_a.matrix, c.b_from_a.matrix, atol=1e-12)
        assert (a.label, a.needed) == (c.label, c.needed)


def test_vote_finds_the_focal_length_when_nothing_is_known():
    world = ring_scene(5, 400, noise_px=0.3, outlier_ratio=0.2, prior=False)
    (group,) = group_photos(world.images, focal_px=None, share="size")
    assert not group.known
    scales = [scale_of(image) for image in world.images]
    voted = vote_focal(group, world.matches, scales, Verification())
    if voted.voted:  # all axes meet in one point here, which hides the focal length
        assert voted.lens.focal_px == pytest.approx(FOCAL, rel=0.2)
    else:
        assert voted.lens.focal_px == pytest.approx(1.2 * WIDTH)


def test_photos_share_a_camera_by_size_and_focal_length():
    from dataclasses import replace

    images = list(ring_scene(4, 20).images)
    images[1] = replace(images[1], focal_prior_px=2 * FOCAL)
    images[3] = replace(images[3], width=HEIGHT, height=WIDTH)
    groups = group_photos(images, focal_px=None, share="size")
    assert [group.photos for group in groups] == [(0, 2), (1,), (3,)]
    assert len(group_photos(images, focal_px=None, share="photo")) == 4
    assert all(g.lens.focal_px == 500 for g in group_photos(images, focal_px=500.0, share="size"))
