"""What may come with the points: descriptors, noise, colours."""

from dataclasses import replace

import numpy as np
import pytest
from fragment_world import VOXEL, fragment, poses, room
from scipy.spatial.transform import Rotation

from corr.errors import UserError
from corr.geometry.rigid import Rigid3, rotation_angle
from registration.api import align
from registration.cloud import PointCloud
from registration.compatibility import Pairing, compatibility_graph
from registration.files import read_cloud, write_cloud
from registration.hough import HoughRegistrar
from registration.kabsch import robust_fit


@pytest.fixture(scope="module")
def world():
    """Points of a room, the two poses that they are seen from, and the truth between them."""
    first, *_, last = poses(4)
    return room(), first, last, last.inverse() @ first


def described(points: np.ndarray, pose: Rigid3, every: int = 5) -> PointCloud:
    """A fragment whose key-points carry a random code of the place in the world."""
    near = np.linalg.norm(points - pose.t, axis=1) < 2.3
    codes = np.random.default_rng(0).normal(size=(len(points), 24)).astype(np.float32)
    index = np.flatnonzero(near)[::every]
    local = pose.inverse().apply(points)
    return PointCloud(
        local[near], sensor=np.zeros(3), keypoints=local[index], features=codes[index]
    )


def error(found: Rigid3, true: Rigid3) -> tuple[float, float]:
    turn = np.degrees(rotation_angle(found.R @ true.R.T))
    return float(turn), float(np.linalg.norm(found.t - true.t))


def test_given_descriptors_are_matched_at_their_own_points(world, tmp_path):
    points, first, last, true = world
    shared = described(points, first, 1), described(points, last, 1)
    clouds = []
    for name, cloud in zip("ab", shared, strict=True):
        file = tmp_path / f"{name}.npz"
        np.savez(file, points=cloud.xyz, xyz=cloud.keypoints, feature=cloud.features)
        clouds.append(read_cloud(file))
    aligned = align(*clouds, voxel=VOXEL)
    answer = aligned.registration
    assert aligned.prepared_source.descriptor == "given"
    assert answer.accepted
    turn, shift = error(answer.target_from_source, true)
    assert turn < 0.5
    assert shift < 0.3 * VOXEL
    # Codes belong to places, so every place that both saw is matched, and exactly.
    a, b = answer.matches[answer.inlier].T
    gap = true.apply(clouds[0].keypoints[a]) - clouds[1].keypoints[b]
    assert np.median(np.linalg.norm(gap, axis=1)) < 1e-9
    assert answer.inlier.mean() > 0.4


def test_given_descriptors_survive_a_file_and_a_motion(world, tmp_path):
    points, first, *_ = world
    cloud = described(points, first)
    np.savez(tmp_path / "c.npz", xyz=cloud.xyz, keypoints=cloud.keypoints, features=cloud.features)
    back = read_cloud(tmp_path / "c.npz")
    np.testing.assert_array_equal(back.features, cloud.features)
    move = Rigid3(Rotation.random(random_state=0).as_matrix(), np.ones(3))
    np.testing.assert_allclose(
        back.moved(move, 2.0).keypoints, 2 * cloud.keypoints @ move.R.T + 1, atol=1e-12
    )


def test_features_of_the_points_themselves_are_dropped_with_them(tmp_path):
    xyz = np.random.default_rng(0).uniform(size=(50, 3))
    features = np.arange(100, dtype=np.float32).reshape(50, 2)
    xyz[3], features[7] = np.nan, np.inf
    np.savez(tmp_path / "f.npz", xyz=xyz, features=features)
    cloud = read_cloud(tmp_path / "f.npz")
    assert len(cloud) == 49
    assert len(cloud.features) == 48
    np.testing.assert_array_equal(cloud.keypoints[3], xyz[4])
    np.testing.assert_array_equal(cloud.features[3], features[4])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.zeros((4, 8))}, "its features must be 50 rows of numbers"),
        ({"features": np.zeros(50)}, "its features must be 50 rows"),
        ({"features": np.full((50, 2), np.nan)}, "none of its 50 features is finite"),
        ({"features": np.ones((2, 2)), "keypoints": np.ones((2, 2))}, "keypoints must be k x 3"),
        ({"noise": np.ones(3)}, "its noise must be 50 numbers"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "w.npz", xyz=np.random.default_rng(0).uniform(size=(50, 3)), **arrays)
    with pytest.raises(UserError, match=message):
        read_cloud(tmp_path / "w.npz")


