"""The last adjustment and its covariance, on worlds with known truth and known noise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from recon.poses.bundle import Bundle
from recon.poses.lens import Lens
from recon.poses.uncertainty import estimate
from recon.poses.whitened import (
    LENS,
    LensPrior,
    Model,
    PosePrior,
    adjust_whitened,
    linearise,
    moved,
    total_cost,
    whiten,
)
from tests.recon.poses.test_geometry import tracks_of
from tests.synthetic import FOCAL, HEIGHT, WIDTH, ring_scene

PLAIN = Lens.centred(WIDTH, HEIGHT, FOCAL)
SQUARED = float("inf")


def bundle_of(world, sigma_px, seed, lens=PLAIN):
    """The true bundle with noise on the observations (a number, or a covariance)."""
    tracks = tracks_of(world)
    noise = np.random.default_rng(seed).normal(size=tracks.uv.shape)
    root = np.linalg.cholesky(np.atleast_2d(sigma_px) ** 2 * np.eye(2))
    return Bundle(
        {i: v.cam_from_world for i, v in enumerate(world.views)}, (lens,),
        dict.fromkeys(range(len(world.views)), 0), world.xyz.copy(),
        tracks.with_uv(tracks.uv + noise @ root.T), np.ones(len(noise), dtype=bool),
    )  # fmt: skip


def covariances(bundle, sigma_px):
    return np.tile(sigma_px**2 * np.eye(2), (len(bundle.active), 1, 1))


def test_derivatives_are_those_of_differences():
    lens = Lens("OPENCV", float(WIDTH), float(HEIGHT), 600.0, 300.0, 230.0, -0.1, 0.03, 2e-3, -3e-3)
    bundle = bundle_of(ring_scene(3, 60), 0.5, 0, lens)
    white = whiten(np.tile([[0.25, 0.03], [0.03, 0.16]], (len(bundle.active), 1, 1)))
    model = Model(free_lens=LENS, loss_sigmas=SQUARED)
    e = linearise(bundle, white, model)
    for k in range(e.size):
        step = np.zeros(e.size)
        step[k] = 1e-6
        up, down = (linearise(moved(bundle, model, s), white, model) for s in (step, -step))
        found = np.zeros_like(e.residual)
        for column in range(e.index.shape[1]):
            hit = e.index[:, column] == k
            found[hit] += e.J[hit, :, column]
        expected = (up.residual - down.residual) / 2e-6
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_no_single_parameter_can_do_better():
    bundle = bundle_of(ring_scene(3, 12), 0.5, 1)
    cov = np.tile([[0.3, 0.1], [0.1, 0.2]], (len(bundle.active), 1, 1))
    model = Model(free_lens=("focal",), fixed=frozenset({0, 2}), loss_sigmas=2.0)

    def cost(at, step):
        xyz = at.xyz + step[7:].reshape(-1, 3)
        return total_cost(moved(replace(at, xyz=xyz), model, step[:7]), whiten(cov), model)

    found = adjust_whitened(bundle, cov, model)
    none = np.zeros(7 + bundle.xyz.size)
    assert cost(found, none) < 0.9 * cost(bundle, none)
    steps = [*np.eye(len(none)) * 1e-4, *np.eye(len(none)) * -1e-4]
    assert min(cost(found, step) for step in steps) >= cost(found, none)


def test_accurate_observations_count_more():
    # One photo's observations are ten times worse: said so, the others decide.
    world = ring_scene(4, 200)
    errors = {"told": [], "not told": []}
    for seed in range(4):
        bundle = bundle_of(world, 0.2, seed)
        bad = bundle.tracks.photo == 3
        noise = np.random.default_rng(seed).normal(0, 5.0, (bad.sum(), 2))
        uv = bundle.tracks.uv.copy()
        uv[bad] += noise
        bundle = replace(bundle, tracks=bundle.tracks.with_uv(uv))
        for label, sigma in (("told", np.where(bad, 5.0, 0.2)), ("not told", 1.0)):
            cov = np.asarray(sigma)[..., None, None] ** 2 * np.eye(2)
            cov = np.broadcast_to(cov, (len(bad), 2, 2)).copy()
            found = adjust_whitened(bundle, cov, Model(loss_sigmas=SQUARED, fixed=frozenset({0})))
            errors[label].append(aligned_errors(found, world.views)[1][:3])
    rms = {k: np.sqrt(np.mean(np.square(v))) for k, v in errors.items()}
    assert rms["told"] < 0.6 * rms["not told"]


def test_fixed_poses_keep_their_bits_and_priors_hold():
    world = ring_scene(4, 100)
    bundle = bundle_of(world, 0.5, 2)
    cov = covariances(bundle, 0.5)
    all_fixed = adjust_whitened(bundle, cov, Model(fixed=frozenset(range(4))))
    assert all(all_fixed.poses[p] is bundle.poses[p] for p in range(4))
    assert not np.array_equal(all_fixed.xyz, bundle.xyz)
    tight = {p: PosePrior(bundle.poses[p], 1e-4, 1e-6) for p in range(4)}
    loose = {p: PosePrior(bundle.poses[p], 10.0, 1.0) for p in range(4)}
    for priors, low, high in ((tight, 0.0, 1e-5), (loose, 1e-5, 0.1)):
        found = adjust_whitened(bundle, cov, Model(priors=priors))
        shift = max(
            np.linalg.norm(found.poses[p].centre - bundle.poses[p].centre) for p in range(4)
        )
        assert low < shift < high


def test_lens_prior_pulls():
    bundle = bundle_of(ring_scene(3, 150), 0.05, 3)
    cov = covariances(bundle, 0.05)
    wrong = replace(PLAIN, cx=PLAIN.cx + 20)
    for sigma, low, high in ((0.01, 19, 21), (1000.0, -8, 8)):
        model = Model(("cx",), lens_priors={0: LensPrior(wrong, {"cx": sigma})})
        assert low < adjust_whitened(bundle, cov, model).lenses[0].cx - PLAIN.cx < high


def aligned_errors(bundle, views):
    """Turns (radians) and shifts of the cameras after the similarity that fits all best.

    Centres count in units of their spread, as `recon.poses.uncertainty` fixes the world.
    """
    photos = sorted(bundle.poses)
    found = np.stack([bundle.poses[p].centre for p in photos])
    true = np.stack([views[p].cam_from_world.centre for p in photos])
    spread = np.sqrt(((true - true.mean(0)) ** 2).sum(-1).mean())

    def errors(x):
        R = Rotation.from_rotvec(x[:3]).as_matrix()
        centre = np.exp(x[6]) * (found - found.mean(0)) @ R.T + true.mean(0) + x[3:6]
        turn = [
            Rotation.from_matrix(bundle.poses[p].R @ R.T @ views[p].cam_from_world.R.T).as_rotvec()
            for p in photos
        ]
        return np.stack(turn), centre - true

    def residual(x):
        turn, shift = errors(x)
        return np.concatenate([turn.ravel(), shift.ravel() / spread])

    return errors(least_squares(residual, np.zeros(7), xtol=1e-14, ftol=1e-14).x)


def worst_axis(errors):
    """Root of the largest eigenvalue of the second moments, per camera."""
    moments = np.einsum("sci,scj->cij", errors, errors) / len(errors)
    return np.sqrt(np.linalg.eigvalsh(moments)[:, -1])


@pytest.mark.parametrize(("num_views", "flat"), [(2, False), (4, False), (4, True)])
def test_sigmas_are_those_of_fifty_seeds(num_views, flat):
    world = ring_scene(num_views, 80, flat=flat)
    model = Model(("focal",) if num_views > 2 else (), loss_sigmas=SQUARED)
    turns, shifts, said, chi2 = [], [], [], []
    for seed in range(50):
        bundle = bundle_of(world, 0.5, seed)
        cov = covariances(bundle, 0.5)
        found = adjust_whitened(bundle, cov, model)
        turn, shift = aligned_errors(found, world.views)
        sigmas = estimate(found, cov, model)
        turns.append(turn)
        shifts.append(shift)
        chi2.append(sigmas.chi2)
        said.append([(np.radians(c.rotation_deg), c.centre) for c in sigmas.cameras.values()])
    turn_said, shift_said = np.mean(said, axis=0).T
    for real, predicted in ((worst_axis(turns), turn_said), (worst_axis(shifts), shift_said)):
        assert (real / predicted).max() < 1.5
        assert (real / predicted).min() > 1 / 1.5
    assert 0.8 < np.mean(chi2) < 1.2


def test_chi_squared_widens_sigmas_when_noise_is_understated():
    world = ring_scene(4, 150)
    bundle = bundle_of(world, 1.0, 0)
    honest, boasting = covariances(bundle, 1.0), covariances(bundle, 0.25)
    model = Model(loss_sigmas=SQUARED)
    found = adjust_whitened(bundle, honest, model)
    a, b = estimate(found, honest, model), estimate(found, boasting, model)
    assert b.chi2 == pytest.approx(16 * a.chi2)
    assert b.cameras[1].centre == pytest.approx(a.cameras[1].centre * max(a.chi2, 1) ** -0.5 *
                                                a.chi2**0.5, rel=1e-6)  # fmt: skip
    assert b.redundancy == 2 * len(bundle.active) - 3 * 150 - 24 + 7


def test_fixed_cameras_have_no_sigma():
    world = ring_scene(3, 100)
    bundle = bundle_of(world, 0.5, 0)
    cov = covariances(bundle, 0.5)
    model = Model(fixed=frozenset({0, 1}))
    found = estimate(adjust_whitened(bundle, cov, model), cov, model)
    assert found.cameras[0].centre == found.cameras[1].rotation_deg == 0
    assert 0 < found.cameras[2].centre_percent < 1
    assert not found.cameras[2].unsure
