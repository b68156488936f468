"""What `registration multiway` leaves behind: poses, merged cloud, figures, report."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from corr.geometry.rigid import rotation_angle
from corr.store import strict_json, write_atomic
from registration.cloud import PointCloud
from registration.datasets.logs import write_poses
from registration.evaluation.tables import table
from registration.files import write_cloud
from registration.merged_view import merged, top_view
from registration.multiway_solve import Solution
from registration.pose_graph import Edge
from registration.trajectory_error import TrajectoryError, Truth, trajectory_error

WRONG_DEG, WRONG_VOXELS = 15.0, 6.0


def write_results(
    out: Path,
    files: Mapping[int, Path],
    clouds: Mapping[int, PointCloud],
    solution: Solution,
    truth: Truth | None,
    voxel: float,
) -> str:
    """Write poses, merged cloud, top view, figures and report; returns what is printed."""
    poses = solution.world_from_scan
    for number, group in enumerate([poses, *solution.other_groups], start=1):
        name = "poses.log" if number == 1 else f"poses_group{number}.log"
        write_poses(out / name, {(n, n): group[n] for n in sorted(group)}, len(files))
    whole = merged(clouds, poses, voxel)
    write_cloud(out / "merged.ply", whole.cloud)
    top_view(whole, out / "top_view.png")
    error = trajectory_error(poses, truth) if truth is not None else None
    wrong = wrong_edges(solution.edges, truth, clouds, voxel) if truth is not None else []
    text = summary(files, solution, error, wrong, len(whole.cloud))
    metrics = {
        "voxel": voxel,
        "placed": sorted(poses),
        "left_out": solution.left_out,
        "groups": [sorted(g) for g in solution.other_groups],
        "edges": [
            {"source": e.source, "target": e.target, "probability": e.probability,
             "overlap": e.overlap, "belief": e.belief, "support": e.support,
             "conflicts": e.conflicts}
            for e in solution.edges
        ],
        "wrong_edges": wrong if truth is not None else None,
        "error": None if error is None else dataclasses.asdict(error),
    }  # fmt: skip
    write_atomic(out / "metrics.json", strict_json(metrics))
    write_atomic(out / "report.md", text)
    return f"{text}\nmerged cloud: {out / 'merged.ply'}\nposes: {out / 'poses.log'}"


def wrong_edges(
    edges: Sequence[Edge], truth: Truth, clouds: Mapping[int, PointCloud], voxel: float
) -> list[tuple[int, int]]:
    """(source, target) of the kept edges that turn by over 15 deg or shift by over 6 voxels."""
    wrong = []
    for e in edges:
        true = truth.relative(e.target, e.source)
        if true is None:
            continue
        middle = clouds[e.source].xyz.mean(0)
        shift = np.linalg.norm(e.target_from_source.apply(middle) - true.apply(middle))
        turn = np.degrees(rotation_angle(true.R.T @ e.target_from_source.R))
        if turn > WRONG_DEG or shift > WRONG_VOXELS * voxel:
            wrong.append(e.key)
    return wrong


def summary(
    files: Mapping[int, Path],
    solution: Solution,
    error: TrajectoryError | None,
    wrong: Sequence[tuple[int, int]],
    points: int,
) -> str:
    """The report: what was placed, what was left out and why, and errors where truth is known."""
    loops = sum(not e.consecutive for e in solution.edges)
    lines = [
        f"# {len(solution.world_from_scan)} of {len(files)} scans placed",
        f"{len(solution.edges)} links kept, {loops} of them loops; {points} points in the merged "
        "cloud.",
    ]
    if solution.left_out:
        rows = [[files[n].name, reason] for n, reason in sorted(solution.left_out.items())]
        lines += ["## Left out", table(["scan", "why"], rows)]
    if error is not None:
        lines += [
            "## Against the truth",
            f"{error.scans} scans compared: ATE {error.ate:.4g}; rotation median "
            f"{error.rotation_median_deg:.2f} deg, largest {error.rotation_max_deg:.2f} deg; "
            f"translation median {error.translation_median:.4g}, largest "
            f"{error.translation_max:.4g}; {len(wrong)} wrong links kept.",
        ]
    return "\n\n".join(lines) + "\n"
