"""Clouds far from their origin (surveys) are aligned near it, and the answer is moved back."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.result import Degeneracy, Hypothesis, Registration

_FAR = 50.0  # extents between the origin and the centroid of a cloud that is moved


def local_origin(cloud: PointCloud) -> Float[np.ndarray, " 3"]:
    """Zero, or a whole-number point in the middle of the cloud if it lies far from its origin.

    Extremes do not count: one stray point must not move the origin, which costs digits.
    """
    low, middle, high = np.percentile(cloud.xyz, [1, 50, 99], axis=0)
    extent = float((high - low).max())
    if float(np.linalg.norm(middle)) < _FAR * extent:
        return np.zeros(3)
    return np.round(middle)


def shifted(cloud: PointCloud, origin: Float[np.ndarray, " 3"]) -> PointCloud:
    """The cloud with `origin` as its new origin."""
    return cloud.moved(Rigid3(np.eye(3), -origin)) if origin.any() else cloud


def restored(
    answer: Registration, source_origin: Float[np.ndarray, " 3"],
    target_origin: Float[np.ndarray, " 3"],
) -> Registration:  # fmt: skip
    """An answer between shifted clouds as one between the clouds themselves.

    With x_t' = s R x_s' + t', x_s' = x_s - o_s and x_t' = x_t - o_t: t = t' + o_t - s R o_s. The
    covariance stays as it is, since it is that of the point `covariance_about`.
    """
    if not source_origin.any() and not target_origin.any():
        return answer

    def back(local: Rigid3, scale: float) -> Rigid3:
        return Rigid3(local.R, local.t + target_origin - scale * (local.R @ source_origin))

    def hypothesis(h: Hypothesis) -> Hypothesis:
        return replace(h, target_from_source=back(h.target_from_source, h.scale))

    def degeneracy(d: Degeneracy) -> Degeneracy:
        return replace(d, through=d.through + target_origin)

    moved, about = answer.target_from_source, answer.covariance_about
    return replace(
        answer,
        target_from_source=None if moved is None else back(moved, answer.scale),
        hypotheses=tuple(hypothesis(h) for h in answer.hypotheses),
        degeneracies=tuple(degeneracy(d) for d in answer.degeneracies),
        covariance_about=None if about is None else about + target_origin,
    )
