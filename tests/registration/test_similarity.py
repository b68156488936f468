"""Scans in different units: the scale is found with the motion."""

import numpy as np
import pytest
from fragment_world import VOXEL, fragment, poses, room
from scipy.spatial.transform import Rotation

import registration
from corr.geometry.rigid import Rigid3, rotation_angle
from registration.api import align
from registration.baselines import Open3DRansac
from registration.cloud import PointCloud
from registration.kabsch import robust_fit
from registration.options import RunOptions
from registration.refine import similarity_icp
from registration.voting.hypotheses import VoteSettings, hypothesise


@pytest.fixture(scope="module")
def clouds():
    """Two fragments of a room, each in its own frame, and the truth between them."""
    world, (first, *_, last) = room(), poses(4)
    a, b = (PointCloud(fragment(world, p), sensor=np.zeros(3)) for p in (first, last))
    return a, b, last.inverse() @ first


@pytest.mark.parametrize("factor", [0.013, pytest.param(37.0, marks=pytest.mark.slow)])
def test_a_scan_without_units_is_brought_to_the_targets(clouds, factor):
    source, target, true = clouds
    turned = Rigid3(Rotation.random(random_state=4).as_matrix(), np.array([3.0, -8.0, 2.0]))
    unknown = source.moved(turned, factor)
    answer = align(unknown, target, voxel=VOXEL, scale="estimate").registration
    assert answer.scale == pytest.approx(1 / factor, rel=0.01)
    moved = answer.scale * (unknown.xyz @ answer.target_from_source.R.T)
    moved += answer.target_from_source.t
    assert np.linalg.norm(moved - true.apply(source.xyz), axis=1).max() < 2 * VOXEL
    np.testing.assert_allclose(answer.matrix[:3, :3], answer.scale * answer.target_from_source.R)
    best = answer.hypotheses[0]
    assert best.scale == answer.scale
    np.testing.assert_array_equal(best.target_from_source.matrix, answer.target_from_source.matrix)


def test_scans_that_do_not_belong_together_are_not_accepted_at_any_size(clouds):
    rng = np.random.default_rng(0)
    blob = rng.normal(size=(4000, 3))
    blob /= np.linalg.norm(blob, axis=1)[:, None]
    blob *= 1 + 0.3 * np.sin(4 * blob[:, :1]) * np.cos(3 * blob[:, 1:2])
    answer = align(PointCloud(blob), clouds[1], voxel=VOXEL, scale="estimate").registration
    assert not answer.accepted
    assert answer.probability < 0.3
    assert answer.reason


def test_answers_of_other_sizes_are_rivals():
    """Two sizes that fit alike: neither can be more than an even bet."""
    from registration.result import Hypothesis, Registration
    from registration.similarity import Sized, _beside_other_sizes

    evidence = {"log_support": 6.0, "support_share": 0.5, "vote_share": 0.8, "overlap": 0.6,
                "contradicted": 0.01, "violations": 0.0, "margin": 8.0}  # fmt: skip
    sure = Registration(
        Rigid3.identity(), 0.99, True, "", evidence=evidence, margin=1.0,
        hypotheses=(Hypothesis(Rigid3.identity(), 0.8, 300, 0.6, 0.0, 4.0),),
    )  # fmt: skip
    near, far = Sized(1.02, None, sure), Sized(2.0, None, sure)
    best = Sized(1.0, None, sure)
    assert _beside_other_sizes(best, [near], 0.5).registration is sure
    judged = _beside_other_sizes(best, [near, far], 0.6).registration
    assert judged.probability <= 0.5
    assert not judged.accepted
    assert judged.reason == "below 0.6: sizes 1 and 2 fit alike"
    assert judged.hypotheses[1].scale == 2.0


def test_a_fixed_scale_stays_exactly_one(clouds):
    assert registration.register(*clouds[:2], voxel=VOXEL).scale == 1.0


def test_votes_find_the_scale_among_wrong_matches():
    rng = np.random.default_rng(0)
    R, t, scale = Rotation.random(random_state=1).as_matrix(), np.array([0.3, -2, 1]), 1.37
    source = rng.uniform(-0.5, 0.5, (1000, 3))
    target = scale * source @ R.T + t + rng.normal(0, 0.01, (1000, 3))
    target[:900] = rng.uniform(-1, 1, (900, 3)) + t
    from registration.compatibility import Pairing

    settings = VoteSettings(0.025, shortest=10.0, scale_range=2.0)
    best = hypothesise(Pairing(source, target), settings)[0]
    assert best.scale == pytest.approx(scale, rel=0.02)
    assert np.degrees(rotation_angle(best.R @ R.T)) < 1
    rigid = hypothesise(Pairing(source, target), VoteSettings(0.025, shortest=10.0))
    assert not rigid or rigid[0].support < best.support / 2


def test_sizes_that_are_voted_for_cover_the_range():
    scales = VoteSettings(1.0, scale_range=1.5).scales()
    assert scales[0] <= 1 / 1.5
    assert scales[-1] >= 1.5
    assert 1.0 in scales
    assert VoteSettings(1.0).scales().tolist() == [1.0]


def test_robust_fit_finds_the_scale_only_where_it_is_asked_for():
    rng = np.random.default_rng(3)
    source = rng.uniform(-1, 1, (200, 3))
    target = 1.1 * source + 0.2
    fit = robust_fit(source, target, np.eye(3), np.full(3, 0.2), 0.3, scale=1.0)
    assert fit.scale == pytest.approx(1.1, abs=1e-9)
    assert fit.residual.max() < 1e-9
    assert robust_fit(source, target, np.eye(3), np.full(3, 0.2), 0.3).scale == 1.0


def test_icp_with_scale_ends_at_the_truth(clouds):
    from registration.hough import HoughRegistrar

    target = HoughRegistrar().prepare(clouds[1], VOXEL).surface
    turn = Rotation.from_rotvec([0.01, -0.015, 0.01]).as_matrix()
    back = 1.03 * target.xyz @ turn.T + 0.03  # target = scale * R @ back + t
    source = type(target)(back, target.normals @ turn.T, True, target.tree, None)
    R, t, scale = similarity_icp(source, target, np.eye(3), np.zeros(3), VOXEL)
    assert scale == pytest.approx(1 / 1.03, rel=1e-4)
    np.testing.assert_allclose(scale * back @ R.T + t, target.xyz, atol=1e-3)


def test_a_registrar_without_scale_says_so(clouds):
    with pytest.raises(ValueError, match="Open3DRansac estimates no scale; set registrar=hough"):
        align(*clouds[:2], registrar=Open3DRansac(), voxel=VOXEL, scale="estimate")


def test_unknown_kinds_of_scale_are_refused(clouds):
    with pytest.raises(ValueError, match="scale must be one of fixed, estimate, got free"):
        align(*clouds[:2], scale="free")
    with pytest.raises(ValueError, match="scale must be one of"):
        RunOptions(scale="free")
