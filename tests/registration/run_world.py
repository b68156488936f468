"""A pair of scans with a known answer, and a registrar that knows it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from corr.geometry.rigid import Rigid3
from registration.api import Aligned, align
from registration.cloud import PointCloud
from registration.described import DescribedCloud
from registration.registrar import Registrar
from registration.result import Degeneracy, Hypothesis, Registration

N = 1501


def turned(degrees: float, t: list[float]) -> Rigid3:
    """A turn about z with a shift."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Rigid3(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), np.array(t))


TRUE = turned(30.0, [0.5, -0.2, 0.1])
RIVAL = turned(-60.0, [0.1, 0.4, 0.0])


def corner(rng: np.random.Generator) -> PointCloud:
    """Points on a floor and two walls, 2 m wide, each with its colour."""
    uv = rng.uniform(0, 2, (N, 2))
    side = np.arange(N) % 3
    xyz = np.zeros((N, 3))
    for k in range(3):
        mine = side == k
        xyz[mine] = np.insert(uv[mine], k, 0.0, axis=1)
    rgb = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]], np.uint8)[side]
    return PointCloud(xyz, rgb=rgb, name="corner.ply")


@dataclass
class Knows(Registrar):
    """Gives a fixed answer with all evidence that a registrar can give."""

    probability: float = 0.97
    finds: bool = True  # has an answer at all
    threshold: float = 0.5  # of the probability
    target_from_source: Any = None  # Rigid3; None = TRUE

    def prepare(self, cloud: PointCloud, voxel: float) -> DescribedCloud:
        """The cloud itself."""
        return DescribedCloud(cloud, np.zeros((len(cloud), 33)), voxel, 0.0)

    def register(self, source: Any, target: Any, *, seed: int = 0) -> Registration:
        """The known answer."""
        if not self.finds:
            return Registration(None, 0.0, accepted=False, reason="only 2 matches agree")
        best = self.target_from_source or TRUE
        index = np.arange(0, min(len(source.cloud), len(target.cloud)), 3)
        matches = np.stack([index, np.roll(index, 1) * (index % 2) + index * (1 - index % 2)], 1)
        accepted = self.probability >= self.threshold
        return Registration(
            best, self.probability, accepted, "" if accepted else "too few matches agree",
            hypotheses=(
                Hypothesis(best, 0.31, 250, 0.82, 0.01, 41.5),
                Hypothesis(RIVAL, 0.02, 12, 0.2, float("nan"), 9.0),
            ),
            margin=0.78, matches=matches, inlier=index % 2 == 0, rmse=0.0042,
            covariance=np.eye(6) * 1e-6, covariance_about=np.array([1.0, 2.0, 3.0]),
            degeneracies=(Degeneracy("sliding", np.array([1.0, 0, 0]), np.zeros(3), 0.2),),
            evidence={"inliers": 250.0, "odd": float("nan")}, seconds={"vote": 0.01},
        )  # fmt: skip


def pair(seed: int = 0) -> tuple[PointCloud, PointCloud]:
    """Source and target: the same points, the target's in its own frame."""
    source = corner(np.random.default_rng(seed))
    return source, source.moved(TRUE)


def aligned(**options: Any) -> Aligned:
    """A finished alignment."""
    return align(*pair(), registrar=Knows(**options), voxel=0.05)
