"""Noise beyond the stated accuracies: found from residuals, and taken into account."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from recon.poses.finish import widened
from recon.poses.noise import hidden_noise_px, redundancy_of
from recon.poses.uncertainty import estimate
from recon.poses.whitened import Model, PosePrior, adjust_whitened
from tests.recon.poses.test_whitened import aligned_errors, bundle_of, covariances
from tests.synthetic import ring_scene

WORLD = ring_scene(5, 150)
FREE = Model(free_lens=("focal",))


def adjusted(bundle, cov):
    return adjust_whitened(bundle, cov, FREE)


@pytest.mark.parametrize("hidden", [0.1, 0.3])
def test_hidden_noise_is_found(hidden):
    stated = 0.1
    bundle = bundle_of(WORLD, np.hypot(stated, hidden), 0)
    cov = covariances(bundle, stated)
    bundle = adjusted(bundle, cov)
    assert hidden_noise_px(bundle, cov, FREE) == pytest.approx(hidden, rel=0.15)


def test_honest_and_modest_observations_get_none():
    bundle = adjusted(b := bundle_of(WORLD, 0.2, 1), covariances(b, 0.2))
    assert hidden_noise_px(bundle, covariances(b, 0.2), FREE) < 0.06
    assert hidden_noise_px(bundle, covariances(b, 0.4), FREE) == 0


@pytest.mark.parametrize("photos", [2, 3])
def test_two_or_three_photos_get_none(photos):
    bundle = bundle_of(ring_scene(photos, 150), 0.5, 0)
    assert hidden_noise_px(bundle, covariances(bundle, 0.1), FREE) == 0


def test_with_it_chi_squared_is_that_of_true_covariances_and_sigmas_are_too():
    bundle = bundle_of(WORLD, 0.5, 2)
    cov = covariances(bundle, 0.1)
    bundle = adjusted(bundle, cov)
    wide = widened(cov, hidden_noise_px(bundle, cov, FREE))
    told = estimate(bundle, wide, FREE)
    true = estimate(bundle, covariances(bundle, 0.5), FREE)
    assert told.chi2 == pytest.approx(true.chi2, rel=0.1)
    for photo, sigma in told.cameras.items():
        assert sigma.rotation_deg == pytest.approx(true.cameras[photo].rotation_deg, rel=0.1)


def test_cameras_are_nearer_to_the_truth_when_some_observations_say_too_much():
    """A tenth claim a fiftieth of a pixel, others a third; all have 0.25 px nobody told of."""
    squared = np.zeros(2)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        bundle = bundle_of(WORLD, 0.25, seed)
        sigma = np.where(rng.random(len(bundle.active)) < 0.1, 0.02, 0.3)
        uv = bundle.tracks.uv + rng.normal(size=(len(sigma), 2)) * sigma[:, None]
        bundle = replace(bundle, tracks=bundle.tracks.with_uv(uv))
        cov = sigma[:, None, None] ** 2 * np.eye(2)
        plain = adjusted(bundle, cov)
        wide = adjusted(bundle, widened(cov, hidden_noise_px(plain, cov, FREE)))
        turns = [aligned_errors(b, WORLD.views)[0] for b in (plain, wide)]
        squared += [np.square(turn).sum() for turn in turns]
    assert np.sqrt(squared[0] / squared[1]) > 1.2


def test_redundancy_is_that_of_the_covariance():
    bundle = bundle_of(WORLD, 0.1, 3)
    cov = covariances(bundle, 0.1)
    first = {0: PosePrior(WORLD.views[0].cam_from_world, 1.0, 0.1)}
    for model in (
        FREE, Model(), Model(fixed=frozenset({0})), Model(fixed=frozenset({0, 1})),
        Model(priors=MappingProxyType(first)),
    ):  # fmt: skip
        assert redundancy_of(bundle, model) == estimate(bundle, cov, model).redundancy
