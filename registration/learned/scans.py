"""Simulated scan fragments of random rooms: what a hand-held depth camera and fusion would give."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.learned.depth_camera import DepthCamera
from registration.learned.rooms import Room, room
from registration.learned.shapes import Mesh, turn_x, turn_z

# Camera axes (x right, y down, z forward) of a camera that looks along the world's +y, z up.
_LEVEL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
VOXEL_M = 0.025  # spacing of a fragment's points, as in the 3DMatch benchmark
_LEAST_SEEN = 0.03  # share of pixels with a depth; frames with fewer are dropped
_HALF_WIDTH_M = 1.53  # the fused volume of a benchmark fragment is a box this wide each side


@dataclass(frozen=True, eq=False)
class Fragment:
    """A fused piece of a room in the frame of its first camera (`cloud.sensor` = zeros), metres."""

    cloud: PointCloud
    world_from_fragment: Rigid3


def fragments(
    rng: np.random.Generator, count: int, *, frames: int = 14, camera: DepthCamera | None = None
) -> list[Fragment]:
    """Fragments along a walk through one random room; neighbours overlap much, others less.

    Args:
        rng: Decides the room, the walk and every noise.
        count: How many fragments.
        frames: Depth frames fused into each.
        camera: The depth camera; None = the default one.
    """
    camera = camera or DepthCamera()
    world = room(rng)
    scene = _raycaster(world.mesh)
    stops = _walk(rng, world, scene, camera, count + 1)
    done = []
    for first, following in pairwise(stops):
        share = rng.uniform(0.4, 1.0)
        path = [_between(first, following, share * k / max(frames - 1, 1)) for k in range(frames)]
        done.append(_fuse(rng, scene, camera, [_jolted(rng, pose) for pose in path]))
    return done


def overlap(a: Fragment, b: Fragment, radius: float = 0.0375) -> float:
    """Share of both clouds' points that have a partner of the other within `radius` metres."""
    xyz_a = a.world_from_fragment.apply(a.cloud.xyz)
    xyz_b = b.world_from_fragment.apply(b.cloud.xyz)
    if not len(xyz_a) or not len(xyz_b):
        return 0.0
    near_a = cKDTree(xyz_b).query(xyz_a, distance_upper_bound=radius)[0] < radius
    near_b = cKDTree(xyz_a).query(xyz_b, distance_upper_bound=radius)[0] < radius
    return float((near_a.sum() + near_b.sum()) / (len(near_a) + len(near_b)))


def save_fragments(file: Path, parts: list[Fragment]) -> None:
    """One NPZ per room: `xyz_<k>` n x 3 float32, `world_from_fragment`, `overlap` count x count."""
    shares = np.eye(len(parts))
    for i in range(len(parts)):
        for j in range(i):
            shares[i, j] = shares[j, i] = overlap(parts[i], parts[j])
    clouds: dict[str, Any] = {
        f"xyz_{k}": part.cloud.xyz.astype(np.float32) for k, part in enumerate(parts)
    }
    poses = np.stack([part.world_from_fragment.matrix for part in parts])
    partial = file.with_suffix(".partial")
    with partial.open("wb") as out:
        np.savez_compressed(out, world_from_fragment=poses, overlap=shares, **clouds)
    partial.replace(file)


def load_fragments(file: Path) -> tuple[list[Fragment], Float[np.ndarray, "k k"]]:
    """The fragments of a room and their pairwise overlaps."""
    with np.load(file) as data:
        parts = []
        for k, pose in enumerate(data["world_from_fragment"]):
            name = f"{file.stem}/{k}"
            cloud = PointCloud(data[f"xyz_{k}"], sensor=np.zeros(3), name=name)
            parts.append(Fragment(cloud, Rigid3.from_matrix(pose)))
        return parts, data["overlap"]


def _raycaster(mesh: Mesh):
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(mesh.vertices.astype(np.float32)),
        o3d.core.Tensor.from_numpy(mesh.triangles.astype(np.uint32)),
    )
    return scene


@dataclass(frozen=True, eq=False)
class _Stop:
    """Where the walker stands and looks: radians, metres; pitch > 0 looks down."""

    xyz: Float[np.ndarray, " 3"]
    yaw: float
    pitch: float
    roll: float

    def world_from_cam(self) -> Rigid3:
        R = turn_z(self.yaw) @ _LEVEL @ turn_x(-self.pitch) @ turn_z(self.roll)
        return Rigid3(R, self.xyz)


def _between(a: _Stop, b: _Stop, share: float) -> _Stop:
    """Linear between two stops (yaw is unwrapped along a walk)."""
    one, two = 1 - share, share
    return _Stop(
        one * a.xyz + two * b.xyz,
        one * a.yaw + two * b.yaw,
        one * a.pitch + two * b.pitch,
        one * a.roll + two * b.roll,
    )


def _jolted(rng: np.random.Generator, stop: _Stop) -> Rigid3:
    """A hand shakes: about a centimetre and a degree."""
    shaken = _Stop(
        stop.xyz + rng.normal(0, 0.012, 3),
        stop.yaw + rng.normal(0, 0.015),
        stop.pitch + rng.normal(0, 0.015),
        stop.roll + rng.normal(0, 0.015),
    )
    return shaken.world_from_cam()