def test_features_that_cannot_be_compared_are_refused(world):
    points, first, last, _ = world
    a, b = described(points, first), described(points, last)
    plain = replace(b, keypoints=None, features=None)
    with pytest.raises(ValueError, match="cannot be compared; give both the same kind"):
        align(a, plain, voxel=VOXEL)
    short = replace(b, features=b.features[:, :7])
    with pytest.raises(ValueError, match=r"given, 24 numbers.*given, 7"):
        align(a, short, voxel=VOXEL)
    with pytest.raises(ValueError, match="it carries no features"):
        align(plain, plain, registrar=HoughRegistrar(descriptor="given"), voxel=VOXEL)


# --- noise -------------------------------------------------------------------------------------


def test_noisy_matches_are_held_to_wider_bounds():
    source = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    target = source + np.array([[0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]])

    def edges(noise):
        pairs = Pairing(source, target, noise=noise)
        graph = compatibility_graph(pairs, tolerance=0.1, shortest=0.5)
        return set(zip(graph.first.tolist(), graph.second.tolist(), strict=True))

    assert edges(None) == edges(np.zeros(3)) == set()
    assert edges(np.array([0.0, 0.15, 0.0])) == {(0, 1)}  # 0.3 off; the third's 0.42 is too much
    bounds = Pairing(source, target, noise=np.array([0, 0.1, 0])).bounds(0.2)
    np.testing.assert_allclose(bounds, [0.2, np.hypot(0.2, 0.25), 0.2])


def test_exact_matches_weigh_more_than_noisy_ones():
    rng = np.random.default_rng(1)
    source = rng.uniform(-1, 1, (400, 3))
    noise = np.where(np.arange(400) < 40, 0.002, 0.1)
    target = source + noise[:, None] * rng.normal(size=(400, 3))
    bound = Pairing(source, target, noise=noise).bounds(0.02)
    start = np.eye(3), np.zeros(3)
    known = robust_fit(source, target, *start, bound)
    alike = robust_fit(source, target, *start, float(bound.max()))
    worst = [np.linalg.norm(source @ f.R.T + f.t - source, axis=1).max() for f in (known, alike)]
    assert worst[0] < worst[1] / 2


def test_noise_of_a_scan_reaches_the_matches(world):
    points, first, last, true = world
    rng = np.random.default_rng(2)
    clouds = []
    for pose in (first, last):
        xyz = fragment(points, pose)
        sigma = 0.02 * (np.linalg.norm(xyz, axis=1) / 2) ** 2  # grows with the square of the range
        noisy = xyz + sigma[:, None] * rng.normal(size=xyz.shape)
        clouds.append(PointCloud(noisy, sensor=np.zeros(3), noise=sigma))
    aligned = align(*clouds, voxel=VOXEL)
    noise = aligned.prepared_source.keys.noise
    assert noise.min() >= 0
    assert 0.01 < noise.max() <= clouds[0].noise.max()
    turn, shift = error(aligned.registration.target_from_source, true)
    assert turn < 1.5
    assert shift < VOXEL


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_noise_must_be_a_deviation(value):
    with pytest.raises(ValueError, match="noise must be 0 or more"):
        PointCloud(np.zeros((3, 3)), noise=np.array([0.0, value, 0.0]))


# --- colours -----------------------------------------------------------------------------------


def painted(points: np.ndarray, pose: Rigid3) -> PointCloud:
    """A fragment coloured by the place in the world."""
    near = points[np.linalg.norm(points - pose.t, axis=1) < 2.3]
    rgb = 127 + 120 * np.sin(2.5 * near + [0, 1, 2])
    return PointCloud(pose.inverse().apply(near), rgb.astype(np.uint8), sensor=np.zeros(3))


def test_colours_remove_wrong_matches(world, tmp_path):
    points, first, last, true = world
    files = []
    for name, pose in (("a", first), ("b", last)):
        files.append(tmp_path / f"{name}.ply")
        write_cloud(files[-1], painted(points, pose))
    clouds = [replace(read_cloud(f), sensor=np.zeros(3)) for f in files]
    share = {}
    for colour in (0.0, 15.0):
        registrar = HoughRegistrar(colour=colour)
        answer = align(*clouds, registrar=registrar, voxel=VOXEL).registration
        turn, shift = error(answer.target_from_source, true)
        assert turn < 1
        assert shift < VOXEL
        share[colour] = answer.inlier.mean()
    assert share[15.0] > 1.3 * share[0.0]


def test_colours_that_are_asked_for_must_be_there(world):
    points, first, last, _ = world
    clouds = painted(points, first), replace(painted(points, last), rgb=None)
    with pytest.raises(ValueError, match="the target has no colours; set colour=0"):
        align(*clouds, registrar=HoughRegistrar(colour=10.0), voxel=VOXEL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": -1.0}, "colour must be 0"),
        ({"scale_range": 0.5}, r"scale_range must be 1 \(rigid\) to 4"),
        ({"descriptor": "sift"}, "descriptor must be one of auto, fpfh, learned, given"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HoughRegistrar(**options)
