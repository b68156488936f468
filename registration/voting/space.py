"""A sparse Hough space over motions, with or without scale: packed keys, sorting, sums."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

AXIS_BITS = (8, 8, 8, 11, 11, 11, 6)  # rotation vector, translation, logarithm of the scale
SHIFTS = tuple(sum(AXIS_BITS[axis + 1 :]) for axis in range(7))
FINEST_ROTATION_BIN = np.pi / (2 ** (AXIS_BITS[0] - 1) - 2)
ANTIPODE_MARGIN = 0.35  # rad below pi within which a vote also counts at its opposite


@dataclass(frozen=True, eq=False)
class VoteSpace:
    """Occupied bins, ascending by key, and which bin each vote fell into."""

    key: Int[np.ndarray, " n"]
    mass: Float[np.ndarray, " n"]  # summed weight of the votes, smoothed
    bin_of: Int[np.ndarray, " v"]  # bin of each vote; ghosts behind the true ones
    vote: Int[np.ndarray, " v"]  # true vote that each entry comes from

    @property
    def indices(self) -> Int[np.ndarray, "n 6"]:
        """Bin indices along the six axes of a rigid motion."""
        columns = [
            ((self.key >> shift) & ((1 << bits) - 1)) - (1 << (bits - 1))
            for shift, bits in list(zip(SHIFTS, AXIS_BITS, strict=True))[:6]
        ]
        return np.stack(columns, 1)


def rotation_vectors(R: Float[np.ndarray, "k 3 3"]) -> Float[np.ndarray, "k 3"]:
    """Axis times angle; by quaternions, so exact near zero and near pi.

    Source: Shepperd, Journal of Guidance and Control 1978.
    """
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(R).as_rotvec() if len(R) else np.zeros((0, 3))


def vote(
    R: Float[np.ndarray, "k 3 3"],
    t: Float[np.ndarray, "k 3"],
    weights: Float[np.ndarray, " k"],
    *,
    rotation_bin: float,
    translation_bin: float,
    log_scale: Float[np.ndarray, " k"] | None = None,
    scale_bin: float = 0.05,
) -> VoteSpace:
    """Gather weighted votes for motions in bins and smooth their masses.

    The source must be centred on its origin, or an uncertain rotation scatters the translations.
    A rotation by nearly pi lies at two opposite ends of the ball of rotation vectors: such votes
    count at both.

    Args:
        R: Rotations.
        t: Translations, votes for the source's centre.
        weights: Not negative.
        rotation_bin: Edge of a bin, radians.
        translation_bin: Edge of a bin, unit of t.
        log_scale: Natural logarithm of each vote's scale; None = all rigid.
        scale_bin: Edge of a bin along it.

    Raises:
        ValueError: The rotation bins are finer than the keys can hold.

    Source: Lee et al., Deep Hough Voting, ICCV 2021, section 3.2; the centring, the antipodes and
    the smoothing are ours.
    """
    if rotation_bin < FINEST_ROTATION_BIN:
        raise ValueError(
            f"rotation bins must be {FINEST_ROTATION_BIN:.3f} rad or wider, got {rotation_bin:.3f}"
        )
    omega = rotation_vectors(R)
    angle = np.linalg.norm(omega, axis=1)
    ghost = np.flatnonzero(angle > np.pi - ANTIPODE_MARGIN)
    opposite = omega[ghost] * (1 - 2 * np.pi / angle[ghost])[:, None]
    which = np.concatenate([np.arange(len(R)), ghost])
    place = np.concatenate([omega, opposite]) / rotation_bin
    size = np.zeros(len(R)) if log_scale is None else log_scale / scale_bin
    place = np.hstack([place, t[which] / translation_bin, size[which, None]])
    place = np.floor(place).astype(np.int64)
    key, bin_of = np.unique(_pack(place), return_inverse=True)
    mass = np.bincount(bin_of, weights[which], len(key))
    return VoteSpace(key, _smoothed(key, mass), bin_of, which)


def _pack(place: np.ndarray) -> np.ndarray:
    """One integer per bin; bins beyond the range share its border."""
    key = np.zeros(len(place), np.int64)
    for axis, (shift, bits) in enumerate(zip(SHIFTS, AXIS_BITS, strict=True)):
        half = 1 << (bits - 1)
        key |= (np.clip(place[:, axis], 1 - half, half - 2) + half) << shift
    return key


def _smoothed(key: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Masses after a [1/2, 1, 1/2] filter along each axis, evaluated on the occupied bins."""
    for shift in SHIFTS:
        step = np.int64(1) << shift
        total = mass.copy()
        for neighbour in (key - step, key + step):
            at = np.minimum(np.searchsorted(key, neighbour), len(key) - 1)
            total += 0.5 * np.where(key[at] == neighbour, mass[at], 0.0)
        mass = total
    return mass
