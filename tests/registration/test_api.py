"""`registration.register` on arrays, clouds and files; what cannot work is one line."""

import logging
import subprocess
import sys

import numpy as np
import pytest
from run_world import RIVAL, TRUE, Knows, pair

import registration
from corr.errors import UserError
from corr.geometry.rigid import Rigid3, rotation_angle
from registration.api import align, match_residuals
from registration.baselines import Open3DRansac
from registration.cloud import PointCloud
from registration.files import write_cloud
from registration.inputs import parse_sensor
from tests.conftest import ROOT

SCANS = ROOT / "data" / "scans"


def test_importing_the_package_is_light():
    code = "import registration, sys; print(len({'torch', 'open3d', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "0"


def test_names_of_the_package_are_there_and_others_are_not():
    assert all(getattr(registration, name) for name in registration.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rigister'"):
        registration.rigister  # noqa: B018


def test_arrays_clouds_and_files_give_the_same_answer(tmp_path):
    source, target = pair()
    write_cloud(tmp_path / "target.npz", target)
    found = [
        registration.register(a, b, registrar=Knows(), voxel=0.05).matrix
        for a, b in ((source, target), (source.xyz, target.xyz), (source, tmp_path / "target.npz"))
    ]
    for matrix in found:
        np.testing.assert_allclose(matrix, TRUE.matrix)


def test_bundled_scans_are_aligned_by_an_estimator_of_another():
    answer = registration.register(
        SCANS / "source.ply", SCANS / "target.ply", registrar=Open3DRansac(refit=True),
        voxel=0.03, sensor_source="origin", sensor_target=[0, 0, 0],
    )  # fmt: skip
    truth = np.loadtxt(SCANS / "target_from_source.txt")
    assert np.degrees(rotation_angle(truth[:3, :3].T @ answer.matrix[:3, :3])) < 5
    assert {"scale", "prepare", "match", "estimate"} <= set(answer.seconds)


def test_bundled_scans_overlap_by_about_a_half_and_are_small():
    from scipy.spatial import cKDTree

    source, target = (registration.read_cloud(SCANS / f"{n}.ply") for n in ("source", "target"))
    moved = source.moved(Rigid3.from_matrix(np.loadtxt(SCANS / "target_from_source.txt")))
    share = np.mean(cKDTree(target.xyz).query(moved.xyz)[0] < 0.02)
    assert 0.4 < share < 0.6
    assert sum(p.stat().st_size for p in SCANS.glob("*.ply")) < 300_000


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
def test_survey_coordinates_are_aligned_near_the_origin_and_moved_back(scale):
    source, target = pair()
    far_s, far_t = np.array([5e5, 5.1e6, 200.0]) * scale, np.array([-3e5, 4e6, 0]) * scale
    seen = {}

    class Sees(Knows):
        def prepare(self, cloud, voxel):
            seen[cloud.name] = float(abs(cloud.xyz).max())
            return super().prepare(cloud, voxel)

        def register(self, source, target, *, seed=0):
            self.target_from_source = kabsch(source.cloud.xyz, target.cloud.xyz)
            return super().register(source, target, seed=seed)

    far_source = PointCloud(source.xyz * scale + far_s, name="s")
    far_target = PointCloud(target.xyz * scale + far_t, name="t")
    aligned = align(far_source, far_target, registrar=Sees(), voxel=0.05 * scale)
    answer = aligned.registration
    assert max(seen.values()) < 4 * scale + 2
    moved = answer.target_from_source.apply(far_source.xyz)
    assert abs(moved - far_target.xyz).max() < 1e-8 * abs(far_t).max()
    assert answer.hypotheses[0].target_from_source.t == pytest.approx(answer.target_from_source.t)
    assert aligned.residual[answer.inlier].max() < 1e-3 * scale


def kabsch(a: np.ndarray, b: np.ndarray) -> Rigid3:
    """The motion between two lists of the same points."""
    from corr.geometry.rigid import umeyama

    found = umeyama(a, b, with_scale=False)
    return Rigid3(found.R, found.t)


def test_covariance_and_degeneracies_move_with_the_target():
    source, target = pair()
    offset = np.array([1000.0, 2000.0, 0.0])
    moved = PointCloud(target.xyz + offset)
    answer = align(source, moved, registrar=Knows(), voxel=0.05).registration
    origin = answer.target_from_source.t - TRUE.t
    assert np.linalg.norm(origin - offset) < 3
    np.testing.assert_array_equal(answer.covariance, np.eye(6) * 1e-6)
    np.testing.assert_allclose(answer.covariance_about, origin + np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(answer.degeneracies[0].through, origin)


def test_rows_that_are_not_finite_are_dropped_with_a_line(caplog):
    source, target = pair()
    holes = source.xyz.copy()
    holes[:7] = np.nan
    with caplog.at_level(logging.WARNING):
        registration.register(holes, target.xyz, registrar=Knows(), voxel=0.05)
    assert "source: 7 of 1501 points are NaN or infinite, dropped" in caplog.text


@pytest.mark.parametrize("away", [1e3, 1e9])
def test_stray_points_are_left_out_with_a_line(caplog, away):
    source, target = pair()
    strays = np.concatenate([source.xyz, [[away, 0, -away], [0, away, 0]]])
    seen = {}

    class Sees(Knows):
        def prepare(self, cloud, voxel):
            seen.setdefault(cloud.name, cloud)
            return super().prepare(cloud, voxel)

    with caplog.at_level(logging.WARNING):
        done = align(PointCloud(strays, name="s"), target, registrar=Sees(), voxel=0.05)
    assert "s: 2 of 1503 points lie more than 20 times its extent" in caplog.text
    np.testing.assert_array_equal(seen["s"].xyz, source.xyz)
    assert len(done.source) == 1503


GOOD = pair()[0].xyz


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 3)), "source holds no points"),
        (np.zeros((1, 3)), "source has 1 distinct point, alignment needs 30 or more"),
        (np.eye(3)[:2], "source has 2 distinct points"),
        (np.eye(3), "source has 3 distinct points"),
        (np.ones((5000, 3)), "source has 1 distinct point,"),
        (np.repeat(np.eye(3), 5000, axis=0), "source has 3 distinct points"),
        (np.full((50, 3), np.nan), "source: none of its 50 points has finite coordinates"),
        (np.outer(np.arange(50.0), [1, 2, 3]), "source: all points lie on one line"),
        (np.zeros((50, 2)), r"source must be an n x 3 array of numbers, got shape \(50, 2\)"),
        (np.zeros(3), r"source must be an n x 3 array"),
        (np.array([["a", "b", "c"]]), "source must be an n x 3 array of real numbers, got <U1"),
        (np.ones((50, 3), bool), "source must be an n x 3 array of real numbers, got bool"),
        (np.ones((50, 3), complex), "array of real numbers, got complex128"),
    ],
)
def test_points_that_cannot_be_aligned_are_refused_in_one_line(bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        registration.register(bad, GOOD, registrar=Knows(), voxel=0.05)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=message.replace("source", "target")):
        registration.register(GOOD, bad, registrar=Knows(), voxel=0.05)


