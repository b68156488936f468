"""Meshes and points coloured by how far off they are, and pictures of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from corr.geometry import Camera, Rigid3
from recon.scene import View
from recon.surface.compare import Comparison
from recon.surface.mesh import Mesh
from recon.surface.preview import draw, viewpoints

# From right to wrong; even steps of lightness, told apart by colour-blind eyes too.
_STOPS = np.array(
    [(40, 70, 130), (60, 140, 165), (150, 200, 160), (245, 220, 120), (235, 130, 60), (165, 30, 50)]
)
UNJUDGED = np.array([150, 150, 150])  # outside what the truth knows


def error_colours(distance: Float[np.ndarray, " n"], full: float) -> UInt8[np.ndarray, "n 3"]:
    """Blue at 0 to dark red at `full` and beyond."""
    at = np.clip(np.nan_to_num(distance / full, nan=1.0, posinf=1.0), 0, 1) * (len(_STOPS) - 1)
    low = np.minimum(at.astype(int), len(_STOPS) - 2)
    share = (at - low)[:, None]
    return np.round((1 - share) * _STOPS[low] + share * _STOPS[low + 1]).astype(np.uint8)


def coloured_mesh(mesh: Mesh, found: Comparison, *, full: float, reach: float) -> Mesh:
    """The mesh (truth's frame) with the error of the nearest judged sample on each vertex."""
    from scipy.spatial import cKDTree

    rgb = np.tile(UNJUDGED, (len(mesh.vertices), 1)).astype(np.uint8)
    if len(found.samples) and len(mesh.vertices):
        gap, index = cKDTree(found.samples).query(mesh.vertices, workers=-1)
        near = gap <= reach
        rgb[near] = error_colours(found.to_truth[index[near]], full)
    return Mesh(mesh.vertices, mesh.faces, rgb)


def error_views(
    mesh: Mesh, found: Comparison, views: Sequence[View], *, full: float, count: int = 3
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pictures of the coloured mesh, and of the true points by distance to it, from equal sides."""
    size = (640, 480)
    body = Mesh(found.truth.xyz, np.zeros((0, 3), np.int32), np.zeros((len(found.truth.xyz), 3)))
    cameras = viewpoints(body, views, count=count, size=size)
    colours = error_colours(found.to_mesh, full)
    return (
        [draw(mesh, camera, pose) for camera, pose in cameras],
        [draw_points(found.truth.xyz, colours, found.truth.spacing, *c) for c in cameras],
    )


def draw_points(
    xyz: Float[np.ndarray, "n 3"],
    rgb: UInt8[np.ndarray, "n 3"],
    spacing: float,
    camera: Camera,
    cam_from_world: Rigid3,
) -> UInt8[np.ndarray, "h w 3"]:
    """Points as squares about 1.5 spacings wide, near ones over far ones, on white."""
    uv, z = camera.project(cam_from_world.apply(xyz))
    picture = np.full((camera.height, camera.width, 3), 255, np.uint8)
    ahead = z > 0
    uv, z, rgb = uv[ahead], z[ahead], rgb[ahead]
    if len(z) == 0:
        return picture
    side = int(np.clip(np.ceil(1.5 * spacing * camera.K[0, 0] / np.median(z)), 1, 9))
    column, row = (np.floor(uv).astype(np.int64) - side // 2).T
    step = np.arange(side)
    x = (column[:, None, None] + step).repeat(side, axis=1)
    y = (row[:, None, None] + step[:, None]).repeat(side, axis=2)
    inside = (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    owner = np.broadcast_to(np.arange(len(z))[:, None, None], x.shape)[inside]
    far_first = np.argsort(-z[owner], kind="stable")  # of one pixel's points the last one stays
    picture[y[inside][far_first], x[inside][far_first]] = rgb[owner[far_first]]
    return picture
