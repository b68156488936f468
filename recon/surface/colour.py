"""Vertex colours from the photos that see the vertex."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from recon.surface.depth_maps import DepthMap, pixel_values
from recon.surface.mesh import Mesh

_UNSEEN_GREY = 128
_MIN_COS = 0.05


def coloured(
    mesh: Mesh,
    maps: Sequence[DepthMap],
    images: Mapping[str, UInt8[np.ndarray, "h w 3"]],
    *,
    tolerance: float,
) -> tuple[Mesh, Bool[np.ndarray, " v"]]:
    """Colour each vertex by the photos, weighted to the one that looks closest and straightest.

    A photo sees a vertex when its accepted depth there agrees within `tolerance` (scene units).
    The weight is (cos / depth)^4, relative: near the best photo that one alone, which keeps
    texture sharp, with a soft change-over. Vertices that no photo sees take the colour of the
    nearest seen one.

    Returns:
        The coloured mesh, and per vertex whether a photo saw it.
    """
    total = np.zeros(len(mesh.vertices))
    colour = np.zeros((len(mesh.vertices), 3))
    normals = mesh.vertex_normals
    for m in maps:
        if m.view.name not in images:
            continue
        image = images[m.view.name]
        to_camera = m.view.cam_from_world.centre - mesh.vertices
        cos = (to_camera * normals).sum(1) / np.maximum(np.linalg.norm(to_camera, axis=1), 1e-20)
        uv, depth = m.view.camera.project(m.view.cam_from_world.apply(mesh.vertices))
        known = pixel_values(m.depth[..., None], uv)[:, 0]
        seen = (depth > 0) & (known > 0) & (np.abs(known - depth) < tolerance) & (cos > _MIN_COS)
        weight = (cos[seen] / depth[seen]) ** 4
        size = np.array([m.view.camera.width, m.view.camera.height])
        uv_image = uv[seen] * (np.array([image.shape[1], image.shape[0]]) / size)
        colour[seen] += weight[:, None] * bilinear(image, uv_image)
        total[seen] += weight
    known = total > 0
    rgb = np.full((len(mesh.vertices), 3), _UNSEEN_GREY, dtype=np.uint8)
    rgb[known] = np.round(colour[known] / total[known, None]).astype(np.uint8)
    if known.any() and not known.all():
        from scipy.spatial import cKDTree

        nearest = cKDTree(mesh.vertices[known]).query(mesh.vertices[~known])[1]
        rgb[~known] = rgb[known][nearest]
    return Mesh(mesh.vertices, mesh.faces, rgb), known


def bilinear(
    image: UInt8[np.ndarray, "h w 3"], uv: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 3"]:
    """Colours between pixel centres (at +0.5); the border pixel beyond the outermost centres."""
    h, w = image.shape[:2]
    x = np.clip(uv[:, 0] - 0.5, 0, w - 1)
    y = np.clip(uv[:, 1] - 0.5, 0, h - 1)
    x0 = np.minimum(x.astype(np.int64), max(w - 2, 0))
    y0 = np.minimum(y.astype(np.int64), max(h - 2, 0))
    x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = (1 - fx) * image[y0, x0] + fx * image[y0, x1]
    return (1 - fy) * top + fy * ((1 - fx) * image[y1, x0] + fx * image[y1, x1])
