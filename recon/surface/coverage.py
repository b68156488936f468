"""How the photos cover a mesh: views, angles, what a pixel of error would do, per vertex."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from recon.surface.mesh import Mesh
from recon.texture.sight import SLACK, Sight


@dataclass(frozen=True, eq=False)
class Coverage:
    """Per vertex; what no photo sees has no views, angle 90 degrees and sigma inf."""

    views: Int[np.ndarray, " v"]  # photos that see it
    angle_deg: Float[np.ndarray, " v"]  # between the normal and the straightest ray to a photo
    sigma: Float[np.ndarray, " v"]  # scene units, see `coverage`; inf for fewer than two views
    photo: Int[np.ndarray, " v"]  # index of the photo that looks straightest, -1 for none


def coverage(mesh: Mesh, seen: Sequence[Sight], *, noise_px: float = 0.5) -> Coverage:
    """Count views, find the best angle, and carry pixel noise to the vertex.

    Sigma is the standard deviation along the worst direction of a point triangulated from the
    photos that see it, each with independent noise of `noise_px` in either direction and exact
    cameras: the root of the largest eigenvalue of (sum J^T J / noise^2)^-1, with J the derivative
    of the pixel by the point. It says what the geometry allows, not what the matching reached.

    Args:
        mesh: World coordinates.
        seen: From `sights`.
        noise_px: Pixels of the photos that the cameras of `seen` have.
    """
    from recon.texture.kernels import visible

    count = len(mesh.vertices)
    normals = mesh.vertex_normals
    views = np.zeros(count, dtype=np.int64)
    best = np.zeros(count)
    photo = np.full(count, -1, dtype=np.int64)
    information = np.zeros((count, 3, 3))
    for index, s in enumerate(seen):
        pose, K = s.view.cam_from_world, s.view.camera.K
        R = np.ascontiguousarray(pose.R)
        hit = visible(mesh.vertices, normals, K, R, pose.t, s.depth, SLACK)
        local = pose.apply(mesh.vertices[hit])
        ray = pose.centre - mesh.vertices[hit]
        cos = (ray * normals[hit]).sum(axis=1) / np.linalg.norm(ray, axis=1)
        straighter = np.zeros(count, dtype=bool)
        straighter[hit] = cos > best[hit]
        photo[straighter] = index
        best[hit] = np.maximum(best[hit], cos)
        views[hit] += 1
        J = np.zeros((len(local), 2, 3))
        for axis in (0, 1):
            J[:, axis, axis] = K[axis, axis] / local[:, 2]
            J[:, axis, 2] = -K[axis, axis] * local[:, axis] / local[:, 2] ** 2
        J = J @ R
        information[hit] += np.swapaxes(J, 1, 2) @ J / noise_px**2
    sigma = np.full(count, np.inf)
    enough = views >= 2
    smallest = np.linalg.eigvalsh(information[enough])[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma[enough] = np.where(smallest > 0, 1 / np.sqrt(smallest), np.inf)
    angle = np.degrees(np.arccos(np.clip(best, 0, 1)))
    return Coverage(views, np.where(views > 0, angle, 90.0), sigma, photo)


def vertex_areas(mesh: Mesh) -> Float[np.ndarray, " v"]:
    """A third of the area of each face around a vertex."""
    thirds = np.repeat(mesh.face_areas / 3, 3)
    return np.bincount(mesh.faces.ravel(), thirds, minlength=len(mesh.vertices))
