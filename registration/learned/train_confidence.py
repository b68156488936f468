"""Fit the ranking of hypotheses and the probability of answers on simulated scans.

`python -m registration.learned.train_confidence scans=/tmp/scans` after `make_scans`; writes
`weights/confidence.json` with the counts it was fitted on, and the evidence beside the scans.
"""

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from tqdm import tqdm

from corr.geometry.rigid import Rigid3
from corr.store import write_atomic
from registration import confidence
from registration.datasets.benchmark import FragmentPair
from registration.evidence import evidence_of
from registration.hough import HoughRegistrar
from registration.learned.key_value import parse_key_values
from registration.learned.scans import load_fragments
from registration.recall import PoseLimit, pose_errors, right_a

VOXEL = 0.05  # m
RANK_RIDGE = 3e-4  # on the steps of the curves
# The strongest that rooms held out in turn do not tell from the best: log-loss 0.090 beside 0.089.
ANSWER_RIDGE = 1e-3
QUANTILES = (0.02, 0.2, 0.5, 0.8, 0.98)  # of an input's values where its curve may bend
# Weights of a pair without overlap. People seldom align such pairs: one in twenty is assumed.
RANK_FAR_WEIGHT, ANSWER_FAR_WEIGHT = 0.4, 0.2
PER_ROOM = 24  # overlapping pairs taken of one room
APART = 0.25  # pairs without overlap, for each pair with


def are_right(found: Sequence[Rigid3], true: Rigid3, voxel: float) -> Bool[np.ndarray, " n"]:
    """Which motions are within 15 degrees and 6 voxels of the truth (15 deg / 30 cm at 5 cm)."""
    pairs = [FragmentPair("", 0, 0, true)] * len(found)
    limit = PoseLimit(confidence.RIGHT_DEGREES, confidence.RIGHT_VOXELS * voxel)
    return right_a(pose_errors(pairs, found), limit)


def fit_logistic(
    rows: Float[np.ndarray, "n d"],
    right: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    names: tuple[str, ...],
    ridge: float,
) -> dict:
    """A logistic model of one monotone curve per input, as `confidence` reads it.

    Which way a curve goes is known beforehand: more overlap never makes an answer less likely. The
    steps' squares are held down by `ridge`.
    """
    knots = [_knots(column, right) for column in rows.T]
    blocks = [confidence.ramps(column, k) for column, k in zip(rows.T, knots, strict=True)]
    x = np.hstack([*blocks, np.ones((len(rows), 1))])
    sign = np.where(right, 1.0, -1.0)
    w = weights / weights.sum()

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        z = sign * (x @ b)
        slope = -sign * w / (1 + np.exp(np.clip(z, -500, 500)))
        steps = np.append(b[:-1], 0.0)
        value = float((w * np.logaddexp(0, -z)).sum() + ridge * (steps**2).sum())
        return value, x.T @ slope + 2 * ridge * steps

    bounds: list[tuple[float | None, float | None]] = []
    for name, block in zip(names, blocks, strict=True):
        against = name in confidence.AGAINST
        bounds += [(None, 0.0) if against else (0.0, None)] * block.shape[1]
    start = np.zeros(x.shape[1])
    b = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)]).x
    steps = np.split(b[:-1], np.cumsum([block.shape[1] for block in blocks])[:-1])
    curves = [
        {"input": name, "knots": k.tolist(), "steps": s.tolist()}
        for name, k, s in zip(names, knots, steps, strict=True)
    ]
    return {"bias": float(b[-1]), "curves": curves}


