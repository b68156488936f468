import numpy as np
import open3d as o3d
import pytest
import trimesh

from corr.errors import UserError
from recon.surface.mesher import Mesher

RADIUS, CENTRE = 0.7, np.array([0.13, -0.21, 0.05])


@pytest.fixture(scope="module")
def ball(world):
    """Depth maps of a ball from all around, above and below, and the mesh made of them."""
    surface = o3d.geometry.TriangleMesh.create_sphere(RADIUS, 120).translate(CENTRE)
    renderer = world.TruthRenderer(surface)
    views = [*world.ring(6, height=2.4, target=CENTRE), *world.ring(6, height=-2.6, target=CENTRE)]
    depths = [renderer.depth(v)[0] for v in views]
    mesh, report = Mesher().mesh_from_depths(views, depths, {})
    return mesh, report, views, depths


def test_ball_radius_is_right_within_a_voxel(ball):
    mesh, report, _, _ = ball
    radius = np.linalg.norm(mesh.vertices - CENTRE, axis=1)
    assert np.abs(radius - RADIUS).max() < report["voxel"]
    assert abs(radius.mean() - RADIUS) < 0.25 * report["voxel"]


def test_ball_is_closed_and_points_outward(ball):
    mesh = ball[0]
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert body.is_watertight
    np.testing.assert_allclose(body.volume, 4 / 3 * np.pi * RADIUS**3, rtol=0.03)
    outward = (mesh.vertex_normals * (mesh.vertices - CENTRE)).sum(1)
    assert outward.min() > 0


def test_result_does_not_depend_on_where_the_world_origin_is(ball, world):
    _, report, views, depths = ball
    shift = np.array([5e5, -2e6, 3e5])  # map coordinates
    far = [
        type(v)(v.name, v.camera, type(v.cam_from_world)(R, v.cam_from_world.t - R @ shift))
        for v in views
        for R in [v.cam_from_world.R]
    ]
    moved, _ = Mesher().mesh_from_depths(far, depths, {})
    radius = np.linalg.norm(moved.vertices - shift - CENTRE, axis=1)
    assert np.abs(radius - RADIUS).max() < report["voxel"]


def test_vote_removes_a_planted_floater(ball):
    """A patch that only one view's depth map holds, floating in front of the ball."""
    _, _, views, depths = ball
    planted = [d.copy() for d in depths]
    planted[0][50:70, 70:90] *= 0.8
    kept, report = Mesher().mesh_from_depths(views, planted, {})
    radius = np.linalg.norm(kept.vertices - CENTRE, axis=1)
    assert radius.max() < RADIUS + report["voxel"]
    assert report["rejected_share"]["depths disagree"] > 300 / (163 * 121 * 12)
    loose, _ = Mesher(min_views=1, min_piece=0.0).mesh_from_depths(views, planted, {})
    assert np.linalg.norm(loose.vertices - CENTRE, axis=1).max() > RADIUS + 5 * report["voxel"]


def test_memory_limit_coarsens_the_voxel(ball):
    _, report, views, depths = ball
    coarse, small = Mesher(memory_mb=0.15).mesh_from_depths(views, depths, {})
    assert small["voxel"] > report["voxel"]
    assert small["blocks"] * 4096 <= 0.15 * 2**20
    assert len(coarse.faces) > 100


def test_triangle_budget_holds(ball):
    _, _, views, depths = ball
    mesh, _ = Mesher(max_triangles=3000).mesh_from_depths(views, depths, {})
    assert 2000 < len(mesh.faces) <= 3000
    assert np.abs(np.linalg.norm(mesh.vertices - CENTRE, axis=1) - RADIUS).mean() < 0.01


def test_same_input_gives_the_same_bits(ball):
    mesh, _, views, depths = ball
    again, _ = Mesher().mesh_from_depths(views, depths, {})
    np.testing.assert_array_equal(mesh.vertices, again.vertices)
    np.testing.assert_array_equal(mesh.faces, again.faces)


def test_no_depth_is_refused_with_the_reasons(ball):
    _, _, views, depths = ball
    with pytest.raises(UserError, match=r"all depth pixels of 12 views were rejected"):
        Mesher().mesh_from_depths(views, [0 * d for d in depths], {})


def test_bad_option_is_named():
    with pytest.raises(ValueError, match=r"mesher.min_alpha must be in \(0, 1\], got 1.5"):
        Mesher(min_alpha=1.5)
