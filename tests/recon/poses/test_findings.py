"""Degenerate photos are named; good ones are not."""

import json

import numpy as np
import pytest

from corr.geometry import Rigid3
from corr.matches import Matches
from recon.poses.solve import FINDINGS_FILE, PoseSolver
from tests.synthetic import FOCAL, HEIGHT, WIDTH, ring_scene


def found(world, folder, **options):
    PoseSolver(**{"focal_px": FOCAL, **options}).solve(world.images, world.matches, folder)
    return json.loads((folder / FINDINGS_FILE).read_text())


def seen_from(world, poses, rng):
    """Matches of the world's points from other cameras (no ids), and those cameras."""
    uv, inside = [], []
    for pose in poses:
        place, depth = world.views[0].camera.project(pose.apply(world.xyz))
        uv.append(place + rng.normal(0, 0.2, place.shape))
        inside.append((depth > 0.1) & ((place > 0) & (place < [WIDTH, HEIGHT])).all(-1))
    return {
        (a, b): Matches(
            uv[a][both := inside[a] & inside[b]], uv[b][both], np.ones(both.sum()),
            id_a=np.flatnonzero(both), id_b=np.flatnonzero(both),
        )
        for a in range(len(poses)) for b in range(a + 1, len(poses))
    }  # fmt: skip


def looking_ahead(centres):
    return [Rigid3(np.eye(3), -np.array(c, dtype=float)) for c in centres]


def test_good_photos_are_not_blamed(tmp_path):
    assert found(ring_scene(5, 300, noise_px=0.3, folder=tmp_path / "p"), tmp_path / "out") == []


def test_a_flat_scene_is_named(tmp_path):
    world = ring_scene(4, 300, noise_px=0.2, flat=True, step_deg=12, folder=tmp_path / "p")
    assert any("nearly flat" in f for f in found(world, tmp_path / "out"))


@pytest.mark.parametrize(
    ("centres", "words"),
    [
        ([(0, 0, -5.0), (0.02, 0.01, -4.4), (0, 0.02, -3.9)], "along its direction of view"),
        ([(-0.8, 0, -5), (0, 0, -5), (0.9, 0, -5), (0.4, 0, -5)], "on one line"),
    ],
)
def test_a_bad_path_is_named(centres, words, tmp_path):
    world = ring_scene(len(centres), 500, folder=tmp_path / "p")
    rng = np.random.default_rng(0)
    object.__setattr__(world, "matches", seen_from(world, looking_ahead(centres), rng))
    assert any(words in f for f in found(world, tmp_path / "out"))


def test_a_photo_from_much_nearer_is_named(tmp_path):
    centres = [(-0.5, 0, -9.0), (0.5, 0.3, -9), (0.0, 0.4, -8.5), (0.1, 0.0, -2.2)]
    world = ring_scene(4, 2000, folder=tmp_path / "p")
    rng = np.random.default_rng(0)
    object.__setattr__(world, "matches", seen_from(world, looking_ahead(centres), rng))
    sentences = found(world, tmp_path / "out")
    assert [f for f in sentences if f.startswith("photo_3.png shows the scene")]
    assert not [f for f in sentences if f.startswith("photo_1.png shows the scene")]


def test_photos_from_one_place_are_named(tmp_path):
    # Two of four photos share their place.
    centres = [(-0.8, 0, -5), (0.1, 0.3, -5), (0.1, 0.3, -5), (0.9, -0.2, -5)]
    world = ring_scene(4, 500, folder=tmp_path / "p")
    rng = np.random.default_rng(0)
    object.__setattr__(world, "matches", seen_from(world, looking_ahead(centres), rng))
    sentences = found(world, tmp_path / "out")
    assert any("one place: photo_1.png and photo_2.png" in f for f in sentences)


def test_look_alike_parts_are_named(tmp_path):
    # A pair's matches all lead from one part of the scene to another, equal one.
    world = ring_scene(5, 400, noise_px=0.2, folder=tmp_path / "p")
    pair = world.matches[0, 4]
    shifted = pair.uv_b + np.array([0.0, 40.0])
    world.matches[0, 4] = Matches(pair.uv_a, shifted, pair.score)
    sentences = found(world, tmp_path / "out")
    assert any("photo_0.png and photo_4.png" in f and "look alike" in f for f in sentences)
