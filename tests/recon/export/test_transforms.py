import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from corr.geometry import Camera, Rigid3
from recon.export.points_ply import read_points, write_points
from recon.export.transforms import read_transforms, write_transforms
from recon.scene import View


def random_views(rng, n=3):
    for i in range(n):
        R = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
        K = np.array([[611.0 + i, 0, 319.3], [0, 607.5, 241.1], [0, 0, 1]])
        yield View(f"photo_{i}.jpg", Camera(641, 479, K), Rigid3(R, rng.normal(size=3)))


def test_round_trip_gives_the_same_cameras(tmp_path):
    views = list(random_views(np.random.default_rng(0)))
    write_transforms(tmp_path / "transforms.json", views, "photos", ply_file_path="points.ply")
    back = read_transforms(tmp_path / "transforms.json")
    for a, b in zip(views, back, strict=True):
        assert (a.name, a.camera.width, a.camera.height) == (
            b.name,
            b.camera.width,
            b.camera.height,
        )
        np.testing.assert_array_equal(a.camera.K, b.camera.K)
        np.testing.assert_allclose(a.cam_from_world.matrix, b.cam_from_world.matrix, atol=1e-12)
    content = json.loads((tmp_path / "transforms.json").read_text())
    assert content["ply_file_path"] == "points.ply"
    assert content["frames"][1]["file_path"] == "photos/photo_1.jpg"


def test_matrix_is_camera_to_world_with_opengl_axes(tmp_path):
    """A camera at (0, 0, -4) that looks along +z with y down: OpenGL's z points back, y up."""
    view = View("a.png", Camera.simple(10, 10, 10.0), Rigid3(np.eye(3), np.array([0, 0, 4.0])))
    write_transforms(tmp_path / "t.json", [view])
    matrix = json.loads((tmp_path / "t.json").read_text())["frames"][0]["transform_matrix"]
    expected = [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, -4], [0, 0, 0, 1]]
    np.testing.assert_allclose(matrix, expected, atol=1e-15)


def test_reading_refuses_distortion(tmp_path):
    view = next(random_views(np.random.default_rng(1)))
    write_transforms(tmp_path / "t.json", [view])
    text = (tmp_path / "t.json").read_text().replace('"k1": 0.0', '"k1": 0.1')
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ValueError, match="undistort first"):
        read_transforms(tmp_path / "t.json")


def test_points_round_trip(tmp_path):
    rng = np.random.default_rng(2)
    xyz = rng.normal(size=(11, 3)).astype(np.float32).astype(np.float64)
    rgb = rng.integers(0, 256, size=(11, 3), dtype=np.uint8)
    write_points(tmp_path / "p.ply", xyz, rgb)
    xyz_back, rgb_back = read_points(tmp_path / "p.ply")
    np.testing.assert_array_equal(xyz_back, xyz)
    np.testing.assert_array_equal(rgb_back, rgb)
