"""The baselines find a known motion, repeat themselves, and refuse what they cannot do."""

import ctypes
import sys
from dataclasses import replace

import numpy as np
import pytest

from corr.errors import UserError
from corr.geometry.rigid import Rigid3, rotation_angle
from registration.baselines import BASELINES, KissMatcher, Open3DFgr, Open3DRansac
from registration.cloud import PointCloud
from registration.described import describe, feature_matches, refit
from registration.evaluation.workers import random_motion
from registration.one_thread import MAX_PARALLELISM, _tbb, one_thread
from tests.registration.fragment_world import VOXEL, fragment, poses, room


@pytest.fixture(scope="module")
def scans() -> tuple[PointCloud, PointCloud, Rigid3]:
    """Source, target and `target_from_source`; both know where the scanner stood."""
    world, (a, b, *_) = room(), poses(3)
    target, source = (
        PointCloud(fragment(world, pose), sensor=np.zeros(3), name=name)
        for pose, name in ((a, "target"), (b, "source"))
    )
    return source, target, a.inverse() @ b


def errors(found: Rigid3, truth: Rigid3) -> tuple[float, float]:
    error = truth.inverse() @ found
    return np.degrees(rotation_angle(error.R)), float(np.linalg.norm(error.t))


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_finds_a_known_motion(scans, name):
    if name == "kiss_matcher":
        pytest.importorskip("kiss_matcher")
    source, target, truth = scans
    registrar = BASELINES[name]()
    prepared = [registrar.prepare(cloud, VOXEL) for cloud in (source, target)]
    answer = registrar.register(*prepared, seed=1)
    degrees, metres = errors(answer.target_from_source, truth)
    assert degrees < 5
    assert metres < 0.2
    assert answer.accepted
    assert 0.5 < answer.probability <= 1


def test_ransac_with_a_seed_repeats_itself(scans):
    source, target, _ = scans
    registrar = Open3DRansac(iterations=20_000)
    prepared = [registrar.prepare(cloud, VOXEL) for cloud in (source, target)]
    first, second = (registrar.register(*prepared, seed=7) for _ in range(2))
    assert (first.matrix == second.matrix).all()
    assert (first.matches == second.matches).all()


def test_refit_improves_a_rough_motion(scans):
    source, target, truth = scans
    rough = Open3DRansac(iterations=20_000)
    fine = Open3DRansac(iterations=20_000, refit=True)
    prepared = [rough.prepare(cloud, VOXEL) for cloud in (source, target)]
    before, after = (
        errors(r.register(*prepared, seed=2).target_from_source, truth) for r in (rough, fine)
    )
    assert after[0] < before[0] + 0.2
    assert after[1] < 0.06


def test_refit_recovers_an_exact_motion_among_outliers():
    rng = np.random.default_rng(2)
    truth = random_motion(4, 1.0)
    a = rng.normal(size=(80, 3))
    b = truth.apply(a)
    b[50:] += rng.normal(0, 3, (30, 3))
    start = Rigid3(truth.R, truth.t + 0.05)
    assert errors(refit(a, b, start, 0.2), truth)[1] < 0.02


def test_mutual_matches_are_some_of_the_one_way_matches(scans):
    source, target = (describe(cloud, VOXEL) for cloud in scans[:2])
    one_way = feature_matches(source, target, mutual=False)
    mutual = feature_matches(source, target, mutual=True)
    assert len(one_way) == len(source.cloud)
    assert 0 < len(mutual) < len(one_way)
    assert set(map(tuple, mutual)) <= set(map(tuple, one_way))


def test_normals_face_the_sensor_that_is_known(scans):
    cloud = describe(scans[0], VOXEL).cloud
    assert cloud.oriented
    assert ((cloud.sensor - cloud.xyz) * cloud.normals).sum(1).min() > -1e-9
    assert not describe(replace(scans[0], sensor=None), VOXEL).cloud.oriented


def test_keypoints_bound_the_matches(scans):
    registrar = Open3DRansac(keypoints=151)
    prepared = [registrar.prepare(cloud, VOXEL) for cloud in scans[:2]]
    assert len(prepared[0].cloud) == len(prepared[0].features) == 151
    assert len(registrar.register(*prepared).matches) <= 151
    assert (registrar.prepare(scans[0], VOXEL).cloud.xyz == prepared[0].cloud.xyz).all()


def test_two_points_have_no_answer():
    registrar = Open3DRansac()
    prepared = registrar.prepare(PointCloud(np.array([[0.0, 0, 0], [1, 0, 0]])), VOXEL)
    answer = registrar.register(prepared, prepared)
    assert answer.target_from_source is None
    assert "matches" in answer.reason


def test_missing_kiss_matcher_names_the_command(monkeypatch, scans):
    monkeypatch.setitem(sys.modules, "kiss_matcher", None)
    with pytest.raises(UserError, match=r"pip install kiss-matcher==1\.0\.2"):
        KissMatcher().prepare(scans[0], VOXEL)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Open3DRansac, {"iterations": 0}, "iterations must be 1 or more, got 0"),
        (Open3DRansac, {"confidence": 1.0}, "confidence must lie between 0 and 1"),
        (Open3DRansac, {"keypoints": -1}, "keypoints must be 0"),
        (Open3DFgr, {"bound": 0.0}, "bound must be positive"),
    ],
)
def test_option_out_of_range_is_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_open3d_computes_with_one_thread_where_it_draws_samples():
    library = _tbb()
    assert library is not None
    allowed = library["_ZN3tbb6detail2r127global_control_active_valueEi"]
    allowed.restype = ctypes.c_size_t
    before = allowed(MAX_PARALLELISM)
    with one_thread():
        assert allowed(MAX_PARALLELISM) == 1
    assert allowed(MAX_PARALLELISM) == before
