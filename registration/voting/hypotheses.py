"""From matches to a short list of candidate motions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from registration.compatibility import Pairing, compatibility_graph
from registration.kabsch import robust_fit
from registration.voting.peaks import peaks, same_motion
from registration.voting.proposals import PROPOSALS
from registration.voting.space import vote

RESOLUTIONS = (1.0, 0.5)  # of the bins


@dataclass(frozen=True, eq=False)
class Candidate:
    """A motion that the matches vote for, `target = R @ source + t`."""

    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]
    support: float  # matches that agree with it, each weighted by how closely
    share: float  # of all votes, in its peak
    inlier: np.ndarray  # mask over the matches


@dataclass(frozen=True)
class VoteSettings:
    """Sizes of the search; lengths in units of `bound`'s voxel."""

    voxel: float
    votes: str = "triangles"  # who votes: triangles | pairs | points
    cliques: int = 2000  # strongest edges (points: matches) that vote
    peaks: int = 30  # per resolution
    rotation_bin: float = 0.15  # rad
    translation_bin: float = 3.0  # voxels
    tolerance: float = 1.5  # voxels, difference of two lengths
    shortest: float = 3.0  # voxels
    bound: float = 2.0  # voxels, residual of a true match
    learned: bool = False  # rank bins by the shipped network instead of by their mass
    angle: float = 0.6  # rad, difference of two angles between normals and lines


def hypothesise(pairs: Pairing, s: VoteSettings) -> list[Candidate]:
    """Let compatible triangles of matches vote, and refit the peaks on their matches.

    Returns:
        Distinct candidates, most support first; empty if no three matches agree.
    """
    if len(pairs) < 3:
        return []
    centre = np.median(pairs.source, axis=0)
    centred = Pairing(
        pairs.source - centre, pairs.target, pairs.source_normals, pairs.target_normals,
        pairs.signed,
    )  # fmt: skip
    graph = compatibility_graph(
        centred, tolerance=s.tolerance * s.voxel, shortest=s.shortest * s.voxel, angle=s.angle
    )
    votes = PROPOSALS[s.votes](centred, graph, s.cliques, s.voxel)
    if not len(votes.R):
        return []
    found: list[Candidate] = []
    for R_peak, t_peak, share in _all_peaks(votes.R, votes.t, votes.weight, s):
        candidate = _refit(centred, R_peak, t_peak, share, s)
        if candidate is not None and not _known(candidate, found, s):
            found.append(candidate)
    found.sort(key=lambda c: -c.support)
    return [Candidate(c.R, c.t - c.R @ centre, c.support, c.share, c.inlier) for c in found]


def _all_peaks(R, t, weights, s: VoteSettings):
    for scale in RESOLUTIONS:
        space = vote(
            R, t, weights,
            rotation_bin=scale * s.rotation_bin,
            translation_bin=scale * s.translation_bin * s.voxel,
        )  # fmt: skip
        logits = None
        if s.learned:
            from registration.learned.refine import refine_votes

            logits = refine_votes(space.indices, space.mass)
        found = peaks(space, R, t, weights, logits, count=s.peaks, angle=0.25, distance=3 * s.voxel)
        yield from zip(*found, strict=True)


def _refit(pairs: Pairing, R, t, share, s: VoteSettings) -> Candidate | None:
    bound = s.bound * s.voxel
    R, t, residual = robust_fit(pairs.source, pairs.target, R, t, bound)
    inlier = residual < bound
    if inlier.sum() < 3:
        return None
    support = float(np.maximum(1 - (residual / bound) ** 2, 0).sum())
    return Candidate(R, t, support, float(share), inlier)


def _known(candidate: Candidate, found: list[Candidate], s: VoteSettings) -> bool:
    if not found:
        return False
    return bool(
        same_motion(
            candidate.R, candidate.t, np.stack([c.R for c in found]),
            np.stack([c.t for c in found]), angle=0.1, distance=1.5 * s.voxel,
        ).any()
    )  # fmt: skip
