"""Registrars of others behind our contract, to compare with: Open3D RANSAC, FGR, KISS-Matcher.

Their probability is a saturating count of inliers, 1 / (1 + (half / n)^steepness), with numbers for
indoor fragments: a ranking that makes sense, not a calibration.
"""

from abc import abstractmethod
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int

from corr.errors import UserError
from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.described import (
    DescribedCloud,
    describe,
    feature_matches,
    o3d_feature,
    o3d_points,
    refit,
    rigid_from,
)
from registration.one_thread import one_thread
from registration.registrar import Registrar
from registration.result import Hypothesis, Registration

FPFH_HALF, FPFH_STEEPNESS = 25.0, 4.0  # mutual or one-way FPFH matches within two voxels
KISS_HALF, KISS_STEEPNESS = 12.0, 2.5  # after its own pruning
THRESHOLD = 0.5


@dataclass
class FpfhRegistrar(Registrar):
    """What Open3D's two estimators share."""

    keypoints: int = 0  # points with a descriptor per cloud, drawn at random; 0 = all
    bound: float = 1.5  # voxels, largest distance of an inlier
    refit: bool = False  # reweighted least squares on the matches within 2 voxels afterwards

    def __post_init__(self):
        if self.keypoints < 0:
            raise ValueError(f"keypoints must be 0 (all) or more, got {self.keypoints}")
        if not self.bound > 0:
            raise ValueError(f"bound must be positive, got {self.bound}")

    def prepare(self, cloud: PointCloud, voxel: float) -> DescribedCloud:
        """Voxels, normals, FPFH."""
        return describe(cloud, voxel, self.keypoints)

    @abstractmethod
    def estimate(
        self, source: DescribedCloud, target: DescribedCloud, matches: Int[np.ndarray, "m 2"]
    ) -> Rigid3:
        """`target_from_source` of Open3D."""

    def matches(self, source: DescribedCloud, target: DescribedCloud) -> Int[np.ndarray, "m 2"]:
        """The matches that are reported and, where the estimator takes any, used."""
        return feature_matches(source, target, mutual=False)

    def register(self, source: Any, target: Any, *, seed: int = 0) -> Registration:
        """Match, estimate, perhaps refit; repeatable."""
        import open3d as o3d

        start = perf_counter()
        matches = self.matches(source, target)
        matched = perf_counter()
        if len(matches) < 3:
            return _no_answer(f"only {len(matches)} matches of descriptors")
        o3d.utility.random.seed(seed)
        with one_thread():
            moved = self.estimate(source, target, matches)
        a, b = source.cloud.xyz[matches[:, 0]], target.cloud.xyz[matches[:, 1]]
        if self.refit:
            moved = refit(a, b, moved, 2 * source.voxel)
        inlier = np.linalg.norm(moved.apply(a) - b, axis=1) < 2 * source.voxel
        seconds = {"match": matched - start, "estimate": perf_counter() - matched}
        return _answer(moved, matches, inlier, seconds, (FPFH_HALF, FPFH_STEEPNESS))


@dataclass
class Open3DRansac(FpfhRegistrar):
    """Open3D's RANSAC on matched FPFH."""

    VERSION: ClassVar[int] = 2  # one thread

    mutual: bool = True  # only matches that are nearest in both directions
    iterations: int = 50_000  # at most; it stops early at the confidence
    confidence: float = 0.999  # that a better sample would have been found

    def __post_init__(self):
        super().__post_init__()
        if self.iterations < 1:
            raise ValueError(f"iterations must be 1 or more, got {self.iterations}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {self.confidence}")

    def matches(self, source: DescribedCloud, target: DescribedCloud) -> Int[np.ndarray, "m 2"]:
        """One-way or mutual nearest descriptors."""
        return feature_matches(source, target, mutual=self.mutual)

    def estimate(
        self, source: DescribedCloud, target: DescribedCloud, matches: Int[np.ndarray, "m 2"]
    ) -> Rigid3:
        """`registration_ransac_based_on_correspondence` with the two usual checkers."""
        import open3d as o3d

        registration, bound = o3d.pipelines.registration, self.bound * source.voxel
        result = registration.registration_ransac_based_on_correspondence(
            o3d_points(source), o3d_points(target),
            o3d.utility.Vector2iVector(matches.astype(np.int32)), bound,
            registration.TransformationEstimationPointToPoint(False), 3,
            [registration.CorrespondenceCheckerBasedOnEdgeLength(0.9),
             registration.CorrespondenceCheckerBasedOnDistance(bound)],
            registration.RANSACConvergenceCriteria(self.iterations, self.confidence),
        )  # fmt: skip
        return rigid_from(result.transformation)


