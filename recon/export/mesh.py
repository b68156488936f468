"""Meshes as PLY (for programs) and GLB (for viewers), vertex colours in both.

Both files hold the same coordinates: the world frame of the cameras, splats and points. glTF calls
its y axis "up"; our world has no known up, and a rotation hidden in the GLB would make it disagree
with its neighbours. Its node is therefore the identity.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from recon.surface.mesh import Mesh

if TYPE_CHECKING:
    from recon.surface.coverage import Coverage

_USHORT = 5123  # glTF component type


def write_mesh_ply(path: str | Path, mesh: Mesh) -> None:
    """Binary little-endian PLY: float32 vertices with `red green blue`, int32 triangles."""
    _write_ply(path, mesh, {})


def write_coverage_ply(path: str | Path, mesh: Mesh, covered: "Coverage") -> None:
    """The same with `views` (uint8), `angle_deg`, `sigma` (float32, -1 unknown) per vertex."""
    sigma = np.where(np.isfinite(covered.sigma), covered.sigma, -1.0)
    _write_ply(
        path,
        mesh,
        {
            "views": np.minimum(covered.views, 255).astype("u1"),
            "angle_deg": covered.angle_deg.astype("<f4"),
            "sigma": sigma.astype("<f4"),
        },
    )


def _write_ply(path: str | Path, mesh: Mesh, extra: dict[str, np.ndarray]) -> None:
    from plyfile import PlyData, PlyElement

    colours = ("red", "green", "blue")
    vertex = np.empty(
        len(mesh.vertices),
        dtype=[(axis, "<f4") for axis in "xyz"]
        + [(c, "u1") for c in colours]
        + [(name, values.dtype.str) for name, values in extra.items()],
    )
    for i, (axis, channel) in enumerate(zip("xyz", colours, strict=True)):
        vertex[axis], vertex[channel] = mesh.vertices[:, i], mesh.rgb[:, i]
    for name, values in extra.items():
        vertex[name] = values
    face = np.empty(len(mesh.faces), dtype=[("vertex_indices", "<i4", (3,))])
    face["vertex_indices"] = mesh.faces
    elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
    PlyData(elements, byte_order="<").write(str(path))


def read_mesh_ply(path: str | Path) -> Mesh:
    """A triangle mesh from PLY; grey when the file has no colours."""
    from plyfile import PlyData

    data = PlyData.read(str(path))
    vertex, face = data["vertex"].data, data["face"].data
    xyz = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
    rgb = np.full((len(xyz), 3), 128, dtype=np.uint8)
    if {"red", "green", "blue"} <= set(vertex.dtype.names):
        rgb = np.stack([vertex[c] for c in ("red", "green", "blue")], axis=1).astype(np.uint8)
    key = "vertex_indices" if "vertex_indices" in face.dtype.names else "vertex_index"
    faces = np.vstack(face[key]) if len(face) else np.zeros((0, 3), np.int32)
    return Mesh(xyz, faces.astype(np.int32), rgb)


def write_mesh_glb(path: str | Path, mesh: Mesh) -> None:
    """Binary glTF with the PLY's coordinates and an unlit, two-sided material.

    Unlit (KHR_materials_unlit), because the photos' light is already in the colours. glTF colours
    are linear light while ours are sRGB, so they are converted and stored in 16 bits; a viewer
    converts back and shows the photos' colours.

    Raises:
        ValueError: The mesh has no triangles; a GLB without geometry is not valid.
    """
    import trimesh

    if len(mesh.faces) == 0:
        raise ValueError("mesh must have triangles to be written as GLB, got none")
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    body.visual = trimesh.visual.TextureVisuals(material=_plain_material())
    body.vertex_attributes["_COLOR"] = _linear_rgba16(mesh.rgb)
    data = trimesh.exchange.gltf.export_glb(
        trimesh.Scene(body), include_normals=True, tree_postprocessor=_finish_tree
    )
    Path(path).write_bytes(data)


def _plain_material() -> Any:
    from trimesh.visual.material import PBRMaterial

    return PBRMaterial(metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True)


def _finish_tree(tree: dict[str, Any]) -> None:
    """What trimesh cannot say by itself: 16-bit vertex colours and the unlit material."""
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    attributes["COLOR_0"] = attributes.pop("_COLOR")
    accessor = tree["accessors"][attributes["COLOR_0"]]
    if accessor["componentType"] != _USHORT or accessor["type"] != "VEC4":
        raise RuntimeError(f"trimesh wrote colours as {accessor}")
    accessor["normalized"] = True
    tree["materials"][0]["extensions"] = {"KHR_materials_unlit": {}}
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", []), "KHR_materials_unlit"})


def _linear_rgba16(rgb: UInt8[np.ndarray, "v 3"]) -> np.ndarray:
    """SRGB bytes to linear 16-bit RGBA, opaque (IEC 61966-2-1)."""
    s: Float[np.ndarray, "v 3"] = rgb / 255.0
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    opaque = np.ones((len(rgb), 1))
    return np.round(np.hstack([linear, opaque]) * 65535).astype(np.uint16)
