"""`registration multiway`: a folder of scans into one frame."""

import dataclasses
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corr.errors import UserError
from corr.geometry.rigid import Rigid3, rotation_angle
from corr.store import digest, write_atomic
from registration.cloud import PointCloud
from registration.datasets.logs import write_poses
from registration.evaluation.predictions import Key, Prediction, keep_setup
from registration.evaluation.tables import table
from registration.evaluation.workers import PairTask, Setup, predict
from registration.files import READERS, read_cloud, write_cloud
from registration.merged_view import merged, top_view
from registration.multiway_candidates import candidate_pairs
from registration.multiway_edges import Rules, accepted, adjusted, measured
from registration.multiway_refine import Surfaces, added, all_refined
from registration.options_eval import MultiwayOptions, registrar_name
from registration.pose_graph import (
    Edge,
    Pruning,
    agreeing,
    groups,
    optimised,
    residual,
    spanning_tree,
)
from registration.trajectory_error import TrajectoryError, Truth, read_truth, trajectory_error

log = logging.getLogger(__name__)
SCENE = "scans"
SPACING_PER_VOXEL = 2.5
WRONG_DEG, WRONG_VOXELS = 15.0, 6.0


@dataclass(frozen=True, eq=False)
class Solution:
    """Poses of the scans that hang together, and what was left out.

    Args:
        world_from_scan: By index; the frame of the first scan of the group.
        edges: What the poses were fitted to.
        left_out: Index to reason.
        other_groups: Poses of smaller groups that hang together among themselves.
    """

    world_from_scan: dict[int, Rigid3]
    edges: list[Edge]
    left_out: dict[int, str]
    other_groups: tuple[dict[int, Rigid3], ...] = ()


def multiway(options: MultiwayOptions) -> str:
    """Align all scans of a folder; returns the summary that is printed.

    Writes `predictions.jsonl`, `poses.log` (`world_from_scan`), `merged.ply`, `top_view.png`,
    `report.md` and `metrics.json`; `poses_group2.log`, … where scans fall apart into groups.

    Raises:
        UserError: There are fewer than two scans, or none can be linked to another.
    """
    folder = Path(options.clouds).expanduser().resolve()
    out = Path(options.out or f"outputs/multiway/{folder.name}").resolve()
    files = scan_files(folder)
    truth = None
    if options.truth:
        truth = read_truth(options.truth, frames_per_fragment=options.frames_per_fragment)
    voxel = options.voxel or voxel_of(files)
    predictions = _predictions(options, files, voxel, out)
    full = {index: read_cloud(file) for index, file in files.items()}
    clouds = {index: thinned(cloud, voxel) for index, cloud in full.items()}
    rules = Rules(
        options.min_probability, options.min_overlap,
        # Two scans have no triangle that could support their edge.
        options.sure if len(clouds) > 2 else options.min_probability,
        np.radians(options.cycle_deg), options.cycle_voxels * voxel,
    )  # fmt: skip
    edges = measured(adjusted(list(predictions.values())), clouds, voxel, rules)
    pruning = Pruning(1.5 * voxel, options.prune, options.preference)
    surfaces = Surfaces.of(full, voxel) if options.refine else None
    solution = solve(edges, clouds, rules, pruning, surfaces)
    if len(solution.world_from_scan) < 2:
        raise UserError(_nothing_linked(predictions, options))
    return _write(out, files, clouds, solution, truth, voxel)


def scan_files(folder: Path) -> dict[int, Path]:
    """`{index: file}`: by the last number in the names, else by their order.

    Raises:
        UserError: The folder is missing or holds fewer than two scans.
    """
    if not folder.is_dir():
        raise UserError(f"clouds={folder} is not a folder; it must hold the scans")
    inside = folder / "fragments" if (folder / "fragments").is_dir() else folder
    found = sorted(p for p in inside.iterdir() if p.suffix.lower() in READERS)
    if len(found) < 2:
        raise UserError(f"{inside} holds {len(found)} scans ({' '.join(READERS)}); 2 are needed")
    numbers = [re.findall(r"\d+", p.stem) for p in found]
    indices = [int(n[-1]) if n else -1 for n in numbers]
    if len(set(indices)) < len(found) or min(indices) < 0:
        indices = list(range(len(found)))
    return dict(sorted(zip(indices, found, strict=True)))


