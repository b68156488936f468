"""Lifting on a scene of known depth and known features: who sees what, who is believed."""

from dataclasses import replace

import numpy as np
import pytest

from corr.semantic.features.grid import unit
from recon.semantic.lift import Observations, believed, observe, sight
from recon.semantic.refine import fit_head
from tests.recon.scenes import BALL, scene, seen
from tests.recon.semantic.field_world import looks, meaning, no_head, surface_points


def test_points_get_the_features_of_their_place():
    xyz = surface_points()
    observations = observe(xyz, looks())
    by_many = (observations.weight > 0).sum(1) >= 2
    assert by_many.mean() > 0.7
    cosine = (observations.mean() * meaning(xyz)).sum(1)
    assert np.median(cosine[by_many]) > 0.995
    assert np.percentile(cosine[by_many], 5) > 0.95


def test_only_views_with_the_point_in_front_see_it():
    """Points of the floor around and below the ball, against the ray tracer's own depth."""
    xyz = surface_points(300, seed=1)
    floor = np.random.default_rng(0).uniform(-0.9, 0.9, (400, 2)) + BALL[:2]
    xyz = np.concatenate([xyz, np.column_stack([floor, np.zeros(400)])])
    hidden_somewhere = 0
    for look in looks():
        weight, uv = sight(xyz, look)
        view = look.view
        inside = (uv > 3).all(1) & (uv < [view.camera.width - 3, view.camera.height - 3]).all(1)
        _, true = seen(xyz, view, scene().depth[view.name])
        assert (weight[inside & ~true] == 0).mean() > 0.97
        assert (weight[inside & true] > 0).mean() > 0.9  # pixels at the ball's rim disagree
        assert (weight <= 1).all()
        hidden_somewhere += int((inside & ~true).sum())
    assert hidden_somewhere > 100


def test_masked_and_unknown_pixels_see_nothing():
    xyz, look = surface_points(), looks()[0]
    left = np.zeros(look.depth.shape, bool)
    left[:, : left.shape[1] // 2] = True
    weight, uv = sight(xyz, replace(look, mask=left))
    free, _ = sight(xyz, look)
    on_left = uv[:, 0] < left.shape[1] // 2
    np.testing.assert_array_equal(weight[on_left], free[on_left])
    assert (free[~on_left] > 0).any()
    assert not weight[~on_left].any()
    blind, _ = sight(xyz, replace(look, depth=np.zeros_like(look.depth)))
    assert not blind.any()


def test_view_that_contradicts_the_others_is_not_believed():
    def scramble(cells, number):
        if number != 2:
            return cells
        flat = np.random.default_rng(1).permutation(cells.reshape(-1, cells.shape[-1]))
        return flat.reshape(cells.shape)

    observations = observe(surface_points(), looks(scramble))
    agreed = believed(observations, np.random.default_rng(0))
    many = (observations.weight > 0).sum(1) >= 3
    kept = [(agreed.weight[many & (observations.weight[:, k] > 0), k] > 0).mean() for k in range(4)]
    assert kept[2] < 0.6  # half of the wrong ones agree by chance: that is where the bar is
    assert min(kept[0], kept[1], kept[3]) > 0.9
    assert believed(observations, np.random.default_rng(0)).weight.sum() == agreed.weight.sum()


def test_a_points_only_view_is_believed():
    observations = Observations(
        np.ones((3, 2, 1), np.float16), np.array([[1, 0], [0, 1], [1, 0.0]])
    )
    agreed = believed(observations, np.random.default_rng(0))
    np.testing.assert_array_equal(agreed.weight, observations.weight)


def spoilt(cells, number):
    """Numbers of the view's own are added to half of the channels, as strong as the meaning."""
    rng = np.random.default_rng(10 + number)
    out = cells.copy()
    out[..., ::2] = 0.6 * rng.normal(size=out[..., ::2].shape)
    return out


@pytest.mark.usefixtures("one_thread")
def test_head_makes_views_agree_and_is_the_same_for_the_same_seed():
    xyz = surface_points(600)
    observations = observe(xyz, looks(spoilt))
    head, fit = fit_head(observations, xyz, radius=0.1, iterations=75, seed=4)
    assert fit.after > fit.before + 0.1
    assert 0 < fit.steps <= 75
    short = [fit_head(observations, xyz, radius=0.1, iterations=4, seed=4)[0] for _ in range(2)]
    np.testing.assert_array_equal(short[0].second, short[1].second)
    # Other points than any of the training ones, other draws: the gain is no accident.
    fresh = surface_points(400, seed=9)
    seen_by = observe(fresh, looks(spoilt))
    both = (seen_by.weight[:, 0] > 0) & (seen_by.weight[:, 3] > 0)
    shares = []
    for way in (no_head(), head):
        a, b = (way(seen_by.descriptor[both, k]) for k in (0, 3))
        found = fresh[both][(a @ b.T).argmax(1)]
        shares.append((np.linalg.norm(found - fresh[both], axis=1) < 0.1).mean())
    assert shares[1] > shares[0] + 0.05


def test_head_keeps_unit_length_and_nothing_stays_nothing():
    rng = np.random.default_rng(0)
    head = replace(no_head(), second=rng.normal(size=(24, 2)).astype(np.float32),
                   first=rng.normal(size=(2, 24)).astype(np.float32))  # fmt: skip
    out = head(np.concatenate([unit(rng.normal(size=(5, 24))), np.zeros((1, 24))]))
    np.testing.assert_allclose(np.linalg.norm(out[:5], axis=1), 1, atol=1e-6)
    assert not out[5].any()


def test_too_few_points_or_no_steps_leave_the_features_as_they_are():
    xyz = surface_points(40)
    for some, steps in ((xyz, 50), (surface_points(200), 0)):
        head, fit = fit_head(observe(some, looks()), some, radius=0.1, iterations=steps, seed=0)
        assert fit.steps == 0
        assert np.isnan(fit.before)
        f = unit(np.random.default_rng(0).normal(size=(3, 24)))
        np.testing.assert_allclose(head(f), f, atol=1e-6)


def test_no_views_are_refused():
    with pytest.raises(ValueError, match="from one view or more, got none"):
        observe(surface_points(10), [])
