import numpy as np
import pytest

from corr.geometry import Camera, Rigid3, Sim3, rotation_angle, umeyama

EXACT = 1e-9  # float64 round-off of a few products of numbers near one


def rotation(rng) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def rigid(rng) -> Rigid3:
    return Rigid3(rotation(rng), rng.standard_normal(3))


@pytest.fixture(params=range(5))
def rng(request):
    return np.random.default_rng(request.param)


def test_rigid_composition_cancels_frames(rng):
    b_from_a, c_from_b = rigid(rng), rigid(rng)
    xyz_a = rng.standard_normal((7, 3))
    assert np.allclose((c_from_b @ b_from_a).apply(xyz_a), c_from_b.apply(b_from_a.apply(xyz_a)))


def test_rigid_inverse_undoes(rng):
    b_from_a = rigid(rng)
    both = b_from_a.inverse() @ b_from_a
    assert np.allclose(both.R, np.eye(3), atol=EXACT)
    assert np.allclose(both.t, 0, atol=EXACT)


def test_rigid_matrix_round_trip_and_product(rng):
    x, y = rigid(rng), rigid(rng)
    assert np.allclose(Rigid3.from_matrix(x.matrix).matrix, x.matrix)
    assert np.allclose((x @ y).matrix, x.matrix @ y.matrix)


def test_rigid_centre_maps_to_origin(rng):
    cam_from_world = rigid(rng)
    assert np.allclose(cam_from_world.apply(cam_from_world.centre), 0, atol=EXACT)


@pytest.mark.parametrize("R", [np.diag([1, 1, -1.0]), 2 * np.eye(3), np.ones((3, 3))])
def test_rigid_refuses_what_is_no_rotation(R):
    with pytest.raises(ValueError, match="R must be a rotation matrix"):
        Rigid3(R, np.zeros(3))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, 3.1, np.pi])
def test_rotation_angle_is_exact_at_both_ends(angle):
    c, s = np.cos(angle), np.sin(angle)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert rotation_angle(R) == pytest.approx(angle, rel=1e-6, abs=1e-12)


def test_camera_projects_what_it_unprojects(rng):
    camera = Camera(1231, 817, np.array([[900, 0, 600.5], [0, 950, 411.25], [0, 0, 1.0]]))
    uv = rng.uniform([0, 0], [1231, 817], (50, 2))
    depth = rng.uniform(0.1, 9, 50)
    back, back_depth = camera.project(camera.unproject(uv, depth))
    assert np.allclose(back, uv, atol=1e-6)
    assert np.allclose(back_depth, depth)


def test_camera_principal_point_is_the_middle_of_the_extent():
    uv, _ = Camera.simple(640, 480, 500.0).project(np.array([0.0, 0.0, 2.0]))
    assert uv.tolist() == [320.0, 240.0]


def test_camera_resizing_multiplies_pixels(rng):
    camera = Camera.simple(1001, 667, 800.0)
    small = camera.resized(333, 221)
    xyz = rng.uniform([-1, -1, 1], [1, 1, 3], (20, 3))
    expected = camera.project(xyz)[0] * [333 / 1001, 221 / 667]
    assert np.allclose(small.project(xyz)[0], expected)


@pytest.mark.parametrize(
    ("size", "K", "message"),
    [
        ((0, 5), np.eye(3), "camera size must be positive"),
        ((5, 5), np.diag([1.0, -1, 1]), "positive focal lengths"),
    ],
)
def test_camera_refuses(size, K, message):
    with pytest.raises(ValueError, match=message):
        Camera(*size, K)


def test_umeyama_recovers_similarity(rng):
    truth = Sim3(float(rng.uniform(0.1, 9)), rotation(rng), rng.standard_normal(3))
    xyz = rng.standard_normal((12, 3))
    found = umeyama(xyz, truth.apply(xyz))
    assert found.scale == pytest.approx(truth.scale)
    assert np.allclose(found.R, truth.R)
    assert np.allclose(found.t, truth.t)
    assert np.allclose(found.inverse().apply(found.apply(xyz)), xyz)


def test_umeyama_handles_points_on_a_plane(rng):
    truth = Sim3(1.0, rotation(rng), rng.standard_normal(3))
    xyz = rng.standard_normal((12, 3)) * [1, 1, 0]
    found = umeyama(xyz, truth.apply(xyz), with_scale=False)
    assert np.allclose(found.R, truth.R)
    assert found.scale == 1.0


@pytest.mark.parametrize(
    ("xyz", "message"),
    [
        (np.zeros((2, 3)), "3 or more point pairs"),
        (np.arange(12.0)[:, None] * np.ones(3), "not all on one line"),
    ],
)
def test_umeyama_refuses(xyz, message):
    with pytest.raises(ValueError, match=message):
        umeyama(xyz, xyz)


def test_similarity_keeps_projections_when_it_moves_cameras(rng):
    b_from_a = Sim3(2.5, rotation(rng), rng.standard_normal(3))
    cam_from_a = rigid(rng)
    camera = Camera.simple(641, 479, 500.0)
    xyz_a = cam_from_a.inverse().apply(rng.uniform([-1, -1, 2], [1, 1, 5], (9, 3)))
    uv_a, depth_a = camera.project(cam_from_a.apply(xyz_a))
    cam_from_b = b_from_a.apply_to_camera(cam_from_a)
    uv_b, depth_b = camera.project(cam_from_b.apply(b_from_a.apply(xyz_a)))
    assert np.allclose(uv_a, uv_b)
    assert np.allclose(depth_b, 2.5 * depth_a)
