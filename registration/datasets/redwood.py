"""Multi-way scenes: augmented ICL-NUIM and Redwood fragments, and 3DMatch scenes seen as a whole.

Layouts per scene: `<root>/<scene>/fragments/fragment_000.ply` (Open3D's reconstruction system) or
`<root>/<scene>/cloud_bin_N.ply`; the truth is a Redwood trajectory (`<root>/<scene>-traj.txt`,
`<scene>/trajectory.log`, `<scene>/gt-traj.txt`: one `world_from_camera` per frame, every
`frames_per_fragment`-th starts a fragment) or pairs in `<root>/<scene>-evaluation/gt.log`.

Source: Choi, Zhou, Koltun, CVPR 2015; redwood-data.org/indoor.
"""

import re
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from corr.errors import UserError
from corr.geometry.rigid import Rigid3
from registration.datasets.benchmark import Benchmark, FragmentPair, Scene
from registration.datasets.logs import read_poses
from registration.datasets.threedmatch import SceneFolders, list_fragments, read_scene
from registration.files import read_cloud

SCENES = ("livingroom1", "livingroom2", "office1", "office2")
VOXEL_M = 0.05
MIN_OVERLAP = 0.3
_FRAGMENT = re.compile(r"fragment_(\d+)\.ply$")


def read_icl_nuim(root: Path, *, frames_per_fragment: int = 100) -> Benchmark:
    """Read the scenes that are there, with the truth that they have.

    Raises:
        UserError: No scene is complete.
    """
    if not root.is_dir():
        raise UserError(f"data={root} is not a folder; it must hold <scene>/fragments/*.ply")
    scenes, missing, reasons = [], [], []
    for name in _names(root):
        folder = scene_folder(root, name)
        if folder is None or not find_fragments(folder):
            reasons.append(f"{root / name} has no fragments (fragments/fragment_000.ply, …)")
        elif (truth := pair_file(root, folder.name)) is not None:
            scenes.append(read_scene(SceneFolders(name, fragment_folder(folder), truth.parent)))
            continue
        elif (trajectory := trajectory_file(root, folder.name)) is not None:
            scenes.append(_from_trajectory(name, folder, trajectory, frames_per_fragment))
            continue
        else:
            reasons.append(f"no truth for {name}: {name}-traj.txt or {name}-evaluation/gt.log")
        missing.append(name)
    if not scenes:
        raise UserError(f"no ICL-NUIM scene is complete in {root}: {reasons[0]}")
    return Benchmark("ICL-NUIM", VOXEL_M, tuple(scenes), tuple(missing))


def _names(root: Path) -> list[str]:
    extra = {p.name for p in root.iterdir() if p.is_dir() and find_fragments(p)}
    known = {n for n in extra if any(_plain(n) == s for s in SCENES)}
    return [*SCENES, *sorted(extra - known)]


def _plain(name: str) -> str:
    return name.removeprefix("iclnuim-").replace("-", "")


def scene_folder(root: Path, name: str) -> Path | None:
    """`<root>/<name>`, also as `iclnuim-<name>` and with hyphens (`living-room1`)."""
    if (root / name).is_dir():
        return root / name
    fits = [p for p in sorted(root.iterdir()) if p.is_dir() and _plain(p.name) == name]
    return fits[0] if fits else None


def fragment_folder(folder: Path) -> Path:
    """Where the fragments of a scene lie: its own folder, or `fragments` in it."""
    return folder / "fragments" if (folder / "fragments").is_dir() else folder


def find_fragments(folder: Path) -> dict[int, Path]:
    """`{index: file}` of a scene folder in any of the layouts; empty when there are none."""
    inside = fragment_folder(folder)
    found = {int(m[1]): p for p in inside.iterdir() if (m := _FRAGMENT.match(p.name))}
    return dict(sorted(found.items())) or list_fragments(inside)


def pair_file(root: Path, name: str) -> Path | None:
    """The scene's `gt.log`, if there is one."""
    tries = (root / f"{name}-evaluation" / "gt.log", root / name / "gt.log")
    return next((p for p in tries if p.is_file()), None)


def trajectory_file(root: Path, name: str) -> Path | None:
    """The scene's trajectory, if there is one."""
    inside = root / name
    tries = (root / f"{name}-traj.txt", inside / f"{name}-traj.txt", inside / "gt-traj.txt",
             inside / "trajectory.log", root / f"{name}.log")  # fmt: skip
    return next((p for p in tries if p.is_file()), None)


def world_from_fragments(path: Path, *, frames_per_fragment: int) -> dict[int, Rigid3]:
    """The pose of each fragment's first frame, from a trajectory of all frames.

    Args:
        path: Redwood trajectory.
        frames_per_fragment: Frames fused into one fragment; 1 = the file has a pose per fragment.
    """
    poses = {i: pose for (i, _), pose in read_poses(path).items()}
    step = frames_per_fragment
    return {i // step: pose for i, pose in poses.items() if i % step == 0}


def _from_trajectory(name: str, folder: Path, trajectory: Path, frames: int) -> Scene:
    fragments = find_fragments(folder)
    poses = world_from_fragments(trajectory, frames_per_fragment=frames)
    absent = sorted(set(fragments) - set(poses))
    if absent:
        raise UserError(
            f"{trajectory} ends before fragment {absent[0]} of {name} "
            f"({frames} frames a fragment); is it another scene's?"
        )
    return Scene(name, fragments, tuple(_overlapping(name, fragments, poses)))


def _overlapping(name: str, fragments: dict[int, Path], poses: dict[int, Rigid3]):
    """The pairs of which 30 % of the smaller fragment was seen by both (1.5 voxels)."""
    world = {i: poses[i].apply(_thinned(read_cloud(p).xyz)) for i, p in fragments.items()}
    trees = {i: cKDTree(xyz) for i, xyz in world.items()}
    for target in fragments:
        for source in (s for s in fragments if s > target):
            small, other = sorted((source, target), key=lambda k: len(world[k]))
            reach, _ = trees[other].query(world[small], distance_upper_bound=1.5 * VOXEL_M)
            overlap = float(np.isfinite(reach).mean())
            if overlap >= MIN_OVERLAP:
                truth = poses[target].inverse() @ poses[source]
                yield FragmentPair(name, source, target, truth, overlap=overlap)


def _thinned(xyz: np.ndarray) -> np.ndarray:
    _, first = np.unique(np.floor(xyz / VOXEL_M).astype(np.int64), axis=0, return_index=True)
    return xyz[np.sort(first)]
