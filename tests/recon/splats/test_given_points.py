"""Seeds from a point cloud or COLMAP model of the user's own."""

import numpy as np
import pytest

from corr.errors import UserError
from recon.colmap_io import write_colmap
from recon.export.points_ply import write_points
from recon.splats.given_points import given_points, read_given
from recon.splats.seeder import Seeder
from recon.splats.seeding import make_seeds
from tests.recon import scenes


@pytest.fixture(scope="module")
def scene():
    return scenes.build(scenes.arc(3))


@pytest.fixture(scope="module")
def scan(scene):
    """Places on the true surface, as a laser would have them, and a share that no photo shows."""
    rng = np.random.default_rng(0)
    xyz = scenes.trace(scene.reconstruction.views[1])[2].reshape(-1, 3)
    xyz = xyz[rng.choice(len(xyz), 1500, replace=False)]
    return np.concatenate([xyz, rng.normal(size=(300, 3)) + np.array([0, 0, 90])])


def test_points_in_photos_are_kept_with_normals_colours_and_pixel_sizes(scene, scan, tmp_path):
    write_points(tmp_path / "scan.ply", scan)
    views = scene.reconstruction.views
    points = given_points(tmp_path / "scan.ply", views, scene.pictures)
    assert len(points) == 1500
    assert scenes.distance_to_surface(points.xyz.astype(float)).max() < 1e-5
    ball = np.abs(np.linalg.norm(points.xyz - scenes.BALL, axis=1) - scenes.RADIUS) < 1e-4
    true = np.where(ball[:, None], (points.xyz - scenes.BALL) / scenes.RADIUS, [0, 0, 1.0])
    cosine = (points.normal * true).sum(axis=1)
    assert np.median(cosine) > 0.99
    assert (cosine > 0).mean() > 0.98
    z = np.linalg.norm(points.xyz - views[1].cam_from_world.centre, axis=1)
    np.testing.assert_allclose(points.footprint, z / views[1].camera.K[0, 0], rtol=0.3)


def test_seeds_stand_on_the_given_points(scene, scan, tmp_path):
    write_points(tmp_path / "scan.ply", scan)
    options = Seeder(points=str(tmp_path / "scan.ply"), budget=800, iterations=1, fill=False)
    seeds, points = make_seeds(
        options, scene.reconstruction, scene.pictures, {}, np.random.default_rng(0)
    )
    assert seeds.summary["agreed"] == 800
    assert len(points) == 1500
    agreed = seeds.gaussians.means[:800].numpy()
    assert {tuple(p) for p in agreed} <= {tuple(p) for p in points.xyz}
    assert bool(seeds.gaussians.is_finite().all())


def test_colmap_model_is_read_too(scene, tmp_path):
    write_colmap(tmp_path / "sparse", scene.reconstruction)
    xyz, rgb = read_given(tmp_path / "sparse")
    assert len(xyz) == len(scene.reconstruction.xyz_world) == len(rgb)
    order = np.lexsort(xyz.T), np.lexsort(scene.reconstruction.xyz_world.T)
    np.testing.assert_allclose(xyz[order[0]], scene.reconstruction.xyz_world[order[1]])


def test_a_cloud_of_another_world_is_refused(scene, scan, tmp_path):
    write_points(tmp_path / "scan.ply", scan + np.array([0, 0, 500]))
    with pytest.raises(UserError, match=r"only 0 of 1800 points .* poses=known poses\.cameras="):
        given_points(tmp_path / "scan.ply", scene.reconstruction.views, scene.pictures)


def test_what_is_no_cloud_is_said(tmp_path):
    (tmp_path / "scan.ply").write_text("nothing")
    with pytest.raises(UserError, match="neither a PLY of points nor a COLMAP model"):
        read_given(tmp_path / "scan.ply")
    with pytest.raises(UserError, match="neither a PLY of points nor a COLMAP model"):
        read_given(tmp_path)
    with pytest.raises(UserError, match=r"there is no .*no\.ply; correct seeder\.points"):
        read_given(tmp_path / "no.ply")
