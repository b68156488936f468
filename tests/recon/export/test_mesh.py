import json
import struct

import numpy as np
import pytest
import trimesh

from recon.export.mesh import read_mesh_ply, write_mesh_glb, write_mesh_ply
from recon.surface.mesh import Mesh


@pytest.fixture
def mesh():
    body = trimesh.creation.icosphere(subdivisions=2, radius=1.5)
    rng = np.random.default_rng(0)
    vertices = np.add(body.vertices, [3.0, -2.0, 7.0]).astype(np.float32).astype(np.float64)
    rgb = rng.integers(0, 256, size=(len(vertices), 3), dtype=np.uint8)
    return Mesh(vertices, body.faces, rgb)


def test_ply_round_trip(tmp_path, mesh):
    write_mesh_ply(tmp_path / "m.ply", mesh)
    back = read_mesh_ply(tmp_path / "m.ply")
    np.testing.assert_array_equal(back.vertices, mesh.vertices)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    np.testing.assert_array_equal(back.rgb, mesh.rgb)


def test_ply_loads_in_trimesh_with_colours(tmp_path, mesh):
    write_mesh_ply(tmp_path / "m.ply", mesh)
    other = trimesh.load_mesh(tmp_path / "m.ply", process=False)
    np.testing.assert_array_equal(other.vertices, mesh.vertices)
    np.testing.assert_array_equal(other.visual.vertex_colors[:, :3], mesh.rgb)


def test_glb_has_the_same_coordinates_as_the_ply(tmp_path, mesh):
    write_mesh_glb(tmp_path / "m.glb", mesh)
    scene = trimesh.load_scene(tmp_path / "m.glb", process=False)
    other = scene.to_geometry()
    np.testing.assert_array_equal(other.vertices, mesh.vertices)
    np.testing.assert_array_equal(other.faces, mesh.faces)
    assert other.volume > 0


def glb_parts(data):
    magic, version, total, length, _ = struct.unpack("<4s4I", data[:20])
    assert (magic, version, total) == (b"glTF", 2, len(data))
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def test_glb_colours_are_linear_sixteen_bit_and_unlit(tmp_path, mesh):
    write_mesh_glb(tmp_path / "m.glb", mesh)
    tree, buffer = glb_parts((tmp_path / "m.glb").read_bytes())
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    assert accessor["componentType"] == 5123
    assert accessor["normalized"]
    view = tree["bufferViews"][accessor["bufferView"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    colour = np.frombuffer(buffer, "<u2", 4 * accessor["count"], start).reshape(-1, 4) / 65535
    linear = colour[:, :3]
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(np.round(srgb * 255).astype(np.uint8), mesh.rgb)
    assert (colour[:, 3] == 1).all()
    material = tree["materials"][0]
    assert material["doubleSided"]
    assert "KHR_materials_unlit" in material["extensions"]
    assert "KHR_materials_unlit" in tree["extensionsUsed"]
    assert all(
        "matrix" not in n or np.allclose(n["matrix"], np.eye(4).ravel()) for n in tree["nodes"]
    )


def test_empty_mesh_ply_survives_and_glb_refuses(tmp_path):
    write_mesh_ply(tmp_path / "m.ply", Mesh.empty())
    assert len(read_mesh_ply(tmp_path / "m.ply").faces) == 0
    with pytest.raises(ValueError, match="must have triangles"):
        write_mesh_glb(tmp_path / "m.glb", Mesh.empty())


def test_mesh_refuses_faces_beyond_its_vertices():
    with pytest.raises(ValueError, match="index vertices"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 3]]), np.zeros((3, 3), np.uint8))
