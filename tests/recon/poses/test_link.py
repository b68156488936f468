import numpy as np

from corr.matches import Matches
from recon.poses.lens import Lens
from recon.poses.link import link, thin
from recon.poses.two_view import TwoView
from tests.synthetic import FOCAL, HEIGHT, WIDTH, ring_scene


def as_verified(matches):
    """Every match an inlier, so that only the linking is tested."""
    return [
        TwoView(a, b, len(m), np.arange(len(m)), 1, None, 1.0, 10.0, 0.0)
        for (a, b), m in matches.items()
    ]


def linked(world, matches=None):
    matches = world.matches if matches is None else matches
    return link(matches, as_verified(matches), [1.0] * len(world.images))


def points_of(world, tracks):
    """The true point of every observation, found by its exact position."""
    uv = [v.camera.project(v.cam_from_world.apply(world.xyz))[0] for v in world.views]
    return np.array(
        [
            np.argmin(np.linalg.norm(uv[p] - at, axis=-1))
            for p, at in zip(tracks.photo, tracks.uv, strict=True)
        ]
    )


def test_link_recovers_the_partition_when_matches_are_right():
    world = ring_scene(5, 300)
    tracks = linked(world)
    seen = np.zeros(len(world.xyz), dtype=int)
    for view in world.views:
        uv, _ = view.camera.project(view.cam_from_world.apply(world.xyz))
        seen += ((uv > 2) & (uv < np.array([WIDTH, HEIGHT]) - 2)).all(-1)
    assert tracks.cut == 0
    assert tracks.num_tracks == (seen >= 2).sum()
    assert len(tracks.track) == seen[seen >= 2].sum()
    point = points_of(world, tracks)
    first = np.r_[True, np.diff(tracks.track) > 0]
    assert (point == point[first][tracks.track]).all()


def test_link_never_visits_a_photo_twice_and_stays_pure_when_matches_are_wrong():
    world = ring_scene(5, 400, outlier_ratio=0.1)
    tracks = linked(world)
    keys = tracks.track * 100 + tracks.photo
    assert len(np.unique(keys)) == len(keys)
    assert tracks.cut > 0
    point = points_of(world, tracks)
    longs = np.flatnonzero(np.bincount(tracks.track) >= 3)
    pure = [len(np.unique(point[tracks.track == t])) == 1 for t in longs.tolist()]
    assert np.mean(pure) > 0.9


def test_link_cuts_the_weakest_match_of_a_conflict_and_keeps_the_track():
    at = np.array([[10.0, 10.0]])
    ids = np.array([0])
    far, other = np.array([[300.0, 200.0]]), np.array([9])
    matches = {
        (0, 1): Matches(at, at, np.array([0.9]), id_a=ids, id_b=ids),
        (1, 2): Matches(at, at, np.array([0.8]), id_a=ids, id_b=ids),
        (0, 2): Matches(at, far, np.array([0.3]), id_a=ids, id_b=other),
    }
    tracks = link(matches, as_verified(matches), [1.0] * 3)
    assert tracks.cut == 1
    assert tracks.num_tracks == 1
    assert sorted(tracks.photo) == [0, 1, 2]
    np.testing.assert_allclose(tracks.uv, 10.0)


def test_positions_follow_the_reference_when_each_pair_measures_the_cell_elsewhere():
    # Photo 1 sees the point of photo 0 shifted by (20, 0), photo 2 by (40, 0). The pair (1, 2)
    # measured another place of the same cell, 3 px away.
    a, shift, off = np.array([[100.0, 80.0]]), np.array([[20.0, 0.0]]), np.array([[3.0, -2.0]])
    ids, score = np.array([4]), np.array([1.0])
    matches = {
        (0, 1): Matches(a, a + shift, score, id_a=ids, id_b=ids),
        (1, 2): Matches(a + shift + off, a + 2 * shift + off, 0.9 * score, id_a=ids, id_b=ids),
    }
    tracks = link(matches, as_verified(matches), [1.0] * 3)
    np.testing.assert_allclose(np.diff(tracks.uv, axis=0), np.repeat(shift, 2, 0), atol=1e-9)


def test_matches_without_ids_link_by_their_cell():
    world = ring_scene(4, 100)
    plain = {k: Matches(m.uv_a, m.uv_b, m.score) for k, m in world.matches.items()}
    tracks = linked(world, plain)
    assert tracks.num_tracks <= 100
    assert np.bincount(tracks.track).mean() > 3.5


def test_scales_turn_original_into_working_pixels():
    world = ring_scene(3, 50)
    tracks = link(world.matches, as_verified(world.matches), [0.5] * 3)
    np.testing.assert_allclose(tracks.uv, 0.5 * linked(world).uv)


def test_thin_keeps_long_tracks_everywhere():
    world = ring_scene(5, 800)
    tracks = linked(world)
    few = thin(tracks, [Lens.centred(WIDTH, HEIGHT, FOCAL)] * 5, per_cell=1, grid=8)
    assert few.num_tracks < tracks.num_tracks / 3
    assert np.bincount(few.track).mean() >= np.bincount(tracks.track).mean()
    assert len(np.unique(few.photo)) == 5


def test_no_matches_give_no_tracks():
    assert link({}, [], []).num_tracks == 0
