"""Registration recall in all its definitions, from the same estimates.

| | A: pose thresholds | B: RMSE through `gt.info` |
|---|---|---|
| a pair is right if | RE < 15 deg and TE < 30 cm | sqrt(e' L e / L[0,0]) <= 0.2 m, e = [t, q_xyz] of inv(truth) @ estimate |
| pairs | all | those of fragments that are not consecutive |
| used by | DGR, PointDSC, SC2-PCR, MAC, DHVR | 3DMatch toolbox, PREDATOR, GeoTransformer |

Either is averaged over pairs or over scenes. Two codes deviate from B: PREDATOR numbers the true
pairs from 0 and tests "> 0", so that the first row of a scene never counts; it averages over pairs.
GeoTransformer tests "<" instead of "<=" and averages over scenes.

Source: `lib/benchmark_utils.py` of PREDATOR; `experiments/*/eval.py` of GeoTransformer; the tables'
papers.
"""  # noqa: E501

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from corr.geometry.rigid import Rigid3, rotation_angle
from registration.datasets.benchmark import FragmentPair

RMSE_LIMIT_M = 0.2
FMR_SHARE = 0.05
SELF_CHECK_PAIRS = 100
_DIAGONAL = np.array([1.0, 2.0, -2.0]) / 3


@dataclass(frozen=True)
class PoseLimit:
    """A pair is right if both errors are smaller."""

    rotation_deg: float
    translation_m: float

    def text(self) -> str:
        """As a table heads it."""
        return f"{self.rotation_deg:g} deg / {100 * self.translation_m:g} cm"


INDOOR = PoseLimit(15.0, 0.3)
KITTI_TIGHT = PoseLimit(5.0, 0.6)  # DGR, PointDSC, SC2-PCR, MAC
KITTI_WIDE = PoseLimit(5.0, 2.0)  # PREDATOR, GeoTransformer


@dataclass(frozen=True, eq=False)
class PoseErrors:
    """Errors of n estimates; infinite where there is none.

    Args:
        rotation_deg: Angle between estimate and truth.
        translation_m: Distance between the translations.
        rmse_m: Definition B's distance; NaN where the benchmark has no information matrix.
    """

    rotation_deg: Float[np.ndarray, " n"]
    translation_m: Float[np.ndarray, " n"]
    rmse_m: Float[np.ndarray, " n"]


def pose_errors(pairs: Sequence[FragmentPair], estimates: Sequence[Rigid3 | None]) -> PoseErrors:
    """Errors of `target_from_source` estimates, pair by pair."""
    rows = [_errors(pair, estimate) for pair, estimate in zip(pairs, estimates, strict=True)]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return PoseErrors(table[:, 0], table[:, 1], table[:, 2])


def _errors(pair: FragmentPair, estimate: Rigid3 | None) -> tuple[float, float, float]:
    if estimate is None:
        return np.inf, np.inf, np.nan if pair.info is None else np.inf
    truth = pair.target_from_source
    rotation = np.degrees(rotation_angle(truth.R.T @ estimate.R))
    translation = float(np.linalg.norm(estimate.t - truth.t))
    rmse = np.nan if pair.info is None else info_rmse(truth, estimate, pair.info)
    return float(rotation), translation, rmse


def info_rmse(truth: Rigid3, estimate: Rigid3, info: Float[np.ndarray, "6 6"]) -> float:
    """Root mean square distance of the true correspondences after the estimate, metres.

    Second-order in the rotation: e' L e / L[0,0] with e = [t, q_xyz] of inv(truth) @ estimate; `q`
    is the unit quaternion with w >= 0.
    """
    error = truth.inverse() @ estimate
    quaternion = Rotation.from_matrix(error.R).as_quat(canonical=True)
    e = np.concatenate([error.t, quaternion[:3]])
    return float(np.sqrt(max(0.0, e @ info @ e / info[0, 0])))


def right_a(errors: PoseErrors, limit: PoseLimit = INDOOR) -> Bool[np.ndarray, " n"]:
    """Definition A, pair by pair."""
    return (errors.rotation_deg < limit.rotation_deg) & (errors.translation_m < limit.translation_m)


def right_b(errors: PoseErrors, *, strict: bool = False) -> Bool[np.ndarray, " n"]:
    """Definition B's test, pair by pair; `strict` as GeoTransformer has it."""
    return errors.rmse_m < RMSE_LIMIT_M if strict else errors.rmse_m <= RMSE_LIMIT_M


def counted_b(pairs: Sequence[FragmentPair], *, skip_first: bool = False) -> Bool[np.ndarray, " n"]:
    """Which pairs definition B counts.

    Args:
        pairs: Any part of a benchmark.
        skip_first: Leave out the first row of each scene's file, as PREDATOR does.
    """
    counted = [
        pair.info is not None and not pair.consecutive and not (skip_first and pair.row == 0)
        for pair in pairs
    ]
    return np.array(counted, dtype=bool)


def over_pairs(right: Bool[np.ndarray, " n"], counted: Bool[np.ndarray, " n"]) -> float:
    """Share of the counted pairs that are right; NaN when none is counted."""
    return float(right[counted].mean()) if counted.any() else float("nan")