def _walk(
    rng: np.random.Generator, world: Room, scene, camera: DepthCamera, count: int
) -> list[_Stop]:
    """Stops that turn mostly one way; each the best of some candidates by what can be seen."""
    way = rng.choice([-1.0, 1.0])
    stops: list[_Stop] = []
    for _ in range(count):
        if rng.random() < 0.12:
            way = -way
        last = stops[-1] if stops else None
        candidates = [_candidate(rng, world, last, way) for _ in range(12 if stops else 30)]
        scores = [_worth(scene, camera, stop) for stop in candidates]
        stops.append(candidates[int(np.argmax(scores))])
    return stops


def _candidate(rng: np.random.Generator, world: Room, last: _Stop | None, way: float) -> _Stop:
    size = np.array([world.width, world.depth])
    tilt = np.deg2rad(rng.uniform(-5, 40))
    roll = rng.normal(0, 0.1)
    if last is None:
        xyz = np.array([*rng.uniform(0.2, 0.8, 2) * size, rng.uniform(1.1, 1.7)])
        return _Stop(xyz, rng.uniform(-np.pi, np.pi), tilt, roll)
    yaw = last.yaw + way * np.deg2rad(rng.uniform(8, 45))
    step = rng.normal(0, 0.45, 3) * [1, 1, 0.4]
    xyz = last.xyz + step
    xyz[:2] = np.clip(xyz[:2], 0.15 * size, 0.85 * size)
    xyz[2] = np.clip(xyz[2], 0.9, min(1.8, world.height - 0.4))
    return _Stop(xyz, yaw, 0.7 * tilt + 0.3 * last.pitch, roll)


def _worth(scene, camera: DepthCamera, stop: _Stop) -> float:
    """Share of pixels at a comfortable distance, less when something is too near to the camera."""
    depth, cosine = camera.render(scene, stop.world_from_cam(), step=16)
    good = (depth > 0.9) & (depth < 3.3) & (cosine > 0.2)
    clearance = float(np.nanmin(depth))
    variety = float(np.std(np.clip(depth, 0, 4.0)))
    return float(good.mean()) + 0.2 * min(variety, 0.6) - (2.0 if clearance < 0.45 else 0.0)


def _drift(rng: np.random.Generator, frames: int) -> list[Rigid3]:
    """Accumulated tracking error of each frame: about 1 degree and 2 cm after 14 frames."""
    error, errors = Rigid3.identity(), []
    for _ in range(frames):
        errors.append(error)
        turn = _small_rotation(rng.normal(0, 0.0027, 3))
        error = Rigid3(turn, rng.normal(0, 0.0030, 3)) @ error
    return errors


def _small_rotation(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation of a small axis-angle vector, exactly orthonormal (Cayley)."""
    x, y, z = vector / 2
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.solve(np.eye(3) - skew, np.eye(3) + skew)


def _fuse(rng: np.random.Generator, scene, camera: DepthCamera, path: list[Rigid3]) -> Fragment:
    """Depth frames along a path of true poses, fused under drifting poses.

    The truncated signed distance volume has 1 cm voxels; its surface points are averaged over
    voxels of `VOXEL_M`.
    """
    import open3d as o3d

    scalar, one = o3d.core.float32, o3d.core.SizeVector([1])
    volume = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"), (scalar, scalar), (one, one), 0.01, 16, 5000
    )
    tensor = o3d.core.Tensor.from_numpy
    K = tensor(camera.matrix())
    world_from_fragment, warp, fused = path[0], camera.warp(rng), 0
    for world_from_cam, error in zip(path, _drift(rng, len(path)), strict=True):
        seen = camera.see(scene, world_from_cam, rng, warp)
        if (seen > 0).mean() < _LEAST_SEEN:
            continue
        depth = o3d.t.geometry.Image(tensor(seen))
        cam_from_fragment = error @ world_from_cam.inverse() @ world_from_fragment
        view = (depth, K, tensor(cam_from_fragment.matrix), 1.0, camera.far, 4.0)
        blocks = volume.compute_unique_block_coordinates(*view)
        volume.integrate(blocks, *view)
        fused += 1
    if not fused:
        return Fragment(PointCloud(np.zeros((0, 3)), sensor=np.zeros(3)), world_from_fragment)
    xyz = volume.extract_point_cloud(1.5).point.positions.numpy().astype(np.float64)
    inside = (np.abs(xyz[:, :2]) < _HALF_WIDTH_M).all(1) & (xyz[:, 2] > 0.5)
    cloud = PointCloud(_voxel_means(xyz[inside], VOXEL_M), sensor=np.zeros(3))
    return Fragment(cloud, world_from_fragment)


def _voxel_means(xyz: Float[np.ndarray, "n 3"], voxel: float) -> Float[np.ndarray, "m 3"]:
    """Mean of the points in each voxel; the same whatever order the points come in."""
    cell = np.floor(xyz / voxel).astype(np.int64)
    order = np.lexsort((*xyz.T, *cell.T))
    xyz, cell = xyz[order], cell[order]
    first = np.flatnonzero(np.r_[True, (np.diff(cell, axis=0) != 0).any(1)][: len(xyz)])
    if not len(first):
        return np.zeros((0, 3))
    counts = np.diff(np.r_[first, len(xyz)])
    return np.add.reduceat(xyz, first) / counts[:, None]
