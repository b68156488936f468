"""Peaks of the Hough space, as motions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from registration.voting.space import VoteSpace


@dataclass(frozen=True, eq=False)
class Peaks:
    """Motions that many votes agree on, `target = scale * R @ source + t`, heaviest first."""

    R: Float[np.ndarray, "p 3 3"]
    t: Float[np.ndarray, "p 3"]
    scale: Float[np.ndarray, " p"]
    share: Float[np.ndarray, " p"]  # of all mass


def same_motion(
    R: Float[np.ndarray, "3 3"],
    t: Float[np.ndarray, " 3"],
    others_R: Float[np.ndarray, "k 3 3"],
    others_t: Float[np.ndarray, "k 3"],
    *,
    angle: float,
    distance: float,
) -> Bool[np.ndarray, " k"]:
    """Which other motions are the same within an angle (radians) and a distance."""
    trace = np.einsum("ij,kij->k", R, others_R)
    return (trace > 1 + 2 * np.cos(angle)) & (np.linalg.norm(others_t - t, axis=1) < distance)


def peaks(
    space: VoteSpace,
    R: Float[np.ndarray, "k 3 3"],
    t: Float[np.ndarray, "k 3"],
    weights: Float[np.ndarray, " k"],
    mass: Float[np.ndarray, " n"] | None = None,
    *,
    count: int,
    angle: float,
    distance: float,
    log_scale: Float[np.ndarray, " k"] | None = None,
) -> Peaks:
    """The heaviest bins that are not the same motion, each as the mean of its votes.

    Args:
        space: The bins.
        R: Rotations of the votes.
        t: Translations of the votes.
        weights: Weights of the votes.
        mass: What bins are ranked by; None = their own smoothed mass.
        count: Peaks wanted at most.
        angle: Motions closer than this and `distance` are one peak, radians.
        distance: Unit of t.
        log_scale: Natural logarithm of each vote's scale; None = all rigid.
    """
    rank = space.mass if mass is None else mass
    total = max(weights.sum(), 1e-300)
    by_bin = np.argsort(space.bin_of, kind="stable")
    start = np.searchsorted(space.bin_of[by_bin], np.arange(len(space.key) + 1))
    out_R, out_t, share = np.empty((count, 3, 3)), np.empty((count, 3)), np.empty(count)
    size = np.ones(count)
    found = 0
    for b in np.argsort(-rank, kind="stable")[: 20 * count]:
        votes = space.vote[by_bin[start[b] : start[b + 1]]]
        mean_R, mean_t = mean_motion(R[votes], t[votes], weights[votes])
        if same_motion(
            mean_R, mean_t, out_R[:found], out_t[:found], angle=angle, distance=distance
        ).any():
            continue
        out_R[found], out_t[found] = mean_R, mean_t
        share[found] = space.mass[b] / total
        if log_scale is not None:
            size[found] = np.exp(np.average(log_scale[votes], weights=weights[votes]))
        found += 1
        if found == count:
            break
    return Peaks(out_R[:found], out_t[:found], size[:found], share[:found])


def mean_motion(
    R: Float[np.ndarray, "k 3 3"], t: Float[np.ndarray, "k 3"], weights: Float[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Weighted chordal mean of rotations and mean of translations."""
    w = weights / max(weights.sum(), 1e-300)
    U, _, Vt = np.linalg.svd(np.einsum("k,kij->ij", w, R))
    U[:, 2] *= np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    return U @ Vt, w @ t
