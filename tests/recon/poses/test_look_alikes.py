"""Look-alike pairs: verified, wrong, and found by triplets."""

from dataclasses import replace

import numpy as np
import pytest

from corr.matches import Matches
from recon.poses.cycles import look_alikes
from recon.poses.solve import PoseSolver
from tests.recon.poses.test_pose_graph import errors, linked
from tests.synthetic import look_at, ring_scene


def with_look_alike(world, a, b, seed=3):
    """Photos a and b match like two views of one object, from places where they are not."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-1, 1, (400, 3))
    camera = world.views[0].camera
    poses = (
        look_at(np.array([-3.0, 0, -4]), np.zeros(3)),
        look_at(np.array([3.0, 1, -4]), np.zeros(3)),
    )
    uv = [camera.project(pose.apply(xyz))[0] for pose in poses]
    inside = np.all([(u > 0).all(1) & (u < [camera.width, camera.height]).all(1) for u in uv], 0)
    n = int(inside.sum())
    ids = 50_000 + rng.permutation(n)
    false = Matches(uv[0][inside], uv[1][inside], np.full(n, 0.9), id_a=ids, id_b=ids)
    return replace(world, matches={**world.matches, (a, b): false})


def test_a_look_alike_pair_is_found_and_no_other():
    world = with_look_alike(ring_scene(6), 0, 5)
    _, pairs, _ = linked(world)
    assert next(p for p in pairs if (p.a, p.b) == (0, 5)).verified
    assert [(p.a, p.b) for p in look_alikes(pairs)] == [(0, 5)]


@pytest.mark.parametrize("noise_px", [0.0, 0.5])
def test_a_sound_scene_has_none(noise_px):
    _, pairs, _ = linked(ring_scene(6, noise_px=noise_px))
    assert look_alikes(pairs) == []


def test_a_pair_that_alone_connects_a_photo_stays():
    """Two photos may be all that is known of a place; nothing is thrown away then."""
    world = with_look_alike(ring_scene(3), 1, 2)
    _, pairs, _ = linked(world)
    assert look_alikes(pairs) == []


def test_the_run_names_the_pair_and_the_cameras_are_right(tmp_path):
    world = with_look_alike(ring_scene(6, folder=tmp_path / "photos"), 0, 5)
    placed = PoseSolver().place(world.images, world.matches)
    said = [f for f in placed.findings if "look alike" in f]
    assert len(said) == 1
    assert "photo_0.png and photo_5.png" in said[0]
    assert errors(placed.bundle, world)[0] < 0.1
