"""Cleaning a fused surface: welding, small pieces, triangle budget."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from recon.scene import View
from recon.surface.mesh import Mesh


def canonical(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"]]:
    """The same surface in an order that depends on positions alone, equal vertices welded.

    Parallel extraction returns vertices and faces in an order that changes from run to run.
    Triangles that welding collapses are dropped; each starts at its smallest index.
    """
    if len(faces) == 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    order = np.lexsort(vertices.T)
    ordered = vertices[order]
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    index = np.empty(len(vertices), dtype=np.int32)
    index[order] = np.cumsum(new, dtype=np.int32) - 1
    faces = index[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    first = faces.argmin(axis=1)
    faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    return drop_unused(ordered[new], faces[np.lexsort(faces.T[::-1])])


def face_components(faces: Int[np.ndarray, "f 3"], count: int) -> Int[np.ndarray, " f"]:
    """Per face the label of its connected piece; pieces that share a vertex are one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = faces[:, [0, 1]].ravel()
    columns = faces[:, [1, 2]].ravel()
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    return connected_components(graph, directed=False)[1][faces[:, 0]]


def remove_small_pieces(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], *, share: float
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"], int]:
    """Drop connected pieces with less than `share` of the total area.

    Returns:
        vertices, faces, and the number of pieces dropped.
    """
    if len(faces) == 0:
        return vertices, faces, 0
    labels = face_components(faces, len(vertices))
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    areas = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    _, piece = np.unique(labels, return_inverse=True)
    area = np.bincount(piece, weights=areas)
    keep = area >= share * area.sum()
    vertices, faces = drop_unused(vertices, faces[keep[piece]])
    return vertices, faces, int((~keep).sum())


def without_backs(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], views: Sequence[View]
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"]]:
    """Without faces that turn their back to every camera in whose picture they lie.

    Nothing was ever seen from that side: such a sheet is where the band behind a seen surface ends
    in space that another view saw empty.
    """
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    middle, cross = (a + b + c) / 3, np.cross(b - a, c - a)
    front = np.zeros(len(faces), dtype=bool)
    for view in views:
        uv, depth = view.camera.project(view.cam_from_world.apply(middle))
        size = np.array([view.camera.width, view.camera.height])
        inside = (depth > 0) & (uv >= 0).all(axis=1) & (uv < size).all(axis=1)
        front |= inside & (((view.cam_from_world.centre - middle) * cross).sum(axis=1) > 0)
    return drop_unused(vertices, faces[front])


def drop_unused(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "f 3"]]:
    """The same triangles without vertices that none of them uses."""
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    new_index = np.cumsum(used, dtype=np.int32) - 1
    return vertices[used], new_index[faces]


def simplified(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], *, max_triangles: int
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"]]:
    """At most about `max_triangles`, by quadric edge collapse (Garland and Heckbert, 1997).

    Open borders weigh as much as the surface, so holes keep their outline.
    """
    import open3d as o3d

    if len(faces) <= max_triangles:
        return vertices, faces
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(vertices), o3d.utility.Vector3iVector(faces)
    )
    mesh = mesh.simplify_quadric_decimation(max_triangles, boundary_weight=1.0)
    mesh.remove_degenerate_triangles()
    mesh.remove_unreferenced_vertices()
    return np.asarray(mesh.vertices), np.asarray(mesh.triangles).astype(np.int32)


def smoothed(mesh: Mesh, *, iterations: int) -> Mesh:
    """Taubin's smoothing, which does not shrink (lambda 0.5, mu -0.53; SIGGRAPH 1995)."""
    import open3d as o3d

    if iterations == 0 or len(mesh.faces) == 0:
        return mesh
    body = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(mesh.vertices), o3d.utility.Vector3iVector(mesh.faces)
    )
    body = body.filter_smooth_taubin(iterations)
    return Mesh(np.asarray(body.vertices), mesh.faces, mesh.rgb)
