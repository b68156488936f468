from dataclasses import replace

import numpy as np
import pytest

from recon.dense.colour import SH_C0, SH_C1, fit_sh, sample_colours, solve_exposures
from tests.recon import scenes


def basis(directions):
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.stack([np.full_like(x, SH_C0), -SH_C1 * y, SH_C1 * z, -SH_C1 * x], -1)


@pytest.fixture
def lit():
    """Points whose colours follow degree-1 harmonics exactly, seen by eight photos."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-0.5, 0.5, (60, 3)).astype(np.float32)
    centres = rng.normal(size=(8, 3))
    centres *= 4 / np.linalg.norm(centres, axis=1, keepdims=True)
    sh = rng.normal(size=(60, 4, 3)) * 0.2
    away = xyz[:, None].astype(np.float64) - centres
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    colours = (0.5 + np.einsum("nvk,nkc->nvc", basis(away), sh)).astype(np.float32)
    return xyz, centres, sh, colours


def test_harmonics_are_recovered_when_the_ridge_vanishes(lit):
    xyz, centres, sh, colours = lit
    visible = np.ones(colours.shape[:2], bool)
    found = fit_sh(xyz, colours, visible, centres, degree=1, ridge=1e-7)
    # float32 colours, and the 1e-6 that keeps band 0 solvable
    assert np.abs(found - sh).max() < 1e-3


def test_hidden_photos_do_not_vote(lit):
    xyz, centres, sh, colours = lit
    visible = np.ones(colours.shape[:2], bool)
    visible[:, :2] = False
    spoilt = colours.copy()
    spoilt[:, :2] = 9.0
    found = fit_sh(xyz, spoilt, visible, centres, degree=1, ridge=1e-7)
    assert np.abs(found - sh).max() < 5e-3  # six photos for four unknowns: less well posed


def test_ridge_keeps_band_one_near_zero_with_a_single_photo(lit):
    xyz, centres, _, colours = lit
    visible = np.zeros(colours.shape[:2], bool)
    visible[:, 3] = True
    found = fit_sh(xyz, colours, visible, centres, degree=1, ridge=0.3)
    away = xyz.astype(np.float64) - centres[3]
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    seen = 0.5 + np.einsum("nk,nkc->nc", basis(away), found)
    assert np.abs(seen - colours[:, 3]).max() < 1e-4  # that photo is explained …
    assert np.abs(found[:, 1:]).max() < 1e-4  # … by the constant alone
    assert np.abs(found[:, 0]).max() > 0.1


def test_points_seen_nowhere_are_mid_grey(lit):
    xyz, centres, _, colours = lit
    none = np.zeros(colours.shape[:2], bool)
    assert np.abs(fit_sh(xyz, colours, none, centres, degree=1, ridge=0.3)).max() == 0


def test_degree_zero_has_one_coefficient_the_mean_colour(lit):
    xyz, centres, _, colours = lit
    visible = np.ones(colours.shape[:2], bool)
    found = fit_sh(xyz, colours, visible, centres, degree=0, ridge=0.3)
    assert found.shape == (60, 1, 3)
    assert np.allclose(0.5 + SH_C0 * found[:, 0], colours.mean(1), atol=1e-4)


def exposed(visible, outliers, *, seed=0):
    rng = np.random.default_rng(seed)
    n, v = visible.shape
    gains = np.exp(rng.uniform(-0.35, 0.35, (v, 3)))
    gains /= np.exp(np.log(gains).mean(0))
    base = rng.uniform(0.15, 0.6, (n, 1, 3))
    colours = base * gains
    wrong = rng.random((n, v)) < outliers
    colours[wrong] = rng.uniform(0.05, 0.95, (wrong.sum(), 3))
    return np.clip(colours, 0, 1).astype(np.float32), gains


def test_exposures_are_recovered_despite_outliers():
    visible = np.random.default_rng(1).random((3000, 6)) < 0.7
    colours, gains = exposed(visible, 0.1)
    # A tenth of arbitrary colours moves the medians of 2000 points by about a hundredth.
    assert np.abs(solve_exposures(colours, visible) / gains - 1).max() < 0.03


def test_exposures_are_recovered_along_a_row_of_photos():
    """Each point in three successive photos only: gains must travel along the whole row."""
    start = np.random.default_rng(2).integers(0, 8, 4000)
    visible = np.zeros((4000, 10), bool)
    for k in range(3):
        visible[np.arange(4000), start + k] = True
    colours, gains = exposed(visible, 0.0)
    found = solve_exposures(colours, visible)
    assert np.abs(found / gains - 1).max() < 0.03
    assert np.log(found).mean(0) == pytest.approx(np.zeros(3), abs=1e-9)


def test_exposures_stay_one_without_evidence():
    visible = np.eye(6, dtype=bool)[np.random.default_rng(0).integers(0, 6, 500)]
    colours, _ = exposed(visible, 0.0)
    assert np.array_equal(solve_exposures(colours, visible), np.ones((6, 3)))
    dark = np.full((500, 6, 3), 0.01, np.float32)
    assert np.array_equal(solve_exposures(dark, np.ones((500, 6), bool)), np.ones((6, 3)))


def test_exposure_of_a_photo_that_sees_nothing_is_finite():
    visible = np.ones((500, 4), bool)
    visible[:, 3] = False
    colours, gains = exposed(visible, 0.0)
    found = solve_exposures(colours, visible)
    assert np.isfinite(found).all()
    assert found[:3] / found[0] == pytest.approx(gains[:3] / gains[0], rel=1e-3)


def test_sampled_colours_are_the_surface_and_know_what_hides_it():
    true = scenes.scene()
    maps = scenes.exact_maps(true)
    xyz = np.concatenate([scenes.trace(m.view)[2][::7, ::7].reshape(-1, 3) for m in maps])
    colours, visible = sample_colours(xyz.astype(np.float32), maps, true.pictures)
    for v, m in enumerate(maps):
        _, truth = scenes.seen(xyz, m.view, true.depth[m.view.name])
        assert (visible[:, v] == truth).mean() > 0.97  # 1 px of slack at the ball's rim
        error = np.abs(colours[:, v] - scenes.texture(xyz))[truth & visible[:, v]]
        assert np.median(error) < 0.03  # the pixel averages the texture
    below = np.array([[0.1, 0.3, 0.0]], np.float32)  # the floor right behind the ball
    assert not sample_colours(below, maps, true.pictures)[1].any()


def test_colours_are_not_sampled_outside_the_picture_or_behind_it():
    true = scenes.scene()
    maps = scenes.exact_maps(true)
    view = maps[0].view
    behind = view.cam_from_world.centre * 2
    aside = np.array([50.0, 0.0, 0.0])
    at_centre = view.cam_from_world.centre
    xyz = np.array([behind, aside, at_centre], np.float32)
    colours, visible = sample_colours(xyz, maps, true.pictures)
    assert not visible[:, 0].any()
    assert np.isfinite(colours).all()


def test_sampled_colour_is_bilinear_at_pixel_centres():
    true = scenes.scene()
    m = scenes.exact_maps(true)[0]
    row, col = 31, 57
    uv = np.array([[col + 0.5, row + 0.5], [col + 1.0, row + 0.5]])
    z = m.depth[[row, row], [col, col]].astype(np.float64)
    xyz = m.view.cam_from_world.inverse().apply(m.camera.unproject(uv, z))
    far = replace(m, depth=m.depth + 1)  # nothing hides anything
    colours, _ = sample_colours(xyz.astype(np.float32), [far], true.pictures)
    photo = true.pictures[m.view.name].astype(float) / 255
    # OpenCV interpolates with 1/32 px; float32 positions add a little.
    assert colours[0, 0] == pytest.approx(photo[row, col], abs=0.01)
    assert colours[1, 0] == pytest.approx(photo[row, col : col + 2].mean(0), abs=0.01)
