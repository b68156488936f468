"""From matches to a short list of candidate motions."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from registration.compatibility import Pairing, compatibility_graph
from registration.kabsch import robust_fit
from registration.voting.peaks import peaks, same_motion
from registration.voting.proposals import PROPOSALS, Votes
from registration.voting.space import vote

RESOLUTIONS = (1.0, 0.5)  # of the bins
SCALE_BIN = 0.05  # of the logarithm of the scale


@dataclass(frozen=True, eq=False)
class Candidate:
    """A motion that the matches vote for, `target = scale * R @ source + t`."""

    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]
    support: float  # matches that agree with it, each weighted by how closely
    share: float  # of all votes, in its peak
    inlier: np.ndarray  # mask over the matches
    scale: float = 1.0


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
    scale_range: float = 1.0  # sizes from 1/this to this times the source's; 1 = rigid

    def scales(self) -> Float[np.ndarray, " n"]:
        """The sizes that are voted for, ascending, about SCALE_BIN apart; the middle one is 1."""
        steps = int(np.ceil(np.log(self.scale_range) / SCALE_BIN - 1e-9))
        return np.exp(SCALE_BIN * np.arange(-steps, steps + 1))


def hypothesise(pairs: Pairing, s: VoteSettings) -> list[Candidate]:
    """Let compatible triangles of matches vote, and refit the peaks on their matches.

    Returns:
        Distinct candidates, most support first; empty if no three matches agree.
    """
    if len(pairs) < 3:
        return []
    centre = np.median(pairs.source, axis=0)
    centred = replace(pairs, source=pairs.source - centre)
    votes = Votes.joined([_votes(centred, scale, s) for scale in s.scales()])
    found: list[Candidate] = []
    for R_peak, t_peak, scale, share in _all_peaks(votes, s) if len(votes.R) else ():
        candidate = _refit(centred, R_peak, t_peak, scale, share, s)
        if candidate is not None and not _known(candidate, found, s):
            found.append(candidate)
    found.sort(key=lambda c: -c.support)
    return [replace(c, t=c.t - c.scale * (c.R @ centre)) for c in found]


def _votes(pairs: Pairing, scale: float, s: VoteSettings) -> Votes:
    """Motions that triangles of matches propose if the source is `scale` times as large."""
    sized = pairs if scale == 1.0 else replace(pairs, source=scale * pairs.source)
    graph = compatibility_graph(
        sized, tolerance=s.tolerance * s.voxel, shortest=s.shortest * s.voxel, angle=s.angle
    )
    return PROPOSALS[s.votes](sized, graph, s.cliques, s.voxel).of_source_times(scale)


def _all_peaks(votes: Votes, s: VoteSettings):
    for width in RESOLUTIONS:
        space = vote(
            votes.R, votes.t, votes.weight,
            rotation_bin=width * s.rotation_bin,
            translation_bin=width * s.translation_bin * s.voxel,
            log_scale=votes.log_scale + SCALE_BIN / 2, scale_bin=SCALE_BIN,
        )  # fmt: skip
        logits = None
        if s.learned:
            from registration.learned.refine import refine_votes

            logits = refine_votes(space.indices, space.mass)
        found = peaks(
            space, votes.R, votes.t, votes.weight, logits,
            count=s.peaks, angle=0.25, distance=3 * s.voxel, log_scale=votes.log_scale,
        )  # fmt: skip
        yield from zip(found.R, found.t, found.scale, found.share, strict=True)


def _refit(pairs: Pairing, R, t, scale: float, share, s: VoteSettings) -> Candidate | None:
    bound = pairs.bounds(s.bound * s.voxel)
    free = None if s.scale_range == 1.0 else scale
    fit = robust_fit(pairs.source, pairs.target, R, t, bound, scale=free)
    inlier = fit.residual < bound
    if inlier.sum() < 3:
        return None
    support = float(np.maximum(1 - (fit.residual / bound) ** 2, 0).sum())
    return Candidate(fit.R, fit.t, support, float(share), inlier, fit.scale)


def _known(candidate: Candidate, found: list[Candidate], s: VoteSettings) -> bool:
    if not found:
        return False
    return bool(
        same_motion(
            candidate.R, candidate.t, np.stack([c.R for c in found]),
            np.stack([c.t for c in found]), angle=0.1, distance=1.5 * s.voxel,
        ).any()
    )  # fmt: skip
