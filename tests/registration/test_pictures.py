"""Overlay pictures: what is nearer hides what is behind, colours say which scan it is."""

import numpy as np
import pytest
from PIL import Image as PilImage
from run_world import TRUE, Knows, aligned, pair

from registration import pictures
from registration.api import align
from registration.cloud import PointCloud
from registration.drawn import drawn_pair, spacing, thinned
from registration.pictures import (
    FAR_RGB,
    SOURCE_RGB,
    TARGET_RGB,
    before_picture,
    coloured,
    commonest_normal,
    distance_colours,
    upright,
    write_pictures,
)
from registration.render import STAGE, Splats, Viewpoint, draw, framed, look, surface_normals

FRONT = Viewpoint(np.eye(3), np.zeros(3), 10.0)
SIZE = (91, 67)


def splats(xyz, rgb, normals=None) -> Splats:
    xyz = np.array(xyz, float)
    facing = np.tile([0.0, 0, 1], (len(xyz), 1)) if normals is None else np.array(normals, float)
    return Splats(xyz, facing, np.array(rgb, np.uint8))


def test_point_is_drawn_where_the_camera_sees_it_and_nearest_wins():
    picture = draw(splats([[0, 0, 1], [0, 0, -1]], [[0, 255, 0], [255, 0, 0]]), FRONT, SIZE, 0.4)
    assert picture.shape == (67, 91, 3)
    np.testing.assert_array_equal(picture[33, 45], [255, 0, 0])
    np.testing.assert_array_equal(picture[3, 3], STAGE)


def test_x_goes_right_and_y_goes_down():
    picture = draw(splats([[1, 0.5, 0]], [[255, 255, 255]]), FRONT, SIZE, 0.2)
    row, column = (int(v.mean()) for v in np.nonzero(picture[:, :, 0] > 100))
    assert column == pytest.approx(45.5 + 67 * 2.4 * 1 / 10, abs=1)
    assert row == pytest.approx(33.5 + 67 * 2.4 * 0.5 / 10, abs=1)


def test_surface_seen_edge_on_is_darker():
    facing, edge_on = (
        draw(splats([[0, 0, 0]], [[200, 200, 200]], [normal]), FRONT, SIZE, 0.5)[33, 45, 0]
        for normal in ([0, 0, 1], [1, 0, 0])
    )
    assert facing == 200
    assert edge_on < 120


def test_edges_before_a_far_background_are_marked():
    grid = np.stack(np.meshgrid(np.arange(-2, 2, 0.05), np.arange(-2, 2, 0.05)), 2).reshape(-1, 2)
    wall = np.column_stack([grid, np.full(len(grid), 2.0)])
    post = np.column_stack([grid * [0.1, 1], np.full(len(grid), -3.0)])
    points = np.concatenate([wall, post])
    picture = draw(splats(points, np.full((len(points), 3), 200)), FRONT, SIZE, 0.1)
    row = picture[33, :, 0].astype(int)
    assert row[45] == 200  # the post
    assert row[20] > 190  # the wall
    assert row[25:43].min() < 165  # the wall beside the post