@dataclass
class Open3DFgr(FpfhRegistrar):
    """Open3D's Fast Global Registration on FPFH (it matches by itself).

    Source: Zhou, Park, Koltun, ECCV 2016.
    """

    iterations: int = 64  # of the graduated optimisation

    def estimate(
        self, source: DescribedCloud, target: DescribedCloud, matches: Int[np.ndarray, "m 2"]
    ) -> Rigid3:
        """`registration_fgr_based_on_feature_matching`."""
        import open3d as o3d

        registration = o3d.pipelines.registration
        result = registration.registration_fgr_based_on_feature_matching(
            o3d_points(source), o3d_points(target), o3d_feature(source), o3d_feature(target),
            registration.FastGlobalRegistrationOption(
                maximum_correspondence_distance=self.bound * source.voxel,
                iteration_number=self.iterations,
            ),
        )  # fmt: skip
        return rigid_from(result.transformation)


@dataclass
class KissMatcher(Registrar):
    """KISS-Matcher on voxel points; it shuffles from the machine's entropy, so no seed holds it.

    Source: Lim et al., ICRA 2025; pip package kiss-matcher.
    """

    robin_bound: float = 1.0  # voxels, noise bound of the graph that prunes matches
    solver_bound: float = 0.75  # voxels, noise bound of the solver

    def prepare(self, cloud: PointCloud, voxel: float) -> DescribedCloud:
        """The points alone: the library makes its own voxels, normals and descriptors."""
        _import_kiss_matcher()
        return DescribedCloud(cloud, np.zeros((len(cloud), 33)), voxel, 0.0)

    def register(self, source: Any, target: Any, *, seed: int = 0) -> Registration:
        """Descriptors, matching, pruning and solving in one call."""
        kiss_matcher = _import_kiss_matcher()
        start = perf_counter()
        config = kiss_matcher.KISSMatcherConfig(
            source.voxel, robin_noise_bound_gain=self.robin_bound,
            solver_noise_bound_gain=self.solver_bound,
        )  # fmt: skip
        matcher = kiss_matcher.KISSMatcher(config)
        solution = matcher.estimate(
            list(source.cloud.xyz.astype(np.float32)), list(target.cloud.xyz.astype(np.float32))
        )
        R = np.asarray(solution.rotation, dtype=np.float64)
        if not solution.valid or not np.allclose(R @ R.T, np.eye(3), atol=1e-3):
            return _no_answer("KISS-Matcher found no solution")
        moved = rigid_from(np.column_stack([R, np.asarray(solution.translation).reshape(3)]))
        inlier = np.ones(matcher.get_num_final_inliers(), dtype=bool)
        none = np.zeros((0, 2), np.int64)
        seconds = {"estimate": perf_counter() - start}
        return _answer(moved, none, inlier, seconds, (KISS_HALF, KISS_STEEPNESS))


def _import_kiss_matcher() -> Any:
    try:
        import kiss_matcher
    except ImportError:
        raise UserError(
            "registrar=kiss_matcher needs the package kiss-matcher; "
            "install it with: pip install kiss-matcher==1.0.2"
        ) from None
    return kiss_matcher


def _answer(
    moved: Rigid3,
    matches: Int[np.ndarray, "m 2"],
    inlier: Bool[np.ndarray, " k"],
    seconds: dict[str, float],
    curve: tuple[float, float],
) -> Registration:
    count = int(inlier.sum())
    half, steepness = curve
    probability = 1.0 / (1.0 + (half / max(count, 1)) ** steepness)
    accepted = probability >= THRESHOLD
    nan = float("nan")
    return Registration(
        moved, probability, accepted, "" if accepted else f"only {count} inliers",
        hypotheses=(Hypothesis(moved, nan, count, nan, nan, float(count)),),
        matches=matches, inlier=inlier if len(matches) else np.zeros(0, bool),
        evidence={"inliers": float(count), "matches": float(len(matches))}, seconds=seconds,
    )  # fmt: skip


def _no_answer(reason: str) -> Registration:
    return Registration(None, 0.0, accepted=False, reason=reason)


BASELINES: dict[str, type[Registrar]] = {
    "ransac": Open3DRansac,
    "fgr": Open3DFgr,
    "kiss_matcher": KissMatcher,
}
