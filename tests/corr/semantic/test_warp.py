"""The dense warp and what is drawn from features: exact on fields made for it."""

import numpy as np
import pytest
from test_transfer import STEP, scene

from corr.semantic.dense_pictures import (
    beside,
    colours_carried,
    heat_map,
    joint_pca,
    over_photo,
)
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.transfer import Nearest, Window
from corr.semantic.warp import Warp, dense_warp

SHIFT = np.array([13.0, -6.0])


def overlap(warp: Warp, grid: FeatureGrid):
    """Cells whose truth lies well inside the other photo."""
    truth = grid.centres().reshape(*grid.shape, 2) - SHIFT
    inside = ((truth > 25) & (truth < [grid.width - 25, grid.height - 25])).all(-1)
    return truth, inside


def test_warp_of_a_shifted_scene_is_the_shift():
    a, b = scene(), scene(shift=tuple(SHIFT))
    warp = dense_warp(a, b, Window(temperature=0.01))
    truth, inside = overlap(warp, a)
    off = np.linalg.norm(warp.uv - truth, axis=-1)[inside]
    assert inside.sum() > 60
    # The window's expectation leans to the middle of its best cell, alike for all cells.
    assert off.max() < STEP / 3


def test_smoothing_repairs_cells_that_disagree_with_their_neighbours():
    a, b = scene(), scene(shift=tuple(SHIFT))
    broken = a.descriptor.copy()
    broken[6, 7], broken[4, 9] = b.descriptor[0, 0], b.descriptor[12, 0]
    hurt = FeatureGrid(broken, a.first_uv, a.step_uv, a.width, a.height)
    way = Window(temperature=0.01)
    rough, smooth = (dense_warp(hurt, b, way, smooth_cells=s) for s in (0.0, 1.0))
    truth, _ = overlap(rough, a)
    for cell in ((6, 7), (4, 9)):
        assert np.linalg.norm(rough.uv[cell] - truth[cell]) > 3 * STEP
        assert np.linalg.norm(smooth.uv[cell] - truth[cell]) < STEP


def test_warp_between_cells_is_linear_and_beyond_them_keeps_the_displacement():
    g = scene()
    warp = dense_warp(g, g, Nearest(), smooth_cells=0.0)
    uv = np.array([[12.5, 31.0], [0.5, 1.0], [169.0, 129.5]])
    found, sure = warp.at(uv)
    np.testing.assert_allclose(found, uv, atol=1e-9)
    assert ((sure >= 0) & (sure <= 1)).all()


def test_warp_fills_cells_without_an_answer_and_refuses_none_at_all():
    a, b = scene(), scene(shift=(40.0, 0.0))
    some = dense_warp(a, b, Window(temperature=0.01, min_confidence=0.6))
    assert np.isfinite(some.uv).all()
    with pytest.raises(ValueError, match=r"lower transfer\.min_confidence"):
        dense_warp(a, scene(seed=9), Window(min_confidence=1.0))


def test_heat_map_is_hottest_where_the_descriptor_is_from():
    g = scene()
    photo = np.full((g.height, g.width, 3), 90, np.uint8)
    at = np.array([[85.0, 45.0]])
    hot = heat_map(photo, g, g.sample(at)[0], strength=1.0).astype(int)
    v, u = np.unravel_index(hot.sum(-1).argmax(), hot.shape[:2])
    assert abs(u + 0.5 - 85) <= 6
    assert abs(v + 0.5 - 45) <= 6


def test_joint_colours_of_one_scene_agree_between_two_windows():
    a, b = scene(), scene(shift=(20.0, 10.0))
    colours_a, colours_b = joint_pca([a, b])
    np.testing.assert_allclose(colours_a[1:, 2:], colours_b[:-1, :-2], atol=1e-6)
    assert colours_a.std() > 0.1
    again, _ = joint_pca([a, b], [np.ones(a.flat.shape[0], bool), np.ones(b.flat.shape[0], bool)])
    np.testing.assert_array_equal(again, colours_a)


def test_colours_are_carried_from_where_the_warp_points():
    rng = np.random.default_rng(2)
    photo = np.kron(rng.integers(0, 255, (13, 17, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    g = scene()
    centres = g.centres().reshape(*g.shape, 2)
    warp = Warp(centres + np.array([20.0, 0.0]), np.ones(g.shape), g.first_uv, g.step_uv)
    out = colours_carried(np.zeros_like(photo), photo, warp)
    np.testing.assert_array_equal(out[:, :-20], photo[:, 20:])
    assert (out[:, -20:] == 160).all(), "nothing lies there: the photo's own faded grey"
    unsure = Warp(warp.uv, np.zeros(g.shape), g.first_uv, g.step_uv)
    assert (colours_carried(photo * 0, photo, unsure, min_confidence=0.5) == 160).all()


def test_planes_over_a_photo_meet_the_centres_of_cells():
    g = scene(rows=5, columns=7)
    plane = np.random.default_rng(0).normal(size=(5, 7, 1))
    full = over_photo(plane, g)[..., 0]
    assert full.shape == (g.height, g.width)
    middle = (full[4::10, 4::10] + full[5::10, 5::10]) / 2  # centres lie between pixels
    np.testing.assert_allclose(middle, plane[..., 0], atol=0.35)
    np.testing.assert_allclose(full[0, 0], plane[0, 0, 0])


def test_pictures_beside_each_other_have_one_height():
    row = beside([np.zeros((50, 31, 3), np.uint8), np.zeros((70, 99, 3), np.uint8)], 45)
    assert row.shape == (45, round(31 * 45 / 50) + 12 + round(99 * 45 / 70), 3)
