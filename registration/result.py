"""What a registration answers: the transform and the evidence for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from corr.geometry.rigid import Rigid3


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One candidate alignment, `xyz_target = scale * R @ xyz_source + t`."""

    target_from_source: Rigid3
    votes: float  # weight of its peak in the Hough space, share of all votes
    inliers: int  # matches that agree with it
    overlap: float  # share of the source's points that lie on the target's surface
    violations: float  # share of the source's points that lie in front of what the target saw
    score: float  # what hypotheses are ranked by; higher is better
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Degeneracy:
    """A motion that hardly changes the fit: the answer is free along it."""

    kind: str  # "sliding" | "turning" | "screw"
    axis: Float[np.ndarray, " 3"]  # unit vector, target frame
    through: Float[np.ndarray, " 3"]  # a point on the axis, target frame
    sigma: float  # standard deviation along it: target's unit (sliding) or radians (turning)

    def text(self) -> str:
        """The sentence a user reads."""
        axis = ", ".join(f"{a:.2f}" for a in self.axis)
        return f"{self.kind} along ({axis}) is not fixed by the overlap (sigma {self.sigma:.3g})"


@dataclass(frozen=True, eq=False)
class Registration:
    """An answer with its evidence. Failure is data: `accepted` false and a `reason`.

    `target_from_source` (with `scale`) is None only where no hypothesis exists at all.
    """

    target_from_source: Rigid3 | None
    probability: float  # calibrated: rotation within 15 deg and translation within 6 voxels
    accepted: bool  # probability reaches the asked-for threshold
    reason: str  # why not accepted, and what to try; empty when accepted
    hypotheses: tuple[Hypothesis, ...] = ()  # best first; the first is the answer
    margin: float = 0.0  # score of the answer over the runner-up's, 0..1; 1 = no runner-up
    matches: Int[np.ndarray, "m 2"] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    inlier: Bool[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0, bool))
    rmse: float = float("nan")  # of the inlier surface distances after refinement, data's unit
    # Of the pose error (rotation in rad about `covariance_about`, translation of that point),
    # target frame; the two are None together.
    covariance: Float[np.ndarray, "6 6"] | None = None
    covariance_about: Float[np.ndarray, " 3"] | None = None  # the overlap's centre, target frame
    degeneracies: tuple[Degeneracy, ...] = ()
    scale: float = 1.0
    evidence: Mapping[str, float] = field(default_factory=dict)  # inputs of the probability
    seconds: Mapping[str, float] = field(default_factory=dict)  # by step

    @property
    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """4x4 `[scale * R | t]`, source to target."""
        if self.target_from_source is None:
            raise ValueError(f"there is no transform: {self.reason}")
        m = self.target_from_source.matrix
        m[:3, :3] *= self.scale
        return m
