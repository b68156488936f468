"""Shapes with a formula, drawn as depth maps from all around, and the meshes fused from them."""

from dataclasses import dataclass

import numpy as np
import open3d as o3d
import pytest
import trimesh

from recon.surface.mesher import Mesher

CENTRE = np.array([0.13, -0.21, 0.05])
RING, TUBE = 0.6, 0.22  # torus
HALF = np.array([0.55, 0.4, 0.47])  # box
RADIUS = 0.7  # sphere


def from_sphere(xyz):
    """Signed distance, outside positive."""
    return np.linalg.norm(xyz - CENTRE, axis=1) - RADIUS


def from_torus(xyz):
    local = xyz - CENTRE
    across = np.linalg.norm(local[:, :2], axis=1) - RING
    return np.hypot(across, local[:, 2]) - TUBE


def from_box(xyz):
    beyond = np.abs(xyz - CENTRE) - HALF
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    return outside + np.minimum(beyond.max(axis=1), 0)


@dataclass(frozen=True, eq=False)
class Fused:
    """A mesh, its voxel, and the signed distance to the true surface."""

    mesh: object
    voxel: float
    distance: object
    volume: float
    holes: int  # through the body


def body(name):
    make = o3d.geometry.TriangleMesh
    if name == "sphere":
        return make.create_sphere(RADIUS, 200).translate(CENTRE)
    if name == "torus":
        return make.create_torus(RING, TUBE, 200, 120).translate(CENTRE)
    return make.create_box(*(2 * HALF)).translate(CENTRE - HALF)


TRUE = {
    "sphere": (from_sphere, 4 / 3 * np.pi * RADIUS**3, 0),
    "torus": (from_torus, 2 * np.pi**2 * RING * TUBE**2, 1),
    "box": (from_box, 8 * HALF.prod(), 0),
}


@pytest.fixture(scope="module", params=TRUE)
def fused(request, world):
    renderer = world.TruthRenderer(body(request.param))
    around = {"size": (203, 151), "target": CENTRE}
    views = [
        *world.ring(7, height=2.4, **around),
        *world.ring(7, height=-2.6, **around),
        *world.ring(5, height=0.15, **around),
    ]
    depths = [renderer.depth(v)[0] for v in views]
    mesh, report = Mesher().mesh_from_depths(views, depths, {})
    return Fused(mesh, report["voxel"], *TRUE[request.param])


def test_surface_lies_within_half_a_voxel(fused):
    """Every vertex, the box's edges and corners included."""
    away = np.abs(fused.distance(fused.mesh.vertices)) / fused.voxel
    assert away.max() < 0.5
    assert away.mean() < 0.1


def test_body_is_closed_with_the_right_topology_and_volume(fused):
    closed = trimesh.Trimesh(fused.mesh.vertices, fused.mesh.faces, process=False)
    assert closed.is_watertight
    assert closed.euler_number == 2 - 2 * fused.holes
    assert closed.volume == pytest.approx(fused.volume, rel=0.02)


def test_normals_point_outward(fused):
    centres = fused.mesh.vertices[fused.mesh.faces].mean(1)
    step = 0.3 * fused.voxel
    unit = fused.mesh.face_cross / np.linalg.norm(fused.mesh.face_cross, axis=1, keepdims=True)
    rises = fused.distance(centres + step * unit) - fused.distance(centres - step * unit)
    assert (rises > 0).all()


def second_best_angle(xyz, views):
    """Degrees between the sphere's normal and the ray to the second-best camera."""
    unit = (xyz - CENTRE) / np.linalg.norm(xyz - CENTRE, axis=1, keepdims=True)
    rays = [v.cam_from_world.centre - xyz for v in views]
    cos = [(unit * r).sum(1) / np.linalg.norm(r, axis=1) for r in rays]
    return np.degrees(np.arccos(np.sort(cos, axis=0)[-2]))


def test_half_seen_sphere_is_closed_within_what_two_views_see(world):
    renderer = world.TruthRenderer(body("sphere"))
    views = world.ring(5, height=1.0, arc_deg=100, size=(203, 151), target=CENTRE)
    depths = [renderer.depth(v)[0] for v in views]
    mesh, report = Mesher().mesh_from_depths(views, depths, {})
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    assert set(count) == {1, 2}
    border = np.unique(edges[count == 1])
    # A cell reaches up to sqrt(3) voxels above the surface; farther round, rays to it pass by the
    # sphere, and nothing is known there.
    covered_deg = np.degrees(np.arcsin(RADIUS / (RADIUS + 3**0.5 * report["voxel"])))
    assert covered_deg > 60
    assert second_best_angle(mesh.vertices[border], views).min() > covered_deg
    asked = trimesh.creation.icosphere(4, RADIUS).vertices + CENTRE
    covered = asked[second_best_angle(asked, views) < covered_deg]
    assert len(covered) > 400
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    assert scene.compute_distance(covered.astype(np.float32)).numpy().max() < 0.01


def test_poisson_is_trimmed_to_what_was_seen(world):
    """Half a sphere stays half a sphere, facing outward, off by a voxel at its rim at most."""
    renderer = world.TruthRenderer(body("sphere"))
    views = world.ring(5, height=1.0, arc_deg=100, size=(203, 151), target=CENTRE)
    depths = [renderer.depth(v)[0] for v in views]
    mesh, report = Mesher(surface="poisson").mesh_from_depths(views, depths, {})
    away = np.abs(from_sphere(mesh.vertices)) / report["voxel"]
    assert away[second_best_angle(mesh.vertices, views) < 75].max() < 0.1
    assert away.max() < 1.0
    assert ((mesh.vertices - CENTRE) * mesh.vertex_normals).sum(1).min() > 0
    share = mesh.face_areas.sum() / (4 * np.pi * RADIUS**2)
    assert 0.4 < share < 0.6  # untrimmed it would be the whole sphere
    with pytest.raises(ValueError, match="surface must be one of tsdf, poisson, got ball"):
        Mesher(surface="ball")