def over_scenes(
    right: Bool[np.ndarray, " n"], counted: Bool[np.ndarray, " n"], scenes: Sequence[str]
) -> float:
    """Mean over scenes of the share within each; scenes without a counted pair are left out."""
    names = np.array(scenes)
    each = [
        right[counted & (names == s)].mean() for s in dict.fromkeys(scenes)
        if (counted & (names == s)).any()
    ]  # fmt: skip
    return float(np.mean(each)) if each else float("nan")


@dataclass(frozen=True)
class Recalls:
    """Every definition, 0..1; NaN where the benchmark has no information matrices."""

    a_pairs: float
    a_scenes: float
    b_pairs: float
    b_scenes: float
    b_predator: float  # first row of each scene left out, over pairs
    b_geotransformer: float  # strict, over scenes


def recalls(
    pairs: Sequence[FragmentPair], errors: PoseErrors, limit: PoseLimit = INDOOR
) -> Recalls:
    """All definitions and averagings of the same estimates."""
    scenes = [p.scene for p in pairs]
    everything = np.ones(len(pairs), dtype=bool)
    a, b, counted = right_a(errors, limit), right_b(errors), counted_b(pairs)
    return Recalls(
        a_pairs=over_pairs(a, everything),
        a_scenes=over_scenes(a, everything, scenes),
        b_pairs=over_pairs(b, counted),
        b_scenes=over_scenes(b, counted, scenes),
        b_predator=over_pairs(b, counted_b(pairs, skip_first=True)),
        b_geotransformer=over_scenes(right_b(errors, strict=True), counted, scenes),
    )


@dataclass(frozen=True)
class ErrorSummary:
    """Mean and median of the pose errors of some pairs, degrees and centimetres."""

    count: int
    rotation_mean_deg: float
    rotation_median_deg: float
    translation_mean_cm: float
    translation_median_cm: float


def error_summary(errors: PoseErrors, which: Bool[np.ndarray, " n"]) -> ErrorSummary:
    """Over the chosen pairs that have an estimate; NaN when there are none."""
    chosen = which & np.isfinite(errors.rotation_deg)
    re, te = errors.rotation_deg[chosen], 100 * errors.translation_m[chosen]
    if not len(re):
        return ErrorSummary(0, *[float("nan")] * 4)
    return ErrorSummary(
        len(re), float(re.mean()), float(np.median(re)), float(te.mean()), float(np.median(te))
    )


def matching_recall(inlier_ratio: Float[np.ndarray, " n"]) -> float:
    """FMR: share of pairs of which more than 5 % of the matches are inliers; NaN if unknown."""
    known = inlier_ratio[np.isfinite(inlier_ratio)]
    return float((known > FMR_SHARE).mean()) if len(known) else float("nan")


@dataclass(frozen=True)
class Bin:
    """Recall of the pairs of which some quantity lies in [low, high)."""

    low: float
    high: float
    count: int
    recall: float


OVERLAP_EDGES = (0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
INLIER_EDGES = (0.0, 0.01, 0.02, 0.04, 0.06, 0.1, 1.0)


def binned_recall(
    values: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], edges: Sequence[float]
) -> list[Bin]:
    """Recall per bin; the last bin holds its upper edge too; empty bins are left out."""
    bins = []
    for low, high in pairwise(edges):
        inside = (values >= low) & ((values < high) | ((high == edges[-1]) & (values <= high)))
        if inside.any():
            bins.append(Bin(low, high, int(inside.sum()), float(right[inside].mean())))
    return bins


def self_check(pairs: Sequence[FragmentPair]) -> None:
    """Test the truth and this file against each other on the benchmark at hand.

    The truth itself must be right by every definition, shifted by 40 cm it must be wrong by every
    definition, and shifted by 10 cm its RMSE must be 10 cm, whatever the information matrix.

    Raises:
        ValueError: A file does not mean what it is read as (an information matrix with rotation
            first, say).
    """
    for pair in pairs:
        if pair.info is None:
            continue
        squared = float(_DIAGONAL @ pair.info[:3, :3] @ _DIAGONAL) / pair.info[0, 0]
        if abs(squared - 1.0) > 1e-4:
            raise ValueError(
                f"gt.info of {pair.key} weighs a shift by {squared:.4f} instead of 1; its "
                "translation must come first"
            )
    some = pairs[:: max(1, len(pairs) // SELF_CHECK_PAIRS)]
    for shift, expected in ((0.0, 1.0), (0.1, 1.0), (0.4, 0.0)):
        truths = [p.target_from_source for p in some]
        errors = pose_errors(some, [Rigid3(t.R, t.t + shift * (t.R @ _DIAGONAL)) for t in truths])
        known = np.isfinite(errors.rmse_m)
        if not np.allclose(errors.rmse_m[known], shift, atol=1e-4):
            raise ValueError(f"self-check failed: a shift of {shift} m has RMSE {errors.rmse_m}")
        found = vars(recalls(some, errors))
        wrong = {k: v for k, v in found.items() if np.isfinite(v) and v != expected}
        if wrong:
            raise ValueError(f"self-check of the recalls failed: {wrong}, expected {expected}")
