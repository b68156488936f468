"""Described scenes: built, kept on disk, asked for a place of another scene."""

from dataclasses import replace

import numpy as np
import pytest

from corr.errors import UserError
from corr.geometry import Sim3
from recon.semantic.field import FeatureField, build_field, land, load_field, save_field
from registration.files import read_cloud
from tests.recon.scenes import BALL, RADIUS, look_at
from tests.recon.semantic.field_world import looks, meaning, no_head, surface_points

BESIDE = Sim3(2.5, look_at((3.0, -2.0, 1.5)).R, np.array([4.0, -1.0, 0.5]))  # other_from_world


def field(count=700, seed=0, **changes) -> FeatureField:
    made, fit = build_field(
        surface_points(count, seed), None, looks(), min_views=2, iterations=0, seed=0
    )
    assert fit.steps == 0
    return replace(made, **changes)


def part(of: FeatureField, keep: np.ndarray) -> FeatureField:
    """Some of the described points."""
    return replace(
        of, keypoints=of.keypoints[keep], features=of.features[keep], views=of.views[keep]
    )


def elsewhere(noise: float = 0.05) -> FeatureField:
    """Another scan of the scene: other points, size, place and direction, noisy features."""
    made = field(seed=5)
    rough = made.features + noise * np.random.default_rng(2).normal(size=made.features.shape)
    return replace(
        made, keypoints=BESIDE.apply(made.keypoints), xyz=BESIDE.apply(made.xyz),
        features=rough / np.linalg.norm(rough, axis=1, keepdims=True),
    )  # fmt: skip


def test_places_of_one_scene_land_at_the_same_places_of_another():
    here, there = field(), elsewhere()
    points = here.keypoints[::25]
    landings = [land(p, here, there) for p in points]
    off = np.linalg.norm([x.xyz for x in landings] - BESIDE.apply(points), axis=1)
    assert np.median(off) < 0.7 * there.radius
    assert (off < 2 * there.radius).mean() > 0.9
    assert all(0 <= x.confidence <= 1 and x.margin > -1e-6 for x in landings)


def test_confidence_is_low_where_the_other_scene_lacks_the_part():
    """The other scene holds the floor alone; the ball cannot be found in it."""
    here, there = field(), elsewhere()
    floor = BESIDE.inverse().apply(there.keypoints)[:, 2] < 0.02
    bare = part(there, floor)
    top = BALL + np.array([0, -0.4 * RADIUS, 0.9 * RADIUS])
    on_ball = here.keypoints[np.linalg.norm(here.keypoints - top, axis=1).argmin()]
    on_floor = here.keypoints[here.keypoints[:, 2] < 0.02][::40]
    sure = np.median([land(p, here, bare).confidence for p in on_floor])
    assert land(on_ball, here, bare).confidence < 0.5 * sure


def test_descriptor_of_a_place_is_that_of_its_surroundings():
    here = field()
    k = 17
    np.testing.assert_allclose(here.at(here.keypoints[k]) @ here.features[k], 1, atol=0.01)
    between = surface_points(40, seed=8)
    ok = [p for p in between if np.linalg.norm(here.keypoints - p, axis=1).min() < here.radius / 2]
    assert len(ok) > 5
    assert np.median([here.at(p) @ meaning(p) for p in ok]) > 0.97
    with pytest.raises(UserError, match=r"nothing described lies near 99, 0, 0: the nearest"):
        here.at(np.array([99.0, 0, 0]))


def test_two_scenes_share_the_head_of_the_first():
    head = replace(no_head(), second=np.ones((24, 2), np.float32),
                   first_bias=np.full(2, 0.05, np.float32))  # fmt: skip
    made, fit = build_field(
        surface_points(), None, looks(), min_views=2, iterations=50, seed=0, head=head
    )
    assert fit is None
    assert made.head is head
    plain = field()
    np.testing.assert_array_equal(made.keypoints, plain.keypoints)
    # What the views say is moved by 0.1 along every axis before it is averaged.
    wanted = plain.features + 0.1
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(made.features, wanted, atol=0.03)


def test_file_is_read_back_and_understood_by_registration(tmp_path):
    made = field(rgb=np.full((700, 3), 7, np.uint8))
    save_field(tmp_path / "features.npz", made)
    back = load_field(tmp_path / "features.npz")
    for name in ("keypoints", "features", "views", "xyz", "rgb"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
    np.testing.assert_array_equal(back.head.second, made.head.second)
    cloud = read_cloud(tmp_path / "features.npz")
    np.testing.assert_allclose(cloud.xyz, made.xyz)
    np.testing.assert_allclose(cloud.keypoints, made.keypoints)
    np.testing.assert_allclose(cloud.features, made.features)


def test_lifted_features_align_two_scans_through_registration(tmp_path):
    """The files as `registration` gets them, one moved: it finds the motion from the features."""
    import registration

    moved = look_at((3.0, -2.0, 1.5))
    a, b = field(), field(seed=5)
    b = replace(b, keypoints=moved.apply(b.keypoints), xyz=moved.apply(b.xyz))
    for name, made in (("a", a), ("b", b)):
        save_field(tmp_path / f"{name}.npz", made)
    answer = registration.register(tmp_path / "a.npz", tmp_path / "b.npz")
    off = answer.target_from_source.apply(a.xyz) - moved.apply(a.xyz)
    assert np.linalg.norm(off, axis=1).mean() < a.radius  # 700 points: about their spacing


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(UserError, match="seen and agreed upon by 5 views"):
        build_field(surface_points(), None, looks(), min_views=5, iterations=0, seed=0)
    here = field()
    with pytest.raises(UserError, match="features of 24 and 3 numbers cannot be compared"):
        land(here.keypoints[0], here, replace(here, features=here.features[:, :3]))
    with pytest.raises(UserError, match=r"nowhere.npz is no features.npz"):
        load_field(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match="needs points that views agree about, got none"):
        part(here, np.zeros(len(here.keypoints), bool))
