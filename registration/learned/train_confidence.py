"""Fit the ranking of hypotheses and the probability of answers on simulated scans.

`python -m registration.learned.train_confidence scans=/tmp/scans` after `make_scans`; writes
`weights/confidence.json` with the counts it was fitted on.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from tqdm import tqdm

from corr.geometry.rigid import Rigid3, rotation_angle
from corr.store import write_atomic
from registration import confidence
from registration.hough import CHECKED, HoughRegistrar, evidence_of, pairing_of
from registration.learned.key_value import parse_key_values
from registration.learned.scans import load_fragments
from registration.matching import match_features
from registration.voting.hypotheses import VoteSettings, hypothesise

VOXEL = 0.05  # m
RIGHT_ANGLE = np.radians(15.0)
RIGHT_DISTANCE = 6.0  # voxels
RIDGE = 1e-3  # on the weights of standardised inputs
PER_ROOM = 24  # overlapping pairs taken of one room
APART = 0.25  # pairs without overlap, for each pair with


def is_right(found: Rigid3, true: Rigid3, voxel: float) -> bool:
    """Within 15 degrees and 6 voxels of the truth (15 deg / 30 cm at 5 cm)."""
    turn = rotation_angle(found.R @ true.R.T)
    return turn < RIGHT_ANGLE and float(np.linalg.norm(found.t - true.t)) < RIGHT_DISTANCE * voxel


def fit_logistic(
    rows: Float[np.ndarray, "n d"], right: Bool[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> dict:
    """A logistic model in linear and squared standardised inputs, as `confidence` reads it."""
    mean, std = rows.mean(0), rows.std(0) + 1e-6
    x = np.clip((rows - mean) / std, -5, 5)
    x = np.hstack([x, x**2, np.ones((len(x), 1))])
    sign = np.where(right, 1.0, -1.0)
    w = weights / weights.sum()

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        z = sign * (x @ b)
        slope = -sign * w / (1 + np.exp(np.clip(z, -500, 500)))
        ridge = np.append(b[:-1], 0.0)
        value = float((w * np.logaddexp(0, -z)).sum() + RIDGE * (ridge**2).sum())
        return value, x.T @ slope + 2 * RIDGE * ridge

    b = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    return {
        "mean": mean.tolist(), "std": std.tolist(), "weights": b[:-1].tolist(), "bias": float(b[-1])
    }  # fmt: skip


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
        yield ready[i], ready[j], true


def candidate_rows(source, target, true: Rigid3, registrar: HoughRegistrar):
    """Evidence of every candidate of a pair and whether it is right."""
    m = match_features(source.features, target.features, per_point=registrar.candidates)
    pairs = pairing_of(source.surface, target.surface, np.stack([m.source, m.target], 1))
    found = hypothesise(pairs, VoteSettings(VOXEL))[:CHECKED]
    rows = [evidence_of(source, target, pairs, c.R, c.t, c.share, 600) for c in found]
    right = [
        is_right(Rigid3(c.R, c.t + target.centre - c.R @ source.centre), true, VOXEL) for c in found
    ]
    return [confidence.evidence_row(r, confidence.INPUTS) for r in rows], right


@dataclass
class FitOptions:
    """What the command can be told."""

    scans: str = "/tmp/scans"  # folder that `make_scans` wrote
    rooms: int = 1000  # use at most so many
    seed: int = 0  # of which pairs without overlap are taken


def main() -> None:
    """Collect, fit the ranking; answer with it, fit the probability; write both."""
    given = parse_key_values(FitOptions, sys.argv[1:])
    paths = sorted(Path(given.scans).glob("room_*.npz"))[: given.rooms]
    registrar, rng = HoughRegistrar(), np.random.default_rng(given.seed)
    kept, rows, right, share = [], [], [], []
    for number, path in enumerate(tqdm(paths, desc="candidates", unit="room")):
        for source, target, true in room_pairs(path, registrar, rng, known=number % 2 == 0):
            kept.append((source, target, true))
            found, labels = candidate_rows(source, target, true, registrar)
            rows += found
            right += labels
            share += [1 / max(len(found), 1)] * len(found)
    models = {"rank": fit_logistic(np.array(rows), np.array(right), np.array(share))}
    confidence.use({**models, "confidence": FIRST_CONFIDENCE})
    answers, correct = [], []
    for source, target, true in tqdm(kept, desc="answers", unit="pair"):
        answer = registrar.register(source, target)
        if answer.target_from_source is None:
            continue
        answers.append(confidence.evidence_row(answer.evidence, confidence.RIVAL_INPUTS))
        correct.append(is_right(answer.target_from_source, true, VOXEL))
    models["confidence"] = fit_logistic(np.array(answers), np.array(correct), np.ones(len(correct)))
    models["fitted_on"] = {
        "rooms": len(paths), "pairs": len(kept), "candidates": len(rows),
        "right_answers": int(np.sum(correct)), "seed": given.seed, "voxel_m": VOXEL,
    }  # fmt: skip
    confidence.FILE.parent.mkdir(exist_ok=True)
    write_atomic(confidence.FILE, json.dumps(models, indent=1))
    print(json.dumps(models["fitted_on"]))


FIRST_CONFIDENCE = {"mean": [0.0] * 7, "std": [1.0] * 7, "weights": [0.0] * 14, "bias": 0.0}

if __name__ == "__main__":
    main()
