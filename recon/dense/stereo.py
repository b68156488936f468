"""Depth and normal maps of every view by PatchMatch stereo that starts from the sparse tracks."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from tqdm import tqdm

from corr.geometry import Camera
from recon.dense import kernels
from recon.scene import Reconstruction, View

log = logging.getLogger(__name__)
SIGMA_COLOUR = 0.12  # grey values in [0, 1]: patch pixels of another object count little
JITTER = 0.06  # first relative depth step of the random search; halves with every iteration


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Depth (z, scene units), unit normal (camera frame, facing the camera) and cost per pixel.

    The cost is 1 - NCC in [0, 2]; `camera` is the map's own pixel grid.
    """

    view: View
    camera: Camera
    depth: Float32[np.ndarray, "h w"]
    normal: Float32[np.ndarray, "h w 3"]
    cost: Float32[np.ndarray, "h w"]


def grey(rgb: UInt8[np.ndarray, "h w 3"], width: int, height: int) -> Float32[np.ndarray, "h2 w2"]:
    """Grey values in [0, 1] at another size (area filter, whole extent to whole extent)."""
    import cv2

    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return (small @ np.array([0.299, 0.587, 0.114], np.float32) / 255.0).astype(np.float32)


def depth_maps(
    reconstruction: Reconstruction,
    pictures: Mapping[str, UInt8[np.ndarray, "h w 3"]],
    neighbours: Sequence[Sequence[int]],
    *,
    max_side: int,
    iterations: int,
) -> list[DepthMap]:
    """A depth map for every view that has neighbours and sparse points.

    Deterministic for any number of threads: randomness is a hash of pixel and iteration.
    """
    cameras = [shrunk(view.camera, max_side) for view in reconstruction.views]
    greys = [
        grey(pictures[view.name], camera.width, camera.height)
        for view, camera in zip(reconstruction.views, cameras, strict=True)
    ]
    maps = []
    for i in tqdm(range(len(cameras)), desc="dense matching", unit="photo"):
        sparse = sparse_depths(reconstruction, i, cameras[i])
        if not neighbours[i] or len(sparse) < 4:
            log.info("dense matching: %s skipped, no covisible photo", reconstruction.views[i].name)
            continue
        maps.append(_one_map(reconstruction, i, neighbours[i], cameras, greys, sparse, iterations))
    return maps


def shrunk(camera: Camera, max_side: int) -> Camera:
    """The camera with its longer side at most `max_side` pixels."""
    factor = min(1.0, max_side / max(camera.width, camera.height))
    return camera.resized(round(camera.width * factor), round(camera.height * factor))


def sparse_depths(
    reconstruction: Reconstruction, index: int, camera: Camera
) -> Float[np.ndarray, "n 3"]:
    """(u, v, depth) of the tracks that a view observes, in the pixels of `camera`."""
    tracks = reconstruction.tracks
    points = reconstruction.xyz_world[tracks.track[tracks.image == index]]
    uv, depth = camera.project(reconstruction.views[index].cam_from_world.apply(points))
    inside = (depth > 0) & (uv > 0).all(1) & (uv[:, 0] < camera.width) & (uv[:, 1] < camera.height)
    return np.column_stack([uv, depth])[inside]


def interpolate_depth(
    sparse: Float[np.ndarray, "n 3"], camera: Camera
) -> Float32[np.ndarray, "h w"]:
    """Inverse depth interpolated over the Delaunay triangles, nearest where there are none."""
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
    from scipy.spatial import QhullError

    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    inverse = 1.0 / sparse[:, 2]
    nearest = NearestNDInterpolator(sparse[:, :2], inverse)(u, v)
    try:
        linear = LinearNDInterpolator(sparse[:, :2], inverse)(u, v)
    except QhullError:  # too few points, or all on one line: no triangles
        linear = nearest
    nearest = np.where(np.isfinite(linear), linear, nearest)
    return (1.0 / nearest).astype(np.float32)


def _one_map(
    reconstruction: Reconstruction,
    index: int,
    neighbours: Sequence[int],
    cameras: Sequence[Camera],
    greys: Sequence[np.ndarray],
    sparse: np.ndarray,
    iterations: int,
) -> DepthMap:
    view, camera, ref = reconstruction.views[index], cameras[index], greys[index]
    K_inv = np.linalg.inv(camera.K)
    Ms, ps = [], []
    for j in neighbours:
        j_from_i = reconstruction.views[j].cam_from_world @ view.cam_from_world.inverse()
        Ms.append(cameras[j].K @ j_from_i.R @ K_inv)
        ps.append(cameras[j].K @ j_from_i.t)
    others, sizes = _stack([greys[j] for j in neighbours])
    near = np.float32(np.percentile(sparse[:, 2], 1) * 0.6)
    far = np.float32(np.percentile(sparse[:, 2], 99) * 1.8)
    inv_k = np.array([camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]], np.float32)
    depth = np.clip(interpolate_depth(sparse, camera), near, far)
    normal = facing_normals(depth, camera)
    M, p = np.array(Ms, np.float32), np.array(ps, np.float32)
    best = min(2, len(neighbours))
    cost = np.empty_like(depth)
    sigma = np.float32(SIGMA_COLOUR)
    kernels.score_all(ref, others, sizes, M, p, inv_k, depth, normal, sigma, best, cost)
    for iteration in range(iterations):
        jitter = np.float32(JITTER * 0.5**iteration + 0.002)
        for colour in (0, 1):
            kernels.sweep(
                ref, others, sizes, M, p, inv_k, depth, normal, cost, colour,
                2 * iteration + colour, near, far, sigma, best, jitter,
            )  # fmt: skip
    return DepthMap(view, camera, depth, normal, cost)


def _stack(
    pictures: Sequence[np.ndarray],
) -> tuple[Float32[np.ndarray, "n h w"], Int[np.ndarray, "n 2"]]:
    """Pictures of unequal size in one array, and the part of it that each one fills."""
    sizes = np.array([p.shape for p in pictures])
    stacked = np.zeros((len(pictures), *sizes.max(0)), np.float32)
    for target, picture in zip(stacked, pictures, strict=True):
        target[: picture.shape[0], : picture.shape[1]] = picture
    return stacked, sizes


def facing_normals(
    depth: Float32[np.ndarray, "h w"], camera: Camera
) -> Float32[np.ndarray, "h w 3"]:
    """Normals of the surface that a depth map draws, flipped towards the camera."""
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    xyz = camera.unproject(np.stack([u, v], -1), depth.astype(np.float64))
    along_u = np.gradient(xyz, axis=1)
    along_v = np.gradient(xyz, axis=0)
    normal = np.cross(along_v, along_u)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
    steep = normal[..., 2] > -0.2  # grazing or facing away: start from fronto-parallel
    normal[steep] = np.array([0.0, 0.0, -1.0])
    return normal.astype(np.float32)


def valid_mask(depth_map: DepthMap, max_cost: float) -> Bool[np.ndarray, "h w"]:
    """Pixels whose patch was found again: cost below the limit."""
    return depth_map.cost < max_cost
