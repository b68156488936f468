"""A furnished room seen from several places: fragments with known poses, in official files."""

from pathlib import Path

import numpy as np
import open3d as o3d
from scipy.spatial.transform import Rotation

from corr.geometry.rigid import Rigid3
from registration.datasets.logs import write_poses

SPACING, VOXEL = 0.07, 0.11  # m
LOOK = 2.3  # m, a fragment holds what lies so near to its middle


def room(seed: int = 3) -> np.ndarray:
    """Points on the floor, two walls and a few boxes of different sizes; metres."""
    rng = np.random.default_rng(seed)
    panes = [_pane((0, 0, 0), (5, 0, 0), (0, 4, 0)), _pane((0, 0, 0), (5, 0, 0), (0, 0, 2.2)),
             _pane((0, 0, 0), (0, 4, 0), (0, 0, 2.2))]  # fmt: skip
    for _ in range(9):
        size = rng.uniform(0.35, 1.2, 3)
        corner = np.append(rng.uniform((0.2, 0.2), (4, 3)), 0)
        a, b, c = np.diag(size) @ Rotation.from_rotvec([0, 0, rng.uniform(0, 3)]).as_matrix()
        panes += [_pane(corner, a, c), _pane(corner, b, c), _pane(corner + c, a, b),
                  _pane(corner + b, a, c), _pane(corner + a, b, c)]  # fmt: skip
    return np.vstack(panes) + rng.normal(0, 0.003, (sum(map(len, panes)), 3))


def _pane(corner, a, b) -> np.ndarray:
    corner, a, b = (np.asarray(v, dtype=float) for v in (corner, a, b))
    u = np.arange(0, 1, SPACING / np.linalg.norm(a))
    v = np.arange(0, 1, SPACING / np.linalg.norm(b))
    return corner + u.repeat(len(v))[:, None] * a + np.tile(v, len(u))[:, None] * b


def poses(count: int, seed: int = 5) -> list[Rigid3]:
    """`world_from_fragment` of scanners that walk through the room, each turned at random."""
    rng = np.random.default_rng(seed)
    path = np.column_stack(
        [np.linspace(1.6, 2.7, count), np.linspace(1.4, 2.2, count), np.full(count, 1.3)]
    )
    return [Rigid3(Rotation.from_quat(rng.normal(size=4)).as_matrix(), c) for c in path]


def fragment(world: np.ndarray, world_from_fragment: Rigid3) -> np.ndarray:
    """The points near the scanner, in its frame."""
    near = np.linalg.norm(world - world_from_fragment.t, axis=1) < LOOK
    return world_from_fragment.inverse().apply(world[near])


def write_cloud(path: Path, xyz: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(xyz))
    assert o3d.io.write_point_cloud(path, cloud)


def info_of(xyz: np.ndarray) -> np.ndarray:
    """The toolbox's information matrix of correspondences: G = [I, -2 [x]] per point."""
    total = np.zeros((6, 6))
    for x, y, z in xyz[:: max(1, len(xyz) // 200)]:
        skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        g = np.hstack([np.eye(3), -2 * skew])
        total += g.T @ g
    return total


def write_records(path: Path, records: dict[tuple[int, int], np.ndarray], count: int) -> None:
    """An `.info` file."""
    lines = []
    for (i, j), matrix in records.items():
        lines += [f"{i}\t{j}\t{count}", *("\t".join(f"{v:.8e}" for v in row) for row in matrix)]
    path.write_text("\n".join(lines) + "\n")


def write_truth(folder: Path, truth: list[Rigid3], pairs: list[tuple[int, int]], xyz) -> None:
    """`gt.log`, `gt.info` and `gt_overlap.log`."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(truth)
    write_poses(folder / "gt.log", {(i, j): truth[i].inverse() @ truth[j] for i, j in pairs}, count)
    write_records(folder / "gt.info", {(i, j): info_of(xyz[i]) for i, j in pairs}, count)
    (folder / "gt_overlap.log").write_text("".join(f"{i},{j},0.{4 + (i + j) % 5}\n"
                                                   for i, j in pairs))  # fmt: skip


def write_scene(root: Path, name: str, truth_folder: Path, count: int = 4, seed: int = 3):
    """A scene of `count` fragments, all pairs in the truth; returns the true poses."""
    world, truth = room(seed), poses(count, seed)
    xyz = [fragment(world, pose) for pose in truth]
    for k, points in enumerate(xyz):
        write_cloud(root / name / f"cloud_bin_{k}.ply", points)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    write_truth(truth_folder, truth, pairs, xyz)
    return truth
