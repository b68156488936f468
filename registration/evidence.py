"""What speaks for and against a motion: matches that agree, and the surfaces themselves."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from corr.geometry.rigid import Rigid3
from registration.compatibility import Pairing
from registration.confidence import INPUTS, evidence_row, score
from registration.prepare import Keys, Prepared
from registration.result import Hypothesis
from registration.verify import surface_fit
from registration.voting.peaks import same_motion

NEAR = 1.5  # voxels within which surfaces touch
MATCH_BOUND = 2.0  # voxels, residual of a true match


@dataclass(frozen=True, eq=False)
class Checked:
    """A motion, `target = scale * R @ source + t`, with what speaks for and against it."""

    R: np.ndarray
    t: np.ndarray
    scale: float
    share: float  # of all votes, in its peak
    evidence: dict[str, float]


def pairing_of(source: Keys, target: Keys, rows: np.ndarray) -> Pairing:
    """The points, normals and noise of matched rows (m x 2, source and target)."""
    a, b = rows[:, 0], rows[:, 1]
    noise = None
    if source.noise is not None or target.noise is not None:
        parts = [
            np.zeros(len(rows)) if keys.noise is None else keys.noise[index]
            for keys, index in ((source, a), (target, b))
        ]
        noise = np.hypot(*parts)
    return Pairing(
        source.xyz[a], target.xyz[b], source.normals[a], target.normals[b], signed=True, noise=noise
    )


def sized(source: Prepared, pairs: Pairing, scale: float) -> tuple[Prepared, Pairing]:
    """A source and its matches as they are if it is `scale` times as large."""
    if scale == 1.0:
        return source, pairs
    return source.scaled(scale), replace(pairs, source=scale * pairs.source)


def evidence_of(
    source: Prepared, target: Prepared, pairs: Pairing, R, t, share: float, sample: int
) -> dict[str, float]:
    """The inputs of the confidence.

    Args:
        source: The cloud that moves.
        target: The cloud that stays.
        pairs: Their matches.
        R: Rotation of `target_from_source`.
        t: Its translation.
        share: Of all votes, those in the motion's peak.
        sample: Points of each cloud that are held against the other.
    """
    residual = np.linalg.norm(pairs.source @ R.T + t - pairs.target, axis=1)
    bound = pairs.bounds(MATCH_BOUND * target.voxel)
    support = float(np.maximum(1 - (residual / bound) ** 2, 0).sum())
    fit = surface_fit(source.surface, target.surface, R, t, near=NEAR * target.voxel, sample=sample)
    return {
        "log_support": float(np.log1p(support)),
        "support_share": support / max(len(pairs), 1),
        "vote_share": float(share),
        "overlap": fit.overlap,
        "contradicted": fit.contradicted,
        "violations": fit.violations,
        "inliers": float((residual < bound).sum()),
    }


def scores(found: list[Checked]) -> Float[np.ndarray, " k"]:
    """Log-odds that each is the right motion."""
    return score(np.stack([evidence_row(c.evidence, INPUTS) for c in found]))


def distinct(
    checked: list[Checked], voxel: float
) -> tuple[tuple[Hypothesis, ...], dict[str, float]]:
    """Hypotheses that are not the same motion, best first, and the evidence of the first."""
    values = scores(checked)
    order = np.argsort(-values, kind="stable")
    hypotheses: list[Hypothesis] = []
    for k in order:
        c = checked[k]
        if hypotheses and same_motion(
            c.R, c.t, np.stack([h.target_from_source.R for h in hypotheses]),
            np.stack([h.target_from_source.t for h in hypotheses]), angle=0.26, distance=6 * voxel,
        ).any():  # fmt: skip
            continue
        hypotheses.append(
            Hypothesis(
                Rigid3(c.R, c.t), c.evidence["vote_share"], int(c.evidence["inliers"]),
                c.evidence["overlap"], c.evidence["violations"], float(values[k]), c.scale,
            )
        )  # fmt: skip
    return tuple(hypotheses), dict(checked[order[0]].evidence)