@pytest.mark.parametrize("up", [[0, -1, 0], [0, 0, 1], [0.3, -0.8, 0.5]])
def test_look_turns_up_upwards(up):
    up = np.array(up, float)
    cam_from_world = look(np.array([0.4, 0.3, 0.9]), up)
    np.testing.assert_allclose(cam_from_world @ cam_from_world.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(cam_from_world) == pytest.approx(1)
    assert (cam_from_world @ up)[1] < 0
    assert abs((cam_from_world @ up)[0]) < 1e-12


def test_look_along_up_is_still_a_rotation():
    R = look(np.array([0.0, 0, -1]), np.array([0.0, 0, 1]))
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_framed_cloud_fills_the_picture_in_any_unit(scale):
    xyz = scale * (np.random.default_rng(0).uniform(-1, 1, (999, 3)) * [2, 1, 1] + [5, 6, 7])
    view = framed(xyz, np.eye(3), aspect=1.3)
    uv, depth = view.project(xyz, 130, 100)
    assert (depth > 0).all()
    assert np.mean((uv > 0).all(axis=1) & (uv < [130, 100]).all(axis=1)) > 0.97
    assert np.ptp(uv[:, 0]) > 90


def test_normals_of_a_plane_are_its_normal():
    xyz = np.random.default_rng(1).uniform(0, 1, (200, 3)) * [1, 1, 0]
    assert abs(surface_normals(xyz)[:, 2]).min() > 1 - 1e-9
    assert surface_normals(xyz[:1]).shape == (1, 3)


def test_upwards_of_a_depth_picture_is_the_normal_of_its_floor():
    rng = np.random.default_rng(2)
    floor = np.column_stack([rng.uniform(-1, 1, 900), np.zeros(900), rng.uniform(-1, 1, 900)])
    wall = np.column_stack([rng.uniform(-1, 1, 500), rng.uniform(-1, 0, 500), np.ones(500)])
    c, s = np.cos(0.5), np.sin(0.5)
    tilt = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    up, front = upright(PointCloud(np.concatenate([floor, wall]) @ tilt.T + [0, 0.5, 3]))
    assert up @ tilt @ [0, -1, 0] > 0.999
    assert abs(up @ front) < 1e-9


def test_upwards_of_anything_else_is_z_and_it_is_looked_at_across_its_length():
    up, front = upright(PointCloud(np.random.default_rng(0).normal(size=(500, 3)) * [9, 2, 1]))
    np.testing.assert_array_equal(up, [0, 0, 1])
    assert abs(front[1]) > 0.9


def test_scattered_normals_leave_upwards_as_it_was():
    sideways = np.tile([1.0, 0, 0], (50, 1))
    np.testing.assert_array_equal(commonest_normal(sideways, np.array([0.0, -1, 0])), [0, -1, 0])


def test_distance_colours_run_from_blue_to_red_and_end_in_grey():
    near, far, beyond = distance_colours(np.array([0.0, 2.0, 2.1]))
    assert near[2] > 150 > near[0]
    assert far[0] > 200 > far[2]
    np.testing.assert_array_equal(beyond, FAR_RGB)


def test_thinning_keeps_one_point_per_cell_and_at_most_so_many():
    cloud = PointCloud(np.random.default_rng(0).uniform(0, 1, (5000, 3)))
    np.testing.assert_array_equal(thinned(cloud, 0.1, 5000), np.arange(5000))
    kept = thinned(cloud, 0.1, 4000)
    assert 900 < len(kept) <= 1000
    assert len(np.unique(np.floor(cloud.xyz[kept] / 0.1), axis=0)) > 850
    assert len(thinned(cloud, 1e-6, 321)) == 321


def test_spacing_is_the_distance_to_neighbours():
    grid = np.stack(np.meshgrid(*[np.arange(9.0)] * 3), 3).reshape(-1, 3)
    assert spacing(grid) == 1.0
    assert spacing(grid[:1]) == 1.0
    assert spacing(np.zeros((9, 3))) > 0


def test_drawn_pair_moves_the_source_and_measures_its_distance():
    pair_ = drawn_pair(aligned())
    np.testing.assert_allclose(pair_.moved, TRUE.apply(pair_.source))
    assert pair_.distance.max() < 1e-6
    lost = drawn_pair(aligned(finds=False))
    assert lost.moved is None
    assert lost.distance is None


def test_pictures_show_both_scans_from_three_sides(tmp_path):
    names = write_pictures(tmp_path, drawn_pair(aligned()))
    assert names == [
        "overlay_before.png", "overlay_after.png", "overlay_distance.png", "overlay_colours.png"
    ]  # fmt: skip
    width = pictures.PANEL[0]
    for name in names:
        with PilImage.open(tmp_path / name) as file:
            assert file.size[0] > 3 * width
            picture = np.asarray(file.convert("RGB")).astype(int)
        for k in range(3):
            panel = picture[40:-40, k * (width + 4) :][:, :width]
            assert 0.1 < np.mean(abs(panel - STAGE).max(axis=2) > 30) < 0.95, (name, k)
    before = np.asarray(PilImage.open(tmp_path / "overlay_before.png").convert("RGB")).astype(int)
    for colour in (SOURCE_RGB, TARGET_RGB):  # in some shade
        shade = before / np.maximum(before.max(axis=2, keepdims=True), 1)
        like = abs(shade - colour / colour.max()).max(axis=2) < 0.05
        assert (like & (before.max(axis=2) > 60)).mean() > 0.02


def test_without_an_answer_only_the_scans_as_given_are_drawn(tmp_path):
    assert write_pictures(tmp_path, drawn_pair(aligned(finds=False))) == ["overlay_before.png"]


def test_scans_far_apart_are_drawn_around_one_centre(tmp_path):
    source, target = pair()
    far = PointCloud(target.xyz + np.array([1e6, 0, 0]))
    drawn = drawn_pair(align(source, far, registrar=Knows(), voxel=0.05))
    scans = coloured(drawn.source, SOURCE_RGB), coloured(drawn.target, TARGET_RGB)
    picture = before_picture(*scans, drawn).astype(int)
    assert np.mean(abs(picture - STAGE).max(axis=2) > 30) > 0.1
