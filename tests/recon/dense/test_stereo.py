from dataclasses import replace

import numpy as np
import pytest

from corr.geometry import Camera
from corr.tracks import Tracks
from recon.dense.stereo import (
    depth_maps,
    facing_normals,
    grey,
    interpolate_depth,
    shrunk,
    sparse_depths,
    valid_mask,
)
from tests.recon import scenes

# 1 % of the depth is 1.5 px of parallax at 12 degrees: far more than NCC on clear texture needs.
DEPTH_TOLERANCE = 0.01
# Normals come from 9 x 9 px patches; within one the ball (radius 23 px) turns by 20 degrees and
# more, and its texture is not a plane's: half of that is what a plane can be off by.
NORMAL_TOLERANCE_DEG = {"floor": 10.0, "ball": 20.0}


@pytest.mark.parametrize("body", ["floor", "ball"])
def test_depth_and_normal_are_true_where_patches_match(body):
    true = scenes.scene()
    for m in scenes.maps():
        z, normal = true.depth[m.view.name], true.normal[m.view.name]
        on_floor = np.abs(normal @ m.view.cam_from_world.R @ [0, 0, 1.0] - 1) < 1e-9
        use = valid_mask(m, 0.5) & (on_floor if body == "floor" else ~on_floor)
        assert use.sum() > 300
        error = np.abs(m.depth - z)[use] / z[use]
        assert np.median(error) < DEPTH_TOLERANCE
        cosine = np.clip((m.normal * normal).sum(-1)[use], -1, 1)
        assert np.degrees(np.median(np.arccos(cosine))) < NORMAL_TOLERANCE_DEG[body]


def test_matching_improves_on_the_sparse_points():
    true = scenes.scene()
    before = scenes.match_densely(true, iterations=0)
    for start, end in zip(before, scenes.maps(), strict=True):
        z = true.depth[start.view.name]
        first, last = (np.median(np.abs(m.depth - z) / z) for m in (start, end))
        assert last < 0.5 * first
        assert end.cost.mean() < start.cost.mean()


def test_maps_are_finite_unit_and_face_the_camera():
    for m in scenes.maps():
        assert np.isfinite(m.depth).all()
        assert (m.depth > 0).all()
        assert np.abs(np.linalg.norm(m.normal, axis=-1) - 1).max() < 1e-5  # float32
        assert (m.normal[..., 2] < 0).all()
        assert m.cost.min() > -1e-5
        assert m.cost.max() <= 2


def test_maps_have_the_same_bits_on_any_number_of_threads(threads):
    true = scenes.scene()
    results = []
    for count in (1, 2, 2):
        threads(count)
        results.append(scenes.match_densely(true, iterations=1))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert np.array_equal(a.depth, b.depth)
            assert np.array_equal(a.normal, b.normal)
            assert np.array_equal(a.cost, b.cost)


def test_neighbour_of_another_size_is_matched_too():
    """Pictures are stacked in one array; the padding of the smaller one must not be read."""
    true = scenes.scene()
    view = true.reconstruction.views[1]
    camera = view.camera.resized(101, 77)
    small = replace(view, camera=camera)
    views = (true.reconstruction.views[0], small, *true.reconstruction.views[2:])
    solved = replace(true.reconstruction, views=views)
    pictures = {**true.pictures, view.name: scenes.picture(small)}
    found = depth_maps(solved, pictures, [[1, 2], [], [], []], max_side=123, iterations=3)
    assert len(found) == 1
    z = true.depth[found[0].view.name]
    good = valid_mask(found[0], 0.5)
    assert good.mean() > 0.5
    assert np.median(np.abs(found[0].depth - z)[good] / z[good]) < DEPTH_TOLERANCE


def test_view_without_neighbours_or_points_gets_no_map():
    true = scenes.scene()
    t = true.reconstruction.tracks
    keep = (t.image != 3) | (np.cumsum(t.image == 3) <= 3)  # three points only in view 3
    solved = replace(
        true.reconstruction, tracks=Tracks(t.track[keep], t.image[keep], t.uv[keep], t.names)
    )
    found = depth_maps(solved, true.pictures, [[1], [], [1], [2]], max_side=45, iterations=0)
    assert [m.view.name for m in found] == ["v0.png", "v2.png"]


def test_sparse_depths_are_those_of_the_tracks():
    true = scenes.scene()
    t = true.reconstruction.tracks
    camera = shrunk(true.reconstruction.views[2].camera, 61)
    sparse = sparse_depths(true.reconstruction, 2, camera)
    seen = t.image == 2
    assert len(sparse) == seen.sum()
    assert np.allclose(sparse[:, :2], t.uv[seen] * [61 / 123, camera.height / 93], atol=1e-9)
    at = t.uv[seen].astype(int)
    # The tracks are pixel centres of some view, here between pixels: half a pixel of slope.
    close = np.abs(true.depth["v2.png"][at[:, 1], at[:, 0]] / sparse[:, 2] - 1) < 0.02
    assert close.mean() > 0.95


def test_interpolated_depth_of_a_plane_is_exact():
    camera = Camera.simple(41, 29, 50.0)
    uv = np.random.default_rng(0).uniform([0, 0], [41, 29], (40, 2))
    inverse = 0.2 + 0.002 * uv[:, 0] - 0.001 * uv[:, 1]  # planes are linear in inverse depth
    depth = interpolate_depth(np.column_stack([uv, 1 / inverse]), camera)
    assert 1 / depth[14, 20] == pytest.approx(0.2 + 0.002 * 20.5 - 0.001 * 14.5, rel=1e-5)
    assert np.isfinite(depth).all()


@pytest.mark.parametrize("direction", [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_interpolated_depth_survives_points_on_a_line(direction):
    camera = Camera.simple(41, 29, 50.0)
    uv = np.array([5.0, 4.0]) + np.arange(6)[:, None] * 3 * np.array(direction)
    depth = interpolate_depth(np.column_stack([uv, np.full(6, 2.0)]), camera)
    assert depth == pytest.approx(np.full((29, 41), 2.0))


def test_normals_of_a_depth_map_are_those_of_its_plane():
    camera = Camera.simple(41, 29, 50.0)
    u, v = np.meshgrid(np.arange(41) + 0.5, np.arange(29) + 0.5)
    n = np.array([0.3, -0.4, -1.0]) / np.linalg.norm([0.3, -0.4, -1.0])
    rays = camera.unproject(np.stack([u, v], -1), np.ones(u.shape))
    depth = (-2.0 / (rays @ n)).astype(np.float32)
    assert np.abs(facing_normals(depth, camera) - n).max() < 1e-3  # float32 differences


def test_grey_keeps_the_mean_when_shrinking():
    rgb = np.random.default_rng(0).integers(0, 255, (93, 123, 3)).astype(np.uint8)
    small = grey(rgb, 41, 31)
    assert small.shape == (31, 41)
    assert small.dtype == np.float32
    wanted = (rgb / 255.0 @ [0.299, 0.587, 0.114]).mean()
    assert small.mean() == pytest.approx(wanted, abs=1 / 255)  # rounding to bytes on the way
