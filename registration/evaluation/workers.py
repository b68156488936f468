"""Pairs to processes: each prepares a fragment once and keeps it for its scene.

A pair's answer depends on the pair and the seed alone, never on the number of processes: motions
and seeds are hashed from the names, and a process computes with one thread.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from corr.geometry.rigid import Rigid3
from corr.sharding import Parallel, Task, map_sharded, refuse_failures, split
from corr.store import digest
from registration.cloud import PointCloud
from registration.evaluation.predictions import (
    Key,
    Prediction,
    files_key,
    from_line,
    read_predictions,
    to_line,
    write_predictions,
)
from registration.files import read_cloud
from registration.registrar import Registrar
from registration.result import Registration

ORIENTATIONS = ("sensor", "none", "file")
REFINEMENTS = ("none", "icp")
INLIER_VOXELS = 2.0  # 10 cm at 5 cm voxels
PAIRS_PER_SHARD = 4  # pairs take seconds


@dataclass(frozen=True, eq=False)
class PairTask:
    """Two files to be aligned."""

    scene: str
    source: int
    target: int
    source_file: Path
    target_file: Path
    truth: Rigid3 | None = None  # for the inlier ratio; the registrar never sees it

    @property
    def key(self) -> Key:
        """What identifies the pair within its run."""
        return self.scene, self.source, self.target


@dataclass(frozen=True)
class Setup:
    """How pairs are aligned; goes to every worker."""

    registrar: Registrar
    voxel: float  # working resolution, unit of the files
    orientation: str  # sensor: it stood at the fragment's origin | none | file: what the file says
    move: bool  # a random rigid motion per fragment, undone in the answer
    refine: str  # none | icp, after the registrar
    seed: int


@dataclass(frozen=True, eq=False)
class _Ready:
    """A prepared fragment, and where it was moved to."""

    prepared: Any
    moved_from_fragment: Rigid3
    seconds: float


@dataclass
class Aligner:
    """Answers pairs; what is prepared of a scene's fragments is kept from shard to shard."""

    setup: Setup
    scene: str = ""
    ready: dict[int, _Ready] = field(default_factory=dict)
    warm: bool = False

    def __call__(self, tasks: Sequence[PairTask]) -> Iterator[bytes]:
        """A line of predictions per pair."""
        for task in tasks:
            if not self.warm:  # code is compiled or loaded on first use: not a pair's own seconds
                self._answer(task)
                self.ready, self.warm = {}, True
            yield to_line(self._answer(task)).encode()

    def _answer(self, task: PairTask) -> Prediction:
        source = self._fragment(task.scene, task.source, task.source_file)
        target = self._fragment(task.scene, task.target, task.target_file)
        return align(task, source, target, self.setup)

    def _fragment(self, scene: str, index: int, file: Path) -> _Ready:
        """Prepare a fragment, or find it prepared; those of another scene are forgotten."""
        if scene != self.scene:
            self.scene, self.ready = scene, {}
        if index not in self.ready:
            self.ready[index] = _prepare(self.setup, scene, index, file)
        return self.ready[index]


def predict(
    tasks: Sequence[PairTask], setup: Setup, file: Path, *, parallel: Parallel, label: str
) -> dict[Key, Prediction]:
    """Answer every pair that `file` does not hold yet; the file then holds all, in their order.

    Until then finished shards are kept beside it.

    Raises:
        UserError: Pairs failed; the others are kept.
    """
    done = read_predictions(file)
    todo = [t for t in tasks if t.key not in done]
    if todo:
        shards = split(todo, parallel.executor.shard_size or PAIRS_PER_SHARD)
        store = parallel.store(file, _key(setup))
        failures = map_sharded(
            Task(Aligner(setup), threads=1), shards, store, parallel.executor,
            workers=parallel.workers, label=label,
        )  # fmt: skip
        found = (from_line(line.decode()) for line in store.payloads(shards))
        done |= {p.key: p for p in found}
        write_predictions(file, [done[t.key] for t in tasks if t.key in done])
        parallel.clear(file, store, shards)
        refuse_failures(failures, len(tasks), name=lambda t: f"{t.scene} {t.source} {t.target}")
    return {t.key: done[t.key] for t in tasks}


def _key(setup: Setup) -> Callable[[Sequence[PairTask]], str]:
    """Names of shards: by how pairs are aligned, which these are, and their files' state."""
    kind = type(setup.registrar)
    how = digest(
        kind.__name__, kind.VERSION, setup.registrar, setup.voxel, setup.orientation, setup.move,
        setup.refine, setup.seed,
    )  # fmt: skip

    def key(tasks: Sequence[PairTask]) -> str:
        pairs = [
            [*t.key, files_key([t.source_file, t.target_file]),
             None if t.truth is None else t.truth.matrix.tolist()]
            for t in tasks
        ]  # fmt: skip
        return digest(how, pairs)

    return key


