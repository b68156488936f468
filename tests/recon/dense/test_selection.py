from dataclasses import replace

import numpy as np

from recon.dense.selection import fill_holes, lonely_tracks, pick, spacing, uncovered
from tests.recon import scenes


def test_pick_keeps_the_budget_and_repeats_nothing():
    points = scenes.points()
    chosen = pick(points, 500, np.random.default_rng(0))
    assert len(chosen) == len(np.unique(chosen)) == 500
    assert chosen.min() >= 0
    assert chosen.max() < len(points)


def test_pick_keeps_everything_within_the_budget():
    points = scenes.points().select(np.arange(40))
    assert np.array_equal(pick(points, 40, np.random.default_rng(0)), np.arange(40))


def test_pick_depends_on_the_seed_only():
    points = scenes.points()
    first, again, other = (pick(points, 300, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_pick_prefers_detail_in_proportion():
    points = scenes.points()
    half = len(points) // 2
    detail = np.where(np.arange(len(points)) < half, 0.27, 0.0).astype(np.float32)
    points = replace(points, detail=detail)
    chosen = pick(points, len(points) // 20, np.random.default_rng(0))
    # weights 0.30 and 0.03: ten to one as long as few are taken
    ratio = (chosen < half).sum() / max(1, (chosen >= half).sum())
    assert 6 < ratio < 16


def hole_in_the_middle():
    """Points of one map everywhere except in a block of 30 x 20 px."""
    m = scenes.exact_maps(scenes.scene())[1]
    xyz = scenes.trace(m.view)[2]
    covered = np.ones(m.depth.shape, bool)
    covered[30:50, 40:70] = False
    return m, xyz[covered], covered


def test_uncovered_pixels_are_the_hole():
    m, xyz, covered = hole_in_the_middle()
    hole = uncovered(xyz, m, radius_px=4)
    inner = np.zeros_like(covered)
    inner[34:46, 44:66] = True
    assert np.array_equal(hole, inner)


def test_holes_and_only_holes_are_filled_with_the_maps_depth():
    m, xyz, _ = hole_in_the_middle()
    found, size, normal = fill_holes(xyz, [m], max_cost=0.5, stride_px=4, masks={})
    uv, z = m.camera.project(m.view.cam_from_world.apply(found.astype(np.float64)))
    assert len(found) == 3 * 5  # 12 x 22 px at every fourth: rows 34, 38, 42; columns 46 … 62
    assert (uv > [44, 34]).all()
    assert (uv < [66, 46]).all()
    assert scenes.distance_to_surface(found.astype(np.float64)).max() < 1e-4
    assert np.allclose(size, z / m.camera.K[0, 0] * 4, rtol=1e-5)
    true = scenes.trace(m.view)[1][uv[:, 1].astype(int), uv[:, 0].astype(int)]
    assert np.abs(normal - true).max() < 1e-5


def test_filled_holes_are_not_filled_again_from_the_next_view():
    m, xyz, _ = hole_in_the_middle()
    once = fill_holes(xyz, [m], max_cost=0.5, stride_px=4, masks={})[0]
    twice = fill_holes(xyz, [m, m], max_cost=0.5, stride_px=4, masks={})[0]
    assert np.array_equal(once, twice)


def test_unmatched_pixels_borrow_the_nearest_matched_depth():
    m, xyz, covered = hole_in_the_middle()
    cost = np.where(covered, 0.0, 2.0).astype(np.float32)
    depth = np.where(covered, m.depth, 99.0).astype(np.float32)
    found, _, _ = fill_holes(
        xyz, [replace(m, cost=cost, depth=depth)], max_cost=0.5, stride_px=4, masks={}
    )
    _, z = m.camera.project(m.view.cam_from_world.apply(found.astype(np.float64)))
    assert len(found) == 15
    assert z.max() < m.depth.max()


def test_masked_pixels_and_hopeless_maps_are_not_filled():
    m, xyz, _ = hole_in_the_middle()
    mask = np.ones(m.depth.shape, bool)
    mask[:, 55:] = False
    found = fill_holes(xyz, [m], max_cost=0.5, stride_px=4, masks={m.view.name: mask})[0]
    uv, _ = m.camera.project(m.view.cam_from_world.apply(found.astype(np.float64)))
    assert 0 < len(found) < 15
    assert (uv[:, 0] < 55).all()
    bad = replace(m, cost=np.full_like(m.cost, 2.0))
    assert [len(x) for x in fill_holes(xyz, [bad], max_cost=0.5, stride_px=4, masks={})] == [0] * 3


def test_lonely_tracks_are_those_without_a_point_nearby():
    solved = scenes.scene().reconstruction
    near = solved.xyz_world[10:].astype(np.float32)
    lone = lonely_tracks(solved, near, 1e-4)
    assert set(lone) == set(range(10))
    assert len(lonely_tracks(solved, near, 100.0)) == 0
    nothing = np.zeros((0, 3), np.float32)
    assert len(lonely_tracks(solved, nothing, 1.0)) == len(solved.xyz_world)


def test_spacing_of_a_grid_is_its_pitch():
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(9), [0.0]), -1).reshape(-1, 3)
    inner = (np.abs(grid[:, :2] - 4) < 4).all(1)
    assert np.allclose(spacing(grid.astype(np.float32) * 0.5)[inner], 0.5)
    assert len(spacing(np.zeros((1, 3), np.float32))) == 1
