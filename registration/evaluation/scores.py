"""From predictions and truth to every number that is reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from registration.calibration import Calibration, calibration
from registration.datasets.benchmark import Benchmark, FragmentPair
from registration.evaluation.predictions import Key, Prediction
from registration.recall import (
    INDOOR,
    INLIER_EDGES,
    KITTI_TIGHT,
    KITTI_WIDE,
    OVERLAP_EDGES,
    Bin,
    ErrorSummary,
    PoseErrors,
    PoseLimit,
    Recalls,
    binned_recall,
    error_summary,
    matching_recall,
    pose_errors,
    recalls,
    right_a,
)

LIMITS: dict[str, tuple[PoseLimit, ...]] = {"KITTI": (KITTI_TIGHT, KITTI_WIDE)}


@dataclass(frozen=True)
class SceneScores:
    """One scene, or all pairs together."""

    scene: str
    pairs: int
    answered: int  # pairs with an estimate, right or wrong
    recalls: Recalls
    successes: ErrorSummary  # over pairs right by definition A
    all_pairs: ErrorSummary  # over pairs with an estimate
    inlier_ratio: float  # mean, 0..1
    fmr: float
    seconds_register: float  # mean per pair
    seconds_pair: float  # with the preparation of each fragment, once, shared by the pairs


@dataclass(frozen=True)
class Scores:
    """All numbers of one run."""

    benchmark: str
    limit: str  # definition A's limits
    missing: tuple[str, ...]  # scenes of the benchmark that the folder lacks
    total: SceneScores
    scenes: tuple[SceneScores, ...]
    other_limits: dict[str, float]  # recall by further pose limits
    by_overlap: tuple[Bin, ...]
    by_inlier_ratio: tuple[Bin, ...]
    calibration: Calibration
    accepted_share: float  # answers that the registrar itself accepts
    accepted_precision: float


def score(benchmark: Benchmark, predictions: Mapping[Key, Prediction]) -> Scores:
    """Score all pairs of a benchmark.

    Raises:
        KeyError: A pair has no prediction.
    """
    pairs = benchmark.pairs
    rows = [predictions[p.key] for p in pairs]
    errors = pose_errors(pairs, [r.target_from_source for r in rows])
    limit, *others = LIMITS.get(benchmark.name, (INDOOR,))
    right = right_a(errors, limit)
    accepted = np.array([r.accepted for r in rows], dtype=bool)
    return Scores(
        benchmark=benchmark.name,
        limit=limit.text(),
        missing=benchmark.missing,
        total=_scene_scores("all", pairs, rows, errors, limit),
        scenes=tuple(
            _scene_scores(scene.name, *_part(scene.name, pairs, rows, errors), limit)
            for scene in benchmark.scenes
            if scene.pairs
        ),
        other_limits={o.text(): float(right_a(errors, o).mean()) for o in others},
        by_overlap=tuple(binned_recall(np.array([p.overlap for p in pairs]), right, OVERLAP_EDGES)),
        by_inlier_ratio=tuple(
            binned_recall(np.array([r.inlier_ratio for r in rows]), right, INLIER_EDGES)
        ),
        calibration=calibration(np.array([r.probability for r in rows]), right),
        accepted_share=float(accepted.mean()),
        accepted_precision=float(right[accepted].mean()) if accepted.any() else float("nan"),
    )


def _part(
    scene: str, pairs: Sequence[FragmentPair], rows: Sequence[Prediction], errors: PoseErrors
) -> tuple[list[FragmentPair], list[Prediction], PoseErrors]:
    index = [k for k, p in enumerate(pairs) if p.scene == scene]
    part = PoseErrors(errors.rotation_deg[index], errors.translation_m[index], errors.rmse_m[index])
    return [pairs[k] for k in index], [rows[k] for k in index], part


def _scene_scores(
    name: str,
    pairs: Sequence[FragmentPair],
    rows: Sequence[Prediction],
    errors: PoseErrors,
    limit: PoseLimit,
) -> SceneScores:
    ratios = np.array([r.inlier_ratio for r in rows])
    known = ratios[np.isfinite(ratios)]
    register = float(np.mean([r.seconds for r in rows]))
    return SceneScores(
        scene=name,
        pairs=len(pairs),
        answered=sum(r.matrix is not None for r in rows),
        recalls=recalls(pairs, errors, limit),
        successes=error_summary(errors, right_a(errors, limit)),
        all_pairs=error_summary(errors, np.ones(len(pairs), dtype=bool)),
        inlier_ratio=float(known.mean()) if len(known) else float("nan"),
        fmr=matching_recall(ratios),
        seconds_register=register,
        seconds_pair=register + _preparation(rows) / len(rows),
    )


def _preparation(rows: Sequence[Prediction]) -> float:
    """Seconds to prepare every fragment once (several workers may each have done it)."""
    seconds: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        seconds.setdefault((row.scene, row.source), []).append(row.source_seconds)
        seconds.setdefault((row.scene, row.target), []).append(row.target_seconds)
    return float(sum(np.mean(s) for s in seconds.values()))
