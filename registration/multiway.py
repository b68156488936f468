"""`registration multiway`: a folder of scans into one frame."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from corr.errors import UserError
from corr.folders import job_folder, make_folder
from corr.setup_note import keep_setup
from corr.store import digest
from registration.cloud import PointCloud
from registration.evaluation.predictions import Key, Prediction, files_key
from registration.evaluation.workers import PairTask, Setup, predict
from registration.files import READERS, read_cloud
from registration.multiway_candidates import candidate_pairs
from registration.multiway_edges import Rules, adjusted, measured
from registration.multiway_outputs import write_results
from registration.multiway_refine import Surfaces
from registration.multiway_solve import solve
from registration.options_eval import MultiwayOptions, registrar_name
from registration.pose_graph_optimise import Pruning
from registration.trajectory_error import read_truth

log = logging.getLogger(__name__)
SCENE = "scans"
SPACING_PER_VOXEL = 2.5


def multiway(options: MultiwayOptions) -> str:
    """Align all scans of a folder; returns the summary that is printed.

    Writes `predictions.jsonl`, `poses.log` (`world_from_scan`), `merged.ply`, `top_view.png`,
    `report.md` and `metrics.json`; `poses_group2.log`, … where scans fall apart into groups.

    Raises:
        UserError: There are fewer than two scans, or none can be linked to another.
    """
    folder = Path(options.clouds).expanduser().resolve()
    out = job_folder(Path(options.out or f"outputs/multiway/{folder.name}").expanduser().resolve())
    options.executor.check(options.workers)
    files = scan_files(folder)
    make_folder(out)
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
    return write_results(out, files, clouds, solution, truth, voxel)


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
    """Working resolution from the scans' own spacing (median over up to five of them).

    Raises:
        UserError: All points of a scan lie in one place.
    """
    from registration.scale import spacing

    chosen = list(files.values())[:: max(1, len(files) // 5)]
    try:
        typical = float(np.median([spacing(read_cloud(file)) for file in chosen]))
    except ValueError as error:
        raise UserError(str(error)) from None
    voxel = SPACING_PER_VOXEL * typical
    log.info("voxel %.4g (%.4g between neighbouring points)", voxel, typical)
    return voxel


def _predictions(
    options: MultiwayOptions, files: Mapping[int, Path], voxel: float, out: Path
) -> dict[Key, Prediction]:
    setup = Setup(
        options.registrar, voxel, options.orientation, move=False, refine="none", seed=options.seed
    )
    described = {
        "scans": files_key(files.values()),
        "registrar": type(options.registrar).__name__,
        "registrar_version": type(options.registrar).VERSION,
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
    file = out / "predictions.jsonl"
    return predict(tasks, setup, file, parallel=options.parallel(), label=label)


def thinned(cloud: PointCloud, voxel: float) -> PointCloud:
    """One point per voxel, the first; colours go along."""
    cell = np.floor(cloud.xyz / voxel).astype(np.int64)
    _, first = np.unique(cell, axis=0, return_index=True)
    return cloud.taken(np.sort(first))


def _nothing_linked(predictions: Mapping[Key, Prediction], options: MultiwayOptions) -> str:
    best = max(predictions.values(), key=lambda p: p.probability)
    return (
        f"no two scans could be linked: the best pair is {best.target} and {best.source} with "
        f"probability {best.probability:.2f} (min_probability={options.min_probability}); "
        "add scans that overlap more, or lower min_probability and min_overlap"
    )
