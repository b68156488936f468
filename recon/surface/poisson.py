"""Poisson reconstruction of the accepted depth pixels, trimmed to where they support it.

Source: Kazhdan and Hoppe, Screened Poisson Surface Reconstruction, ToG 2013 (Open3D's build of it).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from recon.surface.depth_maps import DepthMap, normals_in_camera, pixel_points
from recon.surface.tsdf import Box

_MOST_POINTS = 2_000_000
_DEEPEST = 11  # of the octree; each level doubles the resolution and roughly quadruples the memory


def oriented_points(
    maps: Sequence[DepthMap], box: Box
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """World points of the accepted pixels inside the box, and unit normals toward their camera."""
    total = sum(int((m.depth > 0).sum()) for m in maps)
    stride = max(1, int(np.ceil(np.sqrt(total / _MOST_POINTS))))
    xyz, normals = [], []
    for m in maps:
        points, _ = pixel_points(m, stride)
        part = (slice(stride // 2, None, stride),) * 2
        local = normals_in_camera(m.depth, m.view.camera)[part][m.depth[part] > 0]
        keep = box.contains(points) & (np.abs(local).sum(axis=1) > 0)
        xyz.append(points[keep])
        normals.append(local[keep] @ m.view.cam_from_world.R)
    return np.concatenate(xyz), np.concatenate(normals)


def poisson(
    maps: Sequence[DepthMap], *, voxel: float, support: float, box: Box
) -> tuple[Float[np.ndarray, "v 3"], np.ndarray]:
    """The screened Poisson surface, without what lies farther than `support` from every point.

    Poisson closes whatever is open; the trimming takes back what it made up.

    Args:
        maps: Accepted depth.
        voxel: Finest cell, scene units; coarser where the octree's depth limit says so.
        support: Scene units.
        box: Where the surface is wanted.

    Returns:
        vertices (world) and triangles, counter-clockwise seen from the cameras' side.
    """
    import open3d as o3d
    from scipy.spatial import cKDTree

    from recon.surface.clean import drop_unused

    xyz, normals = oriented_points(maps, box)
    if len(xyz) < 10:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    origin = 0.5 * (box.low + box.high)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(xyz - origin))
    cloud.normals = o3d.utility.Vector3dVector(normals)
    extent = 1.1 * float((box.high - box.low).max())
    depth = int(np.clip(np.ceil(np.log2(extent / voxel)), 5, _DEEPEST))
    # One thread: with more, the solver sums in an order that changes the last digits.
    mesh, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
        cloud, depth=depth, n_threads=1
    )
    vertices = np.asarray(mesh.vertices) + origin
    near = cKDTree(xyz).query(vertices, distance_upper_bound=support, workers=-1)[0] <= support
    faces = np.asarray(mesh.triangles)
    vertices, faces = drop_unused(vertices, faces[near[faces].all(axis=1)])
    return vertices, faces.astype(np.int32)