def voxel_of(files: Mapping[int, Path]) -> float:
    """Working resolution from the scans' own spacing (median over up to five of them)."""
    from scipy.spatial import cKDTree

    chosen = list(files.values())[:: max(1, len(files) // 5)]
    spacings = []
    for file in chosen:
        xyz = read_cloud(file).xyz
        distance, _ = cKDTree(xyz).query(xyz[:: max(1, len(xyz) // 2000)], k=2)
        spacings.append(float(np.median(distance[:, 1])))
    voxel = SPACING_PER_VOXEL * float(np.median(spacings))
    if not voxel > 0:
        raise UserError("the scans hold the same point many times; set voxel= to the resolution")
    log.info("voxel %.4g (%.4g between neighbouring points)", voxel, voxel / SPACING_PER_VOXEL)
    return voxel


def _predictions(
    options: MultiwayOptions, files: Mapping[int, Path], voxel: float, out: Path
) -> dict[Key, Prediction]:
    setup = Setup(
        options.registrar, voxel, options.orientation, move=False, refine="none", seed=options.seed
    )
    described = {
        "scans": digest([str(f) for f in files.values()]),
        "registrar": type(options.registrar).__name__,
        "registrar_options": digest(options.registrar),
        "orientation": options.orientation,
        "voxel": voxel,
        "seed": options.seed,
    }
    keep_setup(out, described)
    tasks = [
        PairTask(SCENE, source, target, files[source], files[target])
        for target, source in candidate_pairs(
            files, kind=options.candidates, reach=options.reach, voxel=voxel,
            orientation=options.orientation,
        )
    ]  # fmt: skip
    label = f"pairs, {registrar_name(options.registrar)}"
    return predict(tasks, setup, out / "predictions.jsonl", workers=options.workers, label=label)


def thinned(cloud: PointCloud, voxel: float) -> PointCloud:
    """One point per voxel, the first; colours go along."""
    cell = np.floor(cloud.xyz / voxel).astype(np.int64)
    _, first = np.unique(cell, axis=0, return_index=True)
    return cloud.taken(np.sort(first))


def solve(
    edges: Sequence[Edge],
    clouds: Mapping[int, PointCloud],
    rules: Rules,
    pruning: Pruning,
    surfaces: Surfaces | None = None,
) -> Solution:
    """Believe, group, optimise; edges that the optimum contradicts are dropped, and again.

    With `surfaces` the edges are made precise by ICP, and further ones are added where the poses
    show that scans overlap.
    """
    centres = {index: cloud.xyz.mean(0) for index, cloud in clouds.items()}
    kept, reasons = accepted(edges, centres, rules)
    if surfaces is not None:
        kept = all_refined(kept, surfaces, "refining links")
    solved: list[tuple[dict[int, Rigid3], list[Edge]]] = []
    for group in groups(clouds, kept):
        inside = [e for e in kept if e.source in set(group)]
        if len(group) > 1:
            inside = agreeing(group, inside, centres, rules.drift)
            parts = _solve_group(group, inside, centres, rules, pruning)
            solved += [_densified(p, centres, rules, pruning, surfaces) for p in parts]
    solved.sort(key=lambda s: (-len(s[0]), min(s[0])))
    if not solved:
        return Solution({}, [], {n: reasons.get(n, "alone") for n in clouds})
    poses, used = solved[0]
    left_out = {}
    for n in clouds:
        if n not in poses:
            friends = next((sorted(s[0]) for s in solved[1:] if n in s[0]), [])
            left_out[n] = (
                f"linked only to {ranges(f for f in friends if f != n)}" if friends
                else reasons.get(n, "its links contradict the others")
            )  # fmt: skip
    return Solution(poses, used, left_out, tuple(s[0] for s in solved[1:]))


def _solve_group(
    group: Sequence[int],
    edges: list[Edge],
    centres: Mapping[int, np.ndarray],
    rules: Rules,
    pruning: Pruning,
) -> list[tuple[dict[int, Rigid3], list[Edge]]]:
    """Optimise until no edge is left that the poses contradict; a group may fall apart."""
    certain = {e.key for e in spanning_tree(group, edges) if e.belief >= rules.sure}
    poses, left = optimised(group, edges, pruning, certain=certain)
    agree = [
        e for e in left if rules.closure.holds(residual(e, poses, centres[e.source]))
    ]  # fmt: skip
    parts = [g for g in groups(group, agree) if len(g) > 1]
    if len(agree) == len(edges) or not parts:
        return [(poses, agree)] if parts else []
    solved = []
    for part in parts:
        solved += _solve_group(
            part, [e for e in agree if e.source in set(part)], centres, rules, pruning
        )
    return solved


def _densified(
    part: tuple[dict[int, Rigid3], list[Edge]],
    centres: Mapping[int, np.ndarray],
    rules: Rules,
    pruning: Pruning,
    surfaces: Surfaces | None,
) -> tuple[dict[int, Rigid3], list[Edge]]:
    """Solve once more with the links that the poses bring to light."""
    poses, edges = part
    further = [] if surfaces is None else added(poses, edges, surfaces, rules)
    if not further:
        return part
    again = _solve_group(sorted(poses), [*edges, *further], centres, rules, pruning)
    same = [p for p in again if len(p[0]) == len(poses)]
    return same[0] if same else part


def ranges(numbers: Iterable[int]) -> str:
    """`0-3, 7` of 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _nothing_linked(predictions: Mapping[Key, Prediction], options: MultiwayOptions) -> str:
    best = max(predictions.values(), key=lambda p: p.probability)
    return (
        f"no two scans could be linked: the best pair is {best.target} and {best.source} with "
        f"probability {best.probability:.2f} (min_probability={options.min_probability}); "
        "add scans that overlap more, or lower min_probability and min_overlap"
    )


def _write(
    out: Path,
    files: Mapping[int, Path],
    clouds: Mapping[int, PointCloud],
    solution: Solution,
    truth: Truth | None,
    voxel: float,
) -> str:
    from registration.evaluate import to_json

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
    write_atomic(out / "metrics.json", to_json(metrics))
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
