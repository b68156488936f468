import numpy as np
import pytest

from corr.geometry import Camera
from corr.tracks import Tracks
from recon.dense.neighbours import BEST_ANGLE_DEG, angle_weight, choose_neighbours, covisibility
from recon.scene import Reconstruction, View
from tests.recon.scenes import look_at


def around(angles_deg, sees=None) -> Reconstruction:
    """Views on a circle of radius 4; `sees[v]` is the set of points that view v observes."""
    camera = Camera.simple(123, 93, 150.0)
    views = tuple(
        View(f"v{i}", camera, look_at((4 * np.sin(a), -4 * np.cos(a), 0), (0, 0, 0)))
        for i, a in enumerate(np.radians(angles_deg))
    )
    xyz = np.random.default_rng(0).uniform(-0.1, 0.1, (30, 3))
    sees = sees or [range(30)] * len(views)
    table = [(p, v) for p in range(30) for v in range(len(views)) if p in sees[v]]
    track, image = np.array(table).T
    uv = np.zeros((len(table), 2))
    tracks = Tracks(track, image, uv, tuple(v.name for v in views))
    return Reconstruction(views, xyz, np.zeros((30, 3), np.uint8), tracks)


@pytest.mark.parametrize("count", [2, 3])
def test_neighbours_never_hold_the_view_itself_with_few_views(count):
    chosen = choose_neighbours(covisibility(around(np.arange(count) * 10.0)), 4)
    for i, near in enumerate(chosen):
        assert sorted(near) == [j for j in range(count) if j != i]


def test_neighbours_never_hold_the_view_itself_when_its_own_score_is_highest():
    score = np.array([[9.0, 1, 2], [1, 9, 0], [2, 0, 9]])
    assert choose_neighbours(score, 2) == [[2, 1], [0], [0]]


def test_neighbours_prefer_the_best_angle_over_the_nearest_and_the_farthest():
    # From view 0: 2, 12 and 45 degrees away, the same points seen by all.
    chosen = choose_neighbours(covisibility(around([0.0, 2.0, 12.0, 45.0])), 4)
    assert chosen[0][0] == 2
    assert len(choose_neighbours(covisibility(around([0.0, 2.0, 12.0, 45.0])), 1)[0]) == 1


def test_neighbours_ignore_views_without_common_points():
    reconstruction = around([0.0, 12.0, 20.0], [range(30), range(10), range(10, 10)])
    score = covisibility(reconstruction)
    assert choose_neighbours(score, 4) == [[1], [0], []]
    assert np.array_equal(score, score.T)


def test_covisibility_counts_common_points():
    few, many = range(5), range(30)
    score = covisibility(around([0.0, 12.0, -12.0], [many, many, few]))
    # 5 of 30 common points at the same angle: a sixth, up to the points' spread in angle.
    assert score[0, 2] / score[0, 1] == pytest.approx(5 / 30, rel=0.05)


def test_view_at_the_same_place_measures_no_depth():
    assert choose_neighbours(covisibility(around([0.0, 0.0, 10.0])), 4)[0] == [2]


def test_angle_weight_rises_to_one_and_falls():
    angles = np.radians([0.0, BEST_ANGLE_DEG / 2, BEST_ANGLE_DEG, 30.0, 60.0])
    weight = angle_weight(angles)
    assert weight[:3] == pytest.approx([0.0, 0.5, 1.0])
    assert 1 > weight[3] > weight[4] > 0
