"""Motions that the overlap leaves free: along a plane, about a cylinder."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import erf

from registration.refine import Uncertainty
from registration.result import Degeneracy

WEAK = 0.01  # share of the mean information below which a motion counts as free
TURNS = 0.3  # share of a motion, at the overlap's arm, from which on it counts as a turn
CORRELATED = 25.0  # points that share one error: neighbours on a surface are not independent


def covariance(u: Uncertainty) -> Float[np.ndarray, "6 6"]:
    """Covariance of (rotation about `u.centre` in rad, translation of it), target frame's axes.

    Neighbouring points err together, so the information is divided by `CORRELATED`. What the noise
    of the normals feigns is no information: a motion without any has the overlap's own size.
    """
    scale, values, vectors = _modes(u)
    return scale @ (vectors * _variance(u, values)) @ vectors.T @ scale


def _modes(u: Uncertainty) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations measured at the arm; information a point, and its directions."""
    scale = np.diag([1 / u.arm] * 3 + [1.0] * 3)
    values, vectors = np.linalg.eigh(scale @ u.information @ scale / u.pairs)
    return scale, values, vectors


def _variance(u: Uncertainty, information: np.ndarray) -> np.ndarray:
    """Of motions with so much information a point; squared unit of the points."""
    known = np.maximum(information - u.normal_noise**2, 1e-12)
    return np.minimum(CORRELATED * u.noise**2 / (u.pairs * known), u.arm**2)


def chance_within(free: Sequence[Degeneracy], *, turn: float, slide: float) -> float:
    """Probability that no free motion is off by more than `turn` (rad) or `slide` (their unit)."""
    chance = 1.0
    for d in free:
        limit = slide if d.kind == "sliding" else turn
        chance *= float(erf(limit / (np.sqrt(2) * d.sigma)))
    return chance


def degeneracies(u: Uncertainty) -> tuple[Degeneracy, ...]:
    """Free motions, slides apart from turns.

    Rotations are measured at the overlap's mean arm, which makes both halves lengths. Free motions
    of about the same (little) information mix arbitrarily, so their space is split anew: what
    turns least are slides, the others turns about an axis.
    """
    _, values, vectors = _modes(u)
    free = values < WEAK
    if not free.any():
        return ()
    space = vectors[:, free]
    mix = np.linalg.svd(space[:3])[2]
    motions = (mix @ space.T)[::-1]  # by how much they turn, least first
    found = []
    for motion in motions:
        turn, slide = motion[:3], motion[3:]
        information = motion @ vectors @ (values * (vectors.T @ motion))
        sigma = float(np.sqrt(_variance(u, information)))
        size = float(np.linalg.norm(turn))
        if size < TURNS:
            direction = slide / np.linalg.norm(slide)
            found.append(Degeneracy("sliding", direction, u.centre, sigma))
            continue
        axis = turn / size
        along = float(axis @ slide)
        # Turning about an axis beside the centre shows as turning plus sliding across it.
        through = u.centre + np.cross(axis, slide) * u.arm / size
        kind = "screw" if abs(along) > TURNS else "turning"
        found.append(Degeneracy(kind, axis, through, sigma / u.arm))
    return tuple(found)
