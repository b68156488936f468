"""Motions that the overlap leaves free: along a plane, about a cylinder."""

import numpy as np
from jaxtyping import Float

from registration.refine import Uncertainty
from registration.result import Degeneracy

WEAK = 0.01  # share of the mean information below which a motion counts as free
TURNS = 0.3  # share of a motion, at the overlap's arm, from which on it counts as a turn
CORRELATED = 25.0  # points that share one error: neighbours on a surface are not independent


def covariance(u: Uncertainty) -> Float[np.ndarray, "6 6"]:
    """Covariance of (rotation about `u.centre` in rad, translation of it), target frame's axes.

    Neighbouring points err together, so the information is divided by `CORRELATED`.
    """
    scale = np.diag([1 / u.arm] * 3 + [1.0] * 3)
    information = scale @ u.information @ scale / max(u.rmse, 1e-300) ** 2 / CORRELATED
    floor = 1e-9 * np.trace(information) / 6
    return scale @ np.linalg.inv(information + floor * np.eye(6)) @ scale


def degeneracies(u: Uncertainty) -> tuple[Degeneracy, ...]:
    """Free motions, slides apart from turns.

    Rotations are measured at the overlap's mean arm, which makes both halves lengths. Free motions
    of about the same (little) information mix arbitrarily, so their space is split anew: what
    turns least are slides, the others turns about an axis.
    """
    scale = np.diag([1 / u.arm] * 3 + [1.0] * 3)
    values, vectors = np.linalg.eigh(scale @ u.information @ scale / u.pairs)
    free = values < WEAK
    if not free.any():
        return ()
    space = vectors[:, free]
    mix = np.linalg.svd(space[:3])[2]
    motions = (mix @ space.T)[::-1]  # by how much they turn, least first
    found = []
    for motion in motions:
        turn, slide = motion[:3], motion[3:]
        information = max(float(motion @ vectors @ (values * (vectors.T @ motion))), 1e-9)
        sigma = float(np.sqrt(CORRELATED / information / u.pairs) * u.rmse)
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
