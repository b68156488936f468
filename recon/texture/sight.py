"""What each photo sees of a mesh: depth pictures, and how well every face is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from recon.scene import View
from recon.surface.mesh import Mesh

SLACK = 1.5  # a point is seen when it lies no deeper than so many pixel footprints, slant included
_MIN_COS = 0.1


@dataclass(frozen=True, eq=False)
class Sight:
    """One photo, its camera resized to the photo's pixels, and the mesh's depth in each pixel."""

    view: View
    photo: UInt8[np.ndarray, "h w 3"]
    depth: Float32[np.ndarray, "h w"]  # z of the mesh; inf where there is none
    edge: Float32[np.ndarray, "h w"]  # px to the nearest depth edge, picture border or masked pixel


def sights(
    mesh: Mesh,
    views: Sequence[View],
    photos: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray] | None = None,
) -> list[Sight]:
    """One per view that has a photo.

    Args:
        mesh: World coordinates.
        views: Cameras; their photos may have other sizes of the same shape.
        photos: By view name, h w 3 bytes.
        masks: By view name, h w of the photo or the camera, true where the photo may be used.
    """
    import open3d as o3d

    origin = mesh.vertices.mean(axis=0)  # float32 rays need small numbers
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy((mesh.vertices - origin).astype(np.float32)),
        o3d.core.Tensor.from_numpy(mesh.faces.astype(np.uint32)),
    )
    found = []
    for view in views:
        if view.name not in photos:
            continue
        photo = photos[view.name]
        camera = view.camera.resized(photo.shape[1], photo.shape[0])
        own = View(view.name, camera, view.cam_from_world)
        y, x = np.mgrid[: camera.height, : camera.width] + 0.5
        rays = camera.unproject(np.stack([x, y], -1), np.ones(x.shape)) @ view.cam_from_world.R
        start = np.broadcast_to(view.cam_from_world.centre - origin, rays.shape)
        hit = scene.cast_rays(
            o3d.core.Tensor.from_numpy(np.concatenate([start, rays], -1).astype(np.float32))
        )
        depth = hit["t_hit"].numpy()
        mask = (masks or {}).get(view.name)
        found.append(Sight(own, photo, depth, _edge_distance(depth, camera.K[0, 0], mask)))
    return found


def _edge_distance(
    depth: Float32[np.ndarray, "h w"], focal: float, mask: np.ndarray | None
) -> Float32[np.ndarray, "h w"]:
    """Pixels to where the photo stops showing this surface: there its colours mix with others."""
    from scipy.ndimage import distance_transform_edt

    flat = np.where(np.isfinite(depth), depth, 0)
    # a step that no surface flatter than 84 degrees makes from one pixel to the next
    limit = 10.0 * flat / focal
    good = np.ones((depth.shape[0] + 2, depth.shape[1] + 2), dtype=bool)
    good[[0, -1]] = good[:, [0, -1]] = False
    inner = good[1:-1, 1:-1]
    inner &= flat > 0
    for axis in (0, 1):
        step = np.abs(np.diff(flat, axis=axis)) > np.minimum(
            *(
                np.take(limit, r, axis)
                for r in (range(1, flat.shape[axis]), range(flat.shape[axis] - 1))
            )
        )
        ahead, behind = [slice(None)] * 2, [slice(None)] * 2
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        inner[tuple(ahead)] &= ~step
        inner[tuple(behind)] &= ~step
    if mask is not None:
        if mask.shape != depth.shape:
            from PIL import Image as PilImage

            small = PilImage.fromarray(mask.astype(np.uint8) * 255)
            mask = np.asarray(small.resize(depth.shape[::-1], PilImage.Resampling.NEAREST)) > 127
        inner &= mask
    return distance_transform_edt(good)[1:-1, 1:-1].astype(np.float32)


def face_scores(mesh: Mesh, seen: Sequence[Sight]) -> Float[np.ndarray, "s f"]:
    """Per photo and face the pixels that show it: its area in the photo; 0 where it is hidden.

    A face counts as shown when its three corners and its middle are.
    """
    from recon.texture.kernels import visible

    cross = mesh.face_cross
    middle = mesh.vertices[mesh.faces].mean(axis=1)
    points = np.concatenate([mesh.vertices, middle])
    scores = np.zeros((len(seen), len(mesh.faces)))
    for i, s in enumerate(seen):
        pose = s.view.cam_from_world
        normals = np.concatenate([mesh.vertex_normals, cross / _length(cross)])
        shown = visible(points, normals, s.view.camera.K, pose.R, pose.t, s.depth, SLACK)
        whole = shown[mesh.faces].all(axis=1) & shown[len(mesh.vertices) :]
        ray = pose.centre - middle
        distance = np.linalg.norm(ray, axis=1)
        cos = (ray * cross).sum(axis=1) / (distance * _length(cross)[:, 0])
        uv, _ = s.view.camera.project(pose.apply(mesh.vertices))
        a, b, c = (uv[mesh.faces[:, k]] for k in range(3))
        area = 0.5 * np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
        scores[i] = np.where(whole & (cos > _MIN_COS) & np.isfinite(area), area, 0.0)
    return scores


def _length(cross: np.ndarray) -> np.ndarray:
    return np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-300)
