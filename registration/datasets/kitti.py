"""KITTI odometry, the 555-pair protocol: sweeps about 10 m apart of sequences 8, 9 and 10.

Layout: `<root>/sequences/08/velodyne/000000.bin`, `<root>/sequences/08/calib.txt` and
`<root>/poses/08.txt` (or `<root>/sequences/08/poses.txt`). From a sweep t, the partner is the last
one before the sensor is more than 10 m away (looked for among the next 100); the next pair starts
behind it. One pair (8: 15, 58) with a wrong pose is left out. Ground-truth poses drift by
decimetres, so the truth is refined by point-to-point ICP on 5 cm voxels (bound 0.2 m, 200
iterations) and kept beside the results.

Source: the pair list of Choy et al. (FCGF, ICCV 2019); Geiger et al., CVPR 2012.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from corr.errors import UserError
from corr.geometry.rigid import Rigid3
from registration.datasets.benchmark import Benchmark, FragmentPair, Scene
from registration.datasets.logs import nearest_rotation, read_poses, write_poses
from registration.files import read_cloud

SEQUENCES = ("08", "09", "10")
VOXEL_M = 0.3
MIN_DISTANCE_M = 10.0
LOOK_AHEAD = 100
WRONG = {("08", 15, 58)}
ICP_VOXEL_M, ICP_BOUND_M, ICP_ITERATIONS = 0.05, 0.2, 200


def read_kitti(root: Path, cache: Path, *, refine_truth: bool = True) -> Benchmark:
    """Read the sequences that are there.

    Args:
        root: Folder with `sequences` and `poses`.
        cache: Folder for the refined truth (one `.log` per sequence).
        refine_truth: ICP on the poses, as the published rows do; slow the first time.

    Raises:
        UserError: No sequence is complete, or a file does not fit.
    """
    if not (root / "sequences").is_dir():
        raise UserError(
            f"{root} is no KITTI odometry folder; expected {root}/sequences/08/velodyne/000000.bin "
            f"and {root}/poses/08.txt"
        )
    scenes, missing, reason = [], [], ""
    for name in SEQUENCES:
        problem = _problem(root, name)
        if problem:
            missing.append(name)
            reason = reason or problem
            continue
        scene = read_sequence(root, name)
        scenes.append(refined(scene, cache / f"kitti_{name}.log") if refine_truth else scene)
    if not scenes:
        raise UserError(f"none of the sequences {', '.join(SEQUENCES)} is complete: {reason}")
    return Benchmark("KITTI", VOXEL_M, tuple(scenes), tuple(missing))


def _poses_file(root: Path, name: str) -> Path:
    inside = root / "sequences" / name / "poses.txt"
    return inside if inside.is_file() else root / "poses" / f"{name}.txt"


def _problem(root: Path, name: str) -> str:
    """What a sequence lacks; empty = nothing."""
    folder = root / "sequences" / name
    if not any((folder / "velodyne").glob("*.bin")):
        return f"{folder / 'velodyne'} has no .bin files"
    if not (folder / "calib.txt").is_file():
        return f"{folder / 'calib.txt'} is missing (its line `Tr:` is camera from Velodyne)"
    if not _poses_file(root, name).is_file():
        return f"{root / 'poses' / name}.txt is missing"
    return ""


def read_sequence(root: Path, name: str) -> Scene:
    """One sequence with the pairs of the protocol, truth from the poses file alone."""
    folder = root / "sequences" / name
    sweeps = {int(p.stem): p for p in sorted((folder / "velodyne").glob("*.bin"))}
    world_from_camera = _read_rows(_poses_file(root, name))
    camera_from_sweep = _read_calibration(folder / "calib.txt")
    if max(sweeps) >= len(world_from_camera):
        raise UserError(
            f"{_poses_file(root, name)} has {len(world_from_camera)} poses "
            f"but the sweeps go up to {max(sweeps)}"
        )
    centres = np.array([pose.t for pose in world_from_camera])
    pairs = []
    for source, target in pairs_apart(centres, sorted(sweeps)):
        if (name, source, target) in WRONG:
            continue
        camera = world_from_camera[target].inverse() @ world_from_camera[source]
        truth = camera_from_sweep.inverse() @ camera @ camera_from_sweep
        pairs.append(FragmentPair(name, source, target, truth))
    return Scene(name, sweeps, tuple(pairs))


def pairs_apart(centres: Float[np.ndarray, "n 3"], sweeps: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) of each stretch of about 10 m.

    Args:
        centres: Camera centre of every sweep, metres.
        sweeps: Indices of the sweeps that are there, ascending.
    """
    pairs, there, now = [], set(sweeps), sweeps[0]
    while now in there:
        ahead = np.linalg.norm(centres[now : now + LOOK_AHEAD] - centres[now], axis=1)
        far = np.flatnonzero(ahead > MIN_DISTANCE_M)
        if not len(far):
            now += 1
            continue
        last = now + int(far[0]) - 1
        if last in there:
            pairs.append((now, last))
        now = last + 1
    return pairs


def _read_rows(path: Path) -> list[Rigid3]:
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError:
        rows = np.zeros((0, 0))
    if rows.shape[1:] != (12,):
        raise UserError(f"{path} must have twelve numbers a line (3x4 camera poses)")
    return [
        Rigid3(nearest_rotation(row.reshape(3, 4)[:, :3]), row.reshape(3, 4)[:, 3]) for row in rows
    ]


def _read_calibration(path: Path) -> Rigid3:
    for line in path.read_text().splitlines():
        if line.startswith(("Tr:", "Tr ")):
            values = np.array(line.split()[1:], dtype=np.float64)
            if len(values) == 12:
                matrix = values.reshape(3, 4)
                return Rigid3(nearest_rotation(matrix[:, :3]), matrix[:, 3])
    raise UserError(f"{path} has no line `Tr:` with twelve numbers; use the odometry calibration")


def refined(scene: Scene, cache: Path) -> Scene:
    """The scene with its truth refined by ICP; what was refined before is read from `cache`."""
    known = read_poses(cache) if cache.is_file() else {}
    todo = [p for p in scene.pairs if (p.target, p.source) not in known]
    for count, pair in enumerate(tqdm(todo, desc=f"truth of {scene.name}", disable=not todo)):
        known[pair.target, pair.source] = _icp(scene, pair)
        if count % 20 == 19:
            _keep(cache, known, len(scene.fragments))
    if todo:
        _keep(cache, known, len(scene.fragments))
    pairs = tuple(
        FragmentPair(p.scene, p.source, p.target, known[p.target, p.source]) for p in scene.pairs
    )
    return Scene(scene.name, scene.fragments, pairs)


def _keep(cache: Path, known: dict[tuple[int, int], Rigid3], count: int) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_poses(cache, known, count)


def _icp(scene: Scene, pair: FragmentPair) -> Rigid3:
    import open3d as o3d

    def thinned(index: int) -> o3d.geometry.PointCloud:
        points = o3d.utility.Vector3dVector(read_cloud(scene.fragments[index]).xyz)
        return o3d.geometry.PointCloud(points).voxel_down_sample(ICP_VOXEL_M)

    registration = o3d.pipelines.registration
    result = registration.registration_icp(
        thinned(pair.source), thinned(pair.target), ICP_BOUND_M, pair.target_from_source.matrix,
        registration.TransformationEstimationPointToPoint(),
        registration.ICPConvergenceCriteria(max_iteration=ICP_ITERATIONS),
    )  # fmt: skip
    matrix = result.transformation
    return Rigid3(nearest_rotation(matrix[:3, :3]), matrix[:3, 3])