def _knots(column: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Quantiles of the right answers' values and of the wrong ones', at least a little apart."""
    both = [np.quantile(v, QUANTILES) for v in (column[right], column[~right]) if len(v)]
    values = np.unique(np.concatenate(both))
    apart = max((values[-1] - values[0]) / 50, 1e-9)
    kept = [values[0]]
    for value in values[1:]:
        if value - kept[-1] >= apart:
            kept.append(value)
    return np.array(kept if len(kept) > 1 else [kept[0], kept[0] + 1.0])


def room_pairs(path: Path, registrar: HoughRegistrar, rng: np.random.Generator, known: bool):
    """Prepared pairs of one room with their truth: overlapping ones, and some that do not."""
    parts, overlaps = load_fragments(path)
    clouds = [p.cloud if known else replace(p.cloud, sensor=None) for p in parts]
    ready = [registrar.prepare(c, VOXEL) for c in clouds]
    near = [(i, j) for i in range(len(parts)) for j in range(i) if overlaps[i, j] > 0.1]
    far = [(i, j) for i in range(len(parts)) for j in range(i) if overlaps[i, j] < 0.01]
    rng.shuffle(near)
    rng.shuffle(far)
    near = near[:PER_ROOM]
    for i, j in near + far[: int(APART * len(near))]:
        true = parts[j].world_from_fragment.inverse() @ parts[i].world_from_fragment
        yield ready[i], ready[j], true, overlaps[i, j] > 0.1


def candidate_rows(source, target, true: Rigid3, registrar: HoughRegistrar):
    """Evidence of every candidate of a pair and whether it is right."""
    voted = registrar.voted(source, target, seed=0)
    found = voted.candidates
    rows = [evidence_of(source, target, voted.pairs, c.R, c.t, c.share, 600) for c in found]
    motions = [Rigid3(c.R, c.t + target.centre - c.R @ source.centre) for c in found]
    right = are_right(motions, true, VOXEL).tolist() if motions else []
    return [confidence.evidence_row(r, confidence.INPUTS) for r in rows], right


@dataclass
class FitOptions:
    """What the command can be told."""

    scans: str = "/tmp/scans"  # folder that `make_scans` wrote
    rooms: int = 1000  # use at most so many
    seed: int = 0  # of which pairs are taken
    workers: int = 2  # processes
    evidence: str = ""  # fit again on what an earlier run gathered: its evidence.npz


@dataclass(frozen=True)
class RoomTask:
    """One room, and the ranking that its pairs are answered with (None: collect candidates)."""

    path: Path
    number: int
    seed: int
    ranking: dict | None = None


def collect(task: RoomTask) -> tuple[list[np.ndarray], list[bool], list[float]]:
    """Evidence, whether it is right, and weights: of all candidates, or of the answers."""
    registrar, rng = HoughRegistrar(), np.random.default_rng([task.seed, task.number])
    rows: list[np.ndarray] = []
    right: list[bool] = []
    weights: list[float] = []
    # Every other room is scanned from a place that nobody knows.
    pairs = room_pairs(task.path, registrar, rng, known=task.number % 2 == 0)
    far = RANK_FAR_WEIGHT if task.ranking is None else ANSWER_FAR_WEIGHT
    for source, target, true, overlapping in pairs:
        weight = 1.0 if overlapping else far
        if task.ranking is None:
            found, labels = candidate_rows(source, target, true, registrar)
            rows += found
            right += labels
            weights += [weight / max(len(found), 1)] * len(found)
            continue
        confidence.use({"rank": task.ranking, "confidence": UNDECIDED})
        answer = registrar.register(source, target)
        if answer.target_from_source is not None:
            rows.append(confidence.evidence_row(answer.evidence, confidence.RIVAL_INPUTS))
            right += are_right([answer.target_from_source], true, VOXEL).tolist()
            weights.append(weight)
    return rows, right, weights


def _gathered(pool: ProcessPoolExecutor, tasks: list[RoomTask], what: str):
    parts = list(tqdm(pool.map(collect, tasks), desc=what, total=len(tasks), unit="room"))
    rows, right, weights = ([v for part in parts for v in part[k]] for k in range(3))
    return np.array(rows), np.array(right), np.array(weights)


def main() -> None:
    """Collect, fit the ranking; answer with it, fit the probability; write both."""
    given = parse_key_values(FitOptions, sys.argv[1:])
    kept = Path(given.evidence or Path(given.scans) / "evidence.npz")
    if not given.evidence:
        with kept.open("wb") as file:
            np.savez(file, allow_pickle=False, **gathered(given))
    models = fitted(dict(np.load(kept)))
    confidence.FILE.parent.mkdir(exist_ok=True)
    write_atomic(confidence.FILE, json.dumps(models, indent=1))
    print(json.dumps(models["fitted_on"]))


def gathered(given: FitOptions) -> dict[str, np.ndarray]:
    """Candidates of all rooms, then the answers that their ranking leads to."""
    paths = sorted(Path(given.scans).glob("room_*.npz"))[: given.rooms]
    tasks = [RoomTask(path, number, given.seed) for number, path in enumerate(paths)]
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        found = _gathered(pool, tasks, "candidates")
        rows, right, share = found
        ranking = fit_logistic(rows, right, share, confidence.INPUTS, RANK_RIDGE)
        tasks = [replace(task, ranking=ranking) for task in tasks]
        answers = _gathered(pool, tasks, "answers")
    columns = ("", "_right", "_weight")
    evidence = {f"candidates{c}": values for c, values in zip(columns, found, strict=True)}
    evidence |= {f"answers{c}": values for c, values in zip(columns, answers, strict=True)}
    return {**evidence, "rooms": np.array(len(paths)), "seed": np.array(given.seed)}


def fitted(e: dict[str, np.ndarray]) -> dict:
    """Both models, and what they were fitted on."""
    rows, right, share = e["candidates"], e["candidates_right"], e["candidates_weight"]
    rank = fit_logistic(rows, right, share, confidence.INPUTS, RANK_RIDGE)
    rows, right, share = e["answers"], e["answers_right"], e["answers_weight"]
    model = fit_logistic(rows, right, share, confidence.RIVAL_INPUTS, ANSWER_RIDGE)
    about = {
        "rooms": int(e["rooms"]), "candidates": len(e["candidates"]), "answers": len(rows),
        "right_answers": int(np.sum(right)),
        "right_share": float(np.average(right, weights=share)),
        "seed": int(e["seed"]), "voxel_m": VOXEL,
    }  # fmt: skip
    return {"rank": rank, "confidence": model, "fitted_on": about}


UNDECIDED = {
    "bias": 0.0, "curves": [{"knots": [0.0, 1.0], "steps": [0.0]}] * len(confidence.RIVAL_INPUTS)
}  # fmt: skip

if __name__ == "__main__":
    main()