def test_plane_is_not_refused():
    plane = GOOD * [1, 1, 0]
    registration.register(plane, plane, registrar=Knows(), voxel=0.05)


@pytest.mark.parametrize("voxel", [-1.0, np.nan, np.inf])
def test_voxel_that_is_no_length_is_refused(voxel):
    with pytest.raises(ValueError, match=r"voxel must be 0 .* or positive"):
        registration.register(GOOD, GOOD, registrar=Knows(), voxel=voxel)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True])
def test_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match=f"seed must be a whole number, 0 or more, got {seed}"):
        registration.register(GOOD, GOOD, registrar=Knows(), voxel=0.05, seed=seed)


@pytest.mark.parametrize("voxel", ["0.03", None, [0.1]])
def test_voxel_that_is_no_number_is_refused(voxel):
    with pytest.raises(ValueError, match="voxel must be a number, got "):
        registration.register(GOOD, GOOD, registrar=Knows(), voxel=voxel)


@pytest.mark.parametrize(("factor", "voxel"), [(1000.0, 0.0), (1e-3, 0.0), (1e-3, 0.05)])
def test_clouds_in_different_units_are_told_so(factor, voxel):
    with pytest.raises(ValueError, match=r"bring both to one unit, or set scale=estimate \(") as e:
        registration.register(GOOD * factor, GOOD, voxel=voxel)
    assert "\n" not in str(e.value)


def test_voxel_of_another_unit_is_refused():
    with pytest.raises(ValueError, match=r"well below the clouds' extent .*, got 50"):
        registration.register(GOOD, GOOD, registrar=Knows(), voxel=50.0)


def test_file_that_is_missing_is_one_line():
    with pytest.raises(UserError, match=r"there is no file nowhere\.ply"):
        registration.register("nowhere.ply", GOOD)


@pytest.mark.parametrize("sensor", ["orgin", "1,2", "1,2,x", [1, 2], "nan,0,0"])
def test_sensor_that_is_no_position_is_refused(sensor):
    with pytest.raises(ValueError, match="sensor_source must be empty, origin or x:y:z, got"):
        registration.register(GOOD, GOOD, registrar=Knows(), voxel=0.05, sensor_source=sensor)


def test_sensor_reaches_the_registrar():
    seen = []

    class Sees(Knows):
        def prepare(self, cloud, voxel):
            seen.append(cloud.sensor)
            return super().prepare(cloud, voxel)

    registration.register(
        GOOD, GOOD, registrar=Sees(), voxel=0.05, sensor_source="origin", sensor_target="1, 2,3"
    )
    np.testing.assert_array_equal(seen, [[0, 0, 0], [1, 2, 3]])
    np.testing.assert_array_equal(parse_sensor("4 5 6", "source"), [4, 5, 6])
    np.testing.assert_array_equal(parse_sensor("-4:5.5:6e2", "source"), [-4, 5.5, 600])


def test_residuals_need_an_answer_and_points():
    source, target = pair()
    knows = Knows()
    a, b = knows.prepare(source, 0.05), knows.prepare(target, 0.05)
    answer = knows.register(a, b)
    residual = match_residuals(a, b, answer)
    assert residual[answer.inlier].max() < 1e-12 < residual[~answer.inlier].min()
    assert match_residuals(None, None, answer) is None
    assert match_residuals(a, b, Knows(finds=False).register(a, b)) is None
    assert RIVAL.R[0, 0] == pytest.approx(0.5)
