"""Poses of scans against the truth: absolute trajectory error, and pose errors scan by scan."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.geometry.rigid import Rigid3, rotation_angle, umeyama
from registration.datasets.logs import nearest_rotation, read_poses
from registration.datasets.redwood import world_from_fragments
from registration.pose_graph import Edge, groups
from registration.pose_graph_optimise import Pruning, optimised

TRUTH_BOUND_M = 0.07
FIT_ROUNDS, SMALL_RAD = 30, 1e-3


@dataclass(frozen=True, eq=False)
class Truth:
    """True poses; scans of different groups have no known relation."""

    world_from_scan: tuple[dict[int, Rigid3], ...]  # largest group first

    def relative(self, target: int, source: int) -> Rigid3 | None:
        """`target_from_source`; None where the truth does not connect them."""
        for poses in self.world_from_scan:
            if target in poses and source in poses:
                return poses[target].inverse() @ poses[source]
        return None


def read_truth(files: str, *, frames_per_fragment: int = 1) -> Truth:
    """From pairs (`gt.log`; several with a colon between, as in PATH) or a trajectory.

    Pairs are made into poses by the same pose graph that the estimates go through.

    Raises:
        UserError: A file is missing or does not fit.
    """
    paths = [Path(f.strip()).expanduser() for f in files.split(os.pathsep) if f.strip()]
    records: dict[tuple[int, int], Rigid3] = {}
    for path in paths:
        records |= read_poses(path)
    if all(i == j for i, j in records) or (len(paths) == 1 and "traj" in paths[0].name):
        if len(paths) > 1:
            raise UserError("truth must be one trajectory or some gt.log of pairs")
        poses = world_from_fragments(paths[0], frames_per_fragment=frames_per_fragment)
        return Truth((poses,))
    edges = [Edge(j, i, pose, probability=1.0) for (i, j), pose in records.items()]
    nodes = sorted({n for e in edges for n in e.key})
    found = []
    for group in groups(nodes, edges):
        inside = [e for e in edges if e.source in set(group)]
        pruning = Pruning(TRUTH_BOUND_M, threshold=0.0)
        found.append(optimised(group, inside, pruning, certain={e.key for e in inside})[0])
    return Truth(tuple(found))


@dataclass(frozen=True)
class TrajectoryError:
    """Errors of poses after one rigid fit to the truth.

    ATE is fitted to positions alone by least squares, as the benchmarks do; the scans' own errors
    are taken after a robust fit of rotations, then positions, which also holds for few scans or
    those on a line.
    """

    scans: int  # compared
    ate: float  # root mean square distance of positions, data's unit
    rotation_median_deg: float
    rotation_max_deg: float
    translation_median: float  # data's unit
    translation_max: float
    per_scan: dict[int, tuple[float, float]]  # rotation deg, translation


def trajectory_error(estimated: Mapping[int, Rigid3], truth: Truth) -> TrajectoryError | None:
    """Compare over the scans that both know; None where these are fewer than two."""
    shared = [sorted(set(estimated) & set(poses)) for poses in truth.world_from_scan]
    names = max(shared, key=len, default=[])
    if len(names) < 2:
        return None
    true = next(p for p, n in zip(truth.world_from_scan, shared, strict=True) if n == names)
    a, b = [estimated[n] for n in names], [true[n] for n in names]
    fit = _pose_fit(a, b)
    errors = [(y.inverse() @ fit @ x) for x, y in zip(a, b, strict=True)]
    rotation = np.degrees([rotation_angle(e.R) for e in errors])
    translation = np.array([np.linalg.norm(e.t) for e in errors])
    return TrajectoryError(
        scans=len(names), ate=_ate(a, b),
        rotation_median_deg=float(np.median(rotation)), rotation_max_deg=float(rotation.max()),
        translation_median=float(np.median(translation)), translation_max=float(translation.max()),
        per_scan={
            n: (float(r), float(t)) for n, r, t in zip(names, rotation, translation, strict=True)
        },
    )  # fmt: skip


def _ate(estimated: Sequence[Rigid3], true: Sequence[Rigid3]) -> float:
    a, b = np.array([p.t for p in estimated]), np.array([p.t for p in true])
    try:
        fit = umeyama(a, b, with_scale=False)
        moved: Float[np.ndarray, "n 3"] = fit.apply(a)
    except ValueError:  # two scans, or all on a line: the poses' fit is the best that is defined
        moved = _pose_fit(estimated, true).apply(a)
    return float(np.sqrt(((moved - b) ** 2).sum(1).mean()))


def _pose_fit(estimated: Sequence[Rigid3], true: Sequence[Rigid3]) -> Rigid3:
    """`true_from_estimated` that is least in the sum of angles, then of distances (Weiszfeld).

    A scan that is far off counts as one wrong scan and does not turn all others.

    Source: Hartley et al., Rotation Averaging, IJCV 2013.
    """
    turns = np.array([y.R @ x.R.T for x, y in zip(estimated, true, strict=True)])
    R = nearest_rotation(turns.sum(0))
    for _ in range(FIT_ROUNDS):
        angles = np.array([rotation_angle(turn @ R.T) for turn in turns])
        R = nearest_rotation((turns / np.maximum(angles, SMALL_RAD)[:, None, None]).sum(0))
    shifts = np.array([y.t - R @ x.t for x, y in zip(estimated, true, strict=True)])
    t = np.median(shifts, axis=0)
    small = max(1e-3 * float(np.linalg.norm(shifts - t, axis=1).max()), 1e-12)
    for _ in range(FIT_ROUNDS):
        weight = 1.0 / np.maximum(np.linalg.norm(shifts - t, axis=1), small)
        t = weight @ shifts / weight.sum()
    return Rigid3(R, t)
