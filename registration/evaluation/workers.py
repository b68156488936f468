"""Pairs to processes: every worker prepares a fragment once and keeps it for its scene.

A pair's answer depends on the pair and the seed alone, never on the number of workers: motions and
seeds are hashed from the names, and a worker computes with one thread.
"""

import hashlib
import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.evaluation.predictions import (
    Key,
    Prediction,
    append,
    open_to_append,
    read_predictions,
)
from registration.files import read_cloud
from registration.registrar import Registrar
from registration.result import Registration

ORIENTATIONS = ("sensor", "none", "file")
REFINEMENTS = ("none", "icp")
INLIER_VOXELS = 2.0  # 10 cm at 5 cm voxels
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


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
class _Worker:
    """The state of one process."""

    setup: Setup
    scene: str = ""
    ready: dict[int, _Ready] = field(default_factory=dict)
    warm: bool = False

    def fragment(self, scene: str, index: int, file: Path) -> _Ready:
        """Prepare a fragment, or find it prepared; those of another scene are forgotten."""
        if scene != self.scene:
            self.scene, self.ready = scene, {}
        if index not in self.ready:
            self.ready[index] = _prepare(self.setup, scene, index, file)
        return self.ready[index]


_worker: _Worker | None = None


def predict(
    tasks: Sequence[PairTask], setup: Setup, file: Path, *, workers: int, label: str
) -> dict[Key, Prediction]:
    """Answer every pair that `file` does not hold yet, and keep each answer as it comes."""
    done = read_predictions(file)
    todo = [t for t in tasks if t.key not in done]
    with open_to_append(file, done.values()) as output:
        if todo:
            answers = _in_processes(todo, setup, min(workers, len(todo)))
            bar = tqdm(answers, desc=label, total=len(tasks), initial=len(tasks) - len(todo))
            for prediction in bar:
                append(output, prediction)
                done[prediction.key] = prediction
    return {t.key: done[t.key] for t in tasks}


def _in_processes(tasks: list[PairTask], setup: Setup, workers: int) -> Iterator[Prediction]:
    context = multiprocessing.get_context("spawn")
    with _one_thread_each():
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(setup,))
        try:
            for future in as_completed([pool.submit(_answer, t) for t in tasks]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside compute with one thread."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start(setup: Setup) -> None:
    global _worker
    warnings.filterwarnings("ignore", message="The TBB threading layer")  # another one is taken
    _worker = _Worker(setup)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed run must not leave workers behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(task: PairTask) -> Prediction:
    assert _worker is not None, "the pool starts its workers with _start"
    if not _worker.warm:  # compiled code is loaded or made on first use: not a pair's own seconds
        _worker.warm = True
        _answer(task)
        _worker.ready = {}
    source = _worker.fragment(task.scene, task.source, task.source_file)
    target = _worker.fragment(task.scene, task.target, task.target_file)
    return align(task, source, target, _worker.setup)


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