def align(task: PairTask, source: _Ready, target: _Ready, setup: Setup) -> Prediction:
    """Register two prepared fragments and bring the answer back into their own frames."""
    seed = _hashed(setup.seed, *task.key) % 2**31
    start = perf_counter()
    answer = setup.registrar.register(source.prepared, target.prepared, seed=seed)
    estimate = answer.target_from_source
    if estimate is not None and setup.refine == "icp":
        estimate = icp(estimate, source.prepared, target.prepared, setup.voxel)
    seconds = perf_counter() - start
    if estimate is not None:
        estimate = target.moved_from_fragment.inverse() @ estimate @ source.moved_from_fragment
    return Prediction(
        task.scene, task.source, task.target,
        None if estimate is None else estimate.matrix.ravel().tolist(),
        float(answer.probability), bool(answer.accepted), answer.reason, float(answer.margin),
        matches=len(answer.matches), inliers=_inliers(answer),
        inlier_ratio=_true_inlier_ratio(task, answer, source, target, setup.voxel),
        seconds=seconds, source_seconds=source.seconds, target_seconds=target.seconds,
        evidence={k: float(v) for k, v in answer.evidence.items()},
    )  # fmt: skip


def _inliers(answer: Registration) -> int:
    if len(answer.inlier):
        return int(answer.inlier.sum())
    return answer.hypotheses[0].inliers if answer.hypotheses else 0


def _true_inlier_ratio(
    task: PairTask, answer: Registration, source: _Ready, target: _Ready, voxel: float
) -> float:
    """Share of the matches within 2 voxels under the truth; NaN where either is unknown."""
    clouds = [prepared_cloud(ready.prepared) for ready in (source, target)]
    if task.truth is None or not len(answer.matches) or clouds[0] is None or clouds[1] is None:
        return float("nan")
    truth = target.moved_from_fragment @ task.truth @ source.moved_from_fragment.inverse()
    a, b = clouds[0].xyz[answer.matches[:, 0]], clouds[1].xyz[answer.matches[:, 1]]
    distance = np.linalg.norm(truth.apply(a) - b, axis=1)
    return float((distance < INLIER_VOXELS * voxel).mean())


def prepared_cloud(prepared: Any) -> PointCloud | None:
    """The points that `Registration.matches` index, if the registrar shows them as `cloud`."""
    cloud = getattr(prepared, "cloud", None)
    return cloud if isinstance(cloud, PointCloud) else None


def _prepare(setup: Setup, scene: str, index: int, file: Path) -> _Ready:
    cloud = with_sensor(read_cloud(file), setup.orientation)
    motion = Rigid3.identity()
    if setup.move:
        motion = random_motion(_hashed(setup.seed, scene, index), 100 * setup.voxel)
        cloud = cloud.moved(motion)
    start = perf_counter()
    prepared = setup.registrar.prepare(cloud, setup.voxel)
    return _Ready(prepared, motion, perf_counter() - start)


def with_sensor(cloud: PointCloud, orientation: str) -> PointCloud:
    """The cloud with the sensor at its origin (`sensor`), unknown (`none`) or as read (`file`)."""
    if orientation == "file":
        return cloud
    return replace(cloud, sensor=np.zeros(3) if orientation == "sensor" else None)


def random_motion(seed: int, reach: float) -> Rigid3:
    """A rotation drawn uniformly and a translation with a standard deviation of `reach`."""
    rng = np.random.default_rng(seed)
    R = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return Rigid3(R, rng.normal(0.0, reach, 3))


def _hashed(*parts: object) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:16], 16)


def icp(start: Rigid3, source: Any, target: Any, voxel: float) -> Rigid3:
    """Point-to-plane ICP of two prepared clouds within 1.5 voxels; the start where it has none."""
    import open3d as o3d

    a, b = prepared_cloud(source), prepared_cloud(target)
    if a is None or b is None:
        return start
    registration, clouds = o3d.pipelines.registration, []
    for cloud in (a, b):
        points = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.xyz))
        if cloud.normals is not None:
            points.normals = o3d.utility.Vector3dVector(cloud.normals)
        else:
            points.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(2 * voxel, 30))
        clouds.append(points)
    result = registration.registration_icp(
        clouds[0], clouds[1], 1.5 * voxel, start.matrix,
        registration.TransformationEstimationPointToPlane(),
    )  # fmt: skip
    return Rigid3.from_matrix(result.transformation)
