"""Motions that the overlap leaves free: along a plane, about a cylinder."""

import numpy as np
from jaxtyping import Float

from registration.refine import Uncertainty
from registration.result import Degeneracy

WEAK = 0.01  # share of the mean information below which a motion counts as free
CORRELATED = 25.0  # points that share one error: neighbours on a surface are not independent


def covariance(u: Uncertainty) -> Float[np.ndarray, "6 6"]:
    """Covariance of (rotation about the overlap's centre in rad, translation), target frame.

    Neighbouring points err together, so the information is divided by `CORRELATED`.
    """
    scale = np.diag([1 / u.arm] * 3 + [1.0] * 3)
    information = scale @ u.information @ scale / max(u.rmse, 1e-300) ** 2 / CORRELATED
    floor = 1e-9 * np.trace(information) / 6
    return scale @ np.linalg.inv(information + floor * np.eye(6)) @ scale


def degeneracies(u: Uncertainty) -> tuple[Degeneracy, ...]:
    """Free motions, named by the part of them that moves most.

    Rotations are measured at the overlap's mean arm, which makes both halves lengths.
    """
    scale = np.diag([1 / u.arm] * 3 + [1.0] * 3)
    values, vectors = np.linalg.eigh(scale @ u.information @ scale / u.pairs)
    sigma = np.sqrt(CORRELATED / np.maximum(values, 1e-9) / u.pairs) * u.rmse
    found = []
    for value, vector, s in zip(values, vectors.T, sigma, strict=True):
        if value > WEAK:
            continue
        turn, slide = vector[:3], vector[3:]
        if np.linalg.norm(slide) >= np.linalg.norm(turn):
            found.append(Degeneracy("sliding", slide / np.linalg.norm(slide), u.centre, float(s)))
        else:
            axis = turn / np.linalg.norm(turn)
            # Turning about an axis beside the centre is turning plus sliding.
            through = u.centre + np.cross(axis, slide) * u.arm / np.linalg.norm(turn)
            found.append(Degeneracy("turning", axis, through, float(s / u.arm)))
    return tuple(found)
