"""Cameras from relative poses alone."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from corr.geometry import rotation_angle
from recon.poses.evidence import Evidence
from recon.poses.intrinsics import group_photos
from recon.poses.ladder import Ladder
from recon.poses.link import link
from recon.poses.pose_graph import average_rotations, map_pose_graph
from recon.poses.two_view import Verification, verify_pairs
from tests.synthetic import ring_scene


def linked(world):
    groups = group_photos(world.images, focal_px=None, share="size")
    lens_of = {photo: group.lens for group in groups for photo in group.photos}
    count = len(world.images)
    pairs = verify_pairs(
        world.matches, [lens_of[i] for i in range(count)], [1.0] * count, Verification(),
        trusted=True,
    )  # fmt: skip
    return groups, pairs, link(world.matches, pairs, [1.0] * count)


def errors(bundle, world):
    """Largest rotation error and centre error over the extent, after alignment."""
    from recon.camera_metrics import score_cameras
    from recon.scene import View

    views = [
        View(world.views[i].name, world.views[i].camera, bundle.poses[i]) for i in bundle.poses
    ]
    score = score_cameras(views, {v.name: v for v in world.views})
    return score.median_rotation_deg, score.median_centre_percent


def test_exact_matches_give_exact_cameras():
    world = ring_scene(5)
    groups, pairs, tracks = linked(world)
    bundle = map_pose_graph(groups, tracks, [(p.a, p.b) for p in pairs], 0)
    assert sorted(bundle.poses) == [0, 1, 2, 3, 4]
    rotation, centre = errors(bundle, world)
    assert rotation < 0.01
    assert centre < 0.01


def test_a_chain_of_neighbours_only_is_brought_to_one_scale():
    """No loop, no pair beyond neighbours: lengths come from tracks that two pairs share."""
    world = ring_scene(5, noise_px=0.3)
    groups, _, tracks = linked(world)
    bundle = map_pose_graph(groups, tracks, [(i, i + 1) for i in range(4)], 0)
    assert len(bundle.poses) == 5
    rotation, centre = errors(bundle, world)
    assert rotation < 0.5
    assert centre < 3.0


def test_pairs_without_a_common_track_are_two_models_and_the_larger_one_is_kept():
    world = ring_scene(5)
    groups, _, tracks = linked(world)
    bundle = map_pose_graph(groups, tracks, [(0, 1), (1, 2), (3, 4)], 0)
    assert sorted(bundle.poses) == [0, 1, 2]


def test_no_pair_is_no_model():
    world = ring_scene(3)
    groups, _, tracks = linked(world)
    assert map_pose_graph(groups, tracks, [], 0) is None


def test_a_wrong_rotation_among_many_is_outvoted():
    rng = np.random.default_rng(0)
    true = Rotation.random(6, random_state=rng).as_matrix()
    pairs = [(a, b) for a in range(6) for b in range(a + 1, 6)]
    relative = {(a, b): true[b] @ true[a].T for a, b in pairs}
    relative[0, 3] = Rotation.from_euler("y", 60, degrees=True).as_matrix() @ relative[0, 3]
    found = average_rotations(relative, dict.fromkeys(pairs, 100.0))
    gauge = true[0].T @ found[0]
    worst = max(np.degrees(rotation_angle(found[i] @ (true[i] @ gauge).T)) for i in range(6))
    assert worst < 3.0


@pytest.fixture
def no_mapper(monkeypatch):
    """Neither pycolmap's incremental nor its global mapper finds anything."""
    monkeypatch.setattr("recon.poses.ladder.map_incrementally", lambda *_, **__: None)
    monkeypatch.setattr("recon.poses.ladder.map_globally", lambda *_, **__: None)


@pytest.mark.usefixtures("no_mapper")
def test_the_ladder_ends_at_the_pose_graph():
    world = ring_scene(4, noise_px=0.3)
    groups, pairs, tracks = linked(world)
    evidence = Evidence.of(world.matches, pairs, [1.0] * 4, 2.0)
    ladder = Ladder([i.name for i in world.images], 15, 0, fixed_focal=True)
    bundle = ladder.climb(groups, tracks, evidence)
    assert len(bundle.poses) == 4
    assert errors(bundle, world)[0] < 0.5
