"""Camera paths: where they pass, what they look at, how they close."""

import numpy as np
import pytest

from corr.geometry import Camera
from recon.flight import around, facing, looked_at, path_poses, sized, up_of
from recon.scene import View

CAMERA = Camera.simple(60, 45, 55.0)
TARGET = np.array([0.3, 0.1, -0.2])
UP = np.array([0.0, -1.0, 0.0])


def ring(degrees):
    """Cameras one above and two away from the target at these angles."""
    views = []
    for i, angle in enumerate(np.radians(degrees)):
        centre = TARGET + np.array([2 * np.sin(angle), -1, -2 * np.cos(angle)])
        views.append(View(f"{i:02d}", CAMERA, facing(centre, TARGET, UP)))
    return views


def centres(poses):
    return np.array([p.centre for p in poses])


@pytest.mark.parametrize("kind", ["orbit", "spiral"])
def test_path_looks_at_the_target_with_the_horizon_level(kind):
    views = ring([-50, -20, 0, 30, 50])
    poses = path_poses(kind, views, TARGET, 15)
    assert len(poses) == 15
    for pose in poses:
        x, y, z = pose.apply(TARGET)
        assert abs(x) + abs(y) < 1e-9
        assert z > 0.5
        assert abs(pose.R[0] @ up_of(views)) < 1e-9


def test_orbit_is_a_whole_circle_where_photos_stand_all_around():
    poses = centres(path_poses("orbit", ring(range(0, 360, 60)), TARGET, 36)) - TARGET
    np.testing.assert_allclose(np.linalg.norm(poses[:, [0, 2]], axis=1), 2, atol=1e-9)
    np.testing.assert_allclose(poses[:, 1], -1, atol=1e-9)
    np.testing.assert_allclose(poses.sum(axis=0)[[0, 2]], 0, atol=1e-9)


def test_orbit_stays_on_the_photos_side_where_they_stand_on_one():
    poses = centres(path_poses("orbit", ring([-40, 0, 20, 40]), TARGET, 40)) - TARGET
    angles = np.degrees(np.arctan2(poses[:, 0], -poses[:, 2]))
    assert abs(angles.min() + 40) < 6  # the frame's own up is the mean camera's
    assert abs(angles.max() - 40) < 6
    steps = np.linalg.norm(np.roll(poses, -1, axis=0) - poses, axis=1)
    assert steps.max() < 0.25  # no jump where it begins again


def test_cameras_path_passes_every_photo():
    views = ring([-40, 0, 20, 40])
    poses = path_poses("cameras", views, TARGET, 10)
    for i, view in zip((0, 3, 6, 9), views, strict=True):
        np.testing.assert_allclose(poses[i].matrix, view.cam_from_world.matrix, atol=1e-9)


def test_one_photo_is_enough():
    views = ring([10])
    for kind in ("orbit", "spiral", "cameras"):
        poses = path_poses(kind, views, TARGET, 4)
        assert all(np.isfinite(p.matrix).all() for p in poses)


def test_sides_are_even_and_the_angle_of_view_is_kept():
    camera = sized(Camera.simple(101, 75, 80.0), 51)
    assert camera.width % 2 == camera.height % 2 == 0
    assert abs(camera.height / camera.K[1, 1] - 75 / 80) < 1e-9
    assert sized(CAMERA, 45, 99).width in (98, 100)


def test_middle_is_of_what_the_cameras_see():
    xyz = np.concatenate([np.tile(TARGET, (20, 1)), np.tile([0, 0, 500.0], (30, 1))])
    np.testing.assert_allclose(looked_at(ring([-40, 0, 40]), xyz), TARGET)


def test_made_up_views_hold_the_points():
    xyz = np.random.default_rng(0).normal(size=(200, 3)) * 3 + 10
    for view in around(xyz):
        uv, z = view.camera.project(view.cam_from_world.apply(xyz))
        inside = (z > 0) & ((uv > 0) & (uv < 240)).all(axis=1)
        assert inside.mean() > 0.9
