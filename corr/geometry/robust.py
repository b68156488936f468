"""Relative pose and homography from matches with outliers, by three libraries side by side.

Sources: PoseLib (Larsson, LO-RANSAC with non-linear refinement); COLMAP's LO-RANSAC (Schönberger
and Frahm, CVPR 2016); OpenCV's RANSAC over the five-point solver (Nistér, PAMI 2004).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from corr.geometry.epipolar import normalised
from corr.geometry.rigid import Rigid3

ESTIMATORS = ("poselib", "pycolmap", "opencv")
LEAST_MATCHES = 5
MAX_ITERATIONS, CONFIDENCE = 10_000, 0.99999


@dataclass(frozen=True, eq=False)
class PoseAnswer:
    """A relative pose with a baseline of length one, and the matches that bear it out."""

    b_from_a: Rigid3
    inliers: Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class HomographyAnswer:
    """`b ~ H a` in pixels, and the matches that bear it out."""

    H: Float[np.ndarray, "3 3"]
    inliers: Bool[np.ndarray, " n"]


def relative_pose(
    estimator: str,
    uv_a: Float[np.ndarray, "n 2"],
    uv_b: Float[np.ndarray, "n 2"],
    K_a: Float[np.ndarray, "3 3"],
    K_b: Float[np.ndarray, "3 3"],
    *,
    max_error_px: float,
    seed: int = 0,
) -> PoseAnswer | None:
    """The pose between two pinhole views; None where none was found.

    Args:
        estimator: One of `ESTIMATORS`.
        uv_a: Pixels of photo a.
        uv_b: Pixels of photo b.
        K_a: Calibration of photo a.
        K_b: Calibration of photo b.
        max_error_px: Epipolar error up to which a match is an inlier, pixels.
        seed: Of the random samples.
    """
    if len(uv_a) < LEAST_MATCHES:
        return None
    solve = {"poselib": _poselib, "pycolmap": _pycolmap, "opencv": _opencv}[estimator]
    return solve(uv_a, uv_b, K_a, K_b, max_error_px, seed)


def _answer(R: np.ndarray, t: np.ndarray, inliers: np.ndarray) -> PoseAnswer | None:
    length = np.linalg.norm(t)
    if not inliers.any() or not np.isfinite([*R.ravel(), *t]).all() or length < 1e-12:
        return None
    return PoseAnswer(Rigid3(R, t / length), inliers)


def _poselib(
    uv_a: np.ndarray, uv_b: np.ndarray, K_a: np.ndarray, K_b: np.ndarray, error_px: float, seed: int
) -> PoseAnswer | None:
    import poselib

    cameras = [
        {"model": "PINHOLE", "width": round(2 * K[0, 2]), "height": round(2 * K[1, 2]),
         "params": [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]}
        for K in (K_a, K_b)
    ]  # fmt: skip
    options = {"max_epipolar_error": error_px, "max_iterations": MAX_ITERATIONS, "seed": seed}
    pose, info = poselib.estimate_relative_pose(uv_a, uv_b, *cameras, options, {})
    return _answer(pose.R, pose.t, np.array(info["inliers"], dtype=bool))


def _pycolmap(
    uv_a: np.ndarray, uv_b: np.ndarray, K_a: np.ndarray, K_b: np.ndarray, error_px: float, seed: int
) -> PoseAnswer | None:
    import pycolmap

    cameras = [
        pycolmap.Camera(
            model="PINHOLE", width=max(1, round(2 * K[0, 2])), height=max(1, round(2 * K[1, 2])),
            params=[K[0, 0], K[1, 1], K[0, 2], K[1, 2]],
        )
        for K in (K_a, K_b)
    ]  # fmt: skip
    options = _colmap(error_px, seed)
    found = pycolmap.estimate_essential_matrix(uv_a, uv_b, cameras[0], cameras[1], options)
    if found is None:
        return None
    matrix = found["cam2_from_cam1"].matrix()
    return _answer(matrix[:, :3], matrix[:, 3], np.array(found["inlier_mask"], dtype=bool))


def _colmap(error_px: float, seed: int):
    import pycolmap

    options = pycolmap.RANSACOptions()
    options.max_error, options.random_seed = error_px, seed
    options.confidence, options.max_num_trials = CONFIDENCE, MAX_ITERATIONS
    options.min_inlier_ratio = 0.01
    return options


def _opencv(
    uv_a: np.ndarray, uv_b: np.ndarray, K_a: np.ndarray, K_b: np.ndarray, error_px: float, seed: int
) -> PoseAnswer | None:
    import cv2

    cv2.setRNGSeed(seed)
    xy_a, xy_b = normalised(uv_a, K_a), normalised(uv_b, K_b)
    focal = np.mean([K_a[0, 0], K_a[1, 1], K_b[0, 0], K_b[1, 1]])
    candidates, mask = cv2.findEssentialMat(
        xy_a, xy_b, np.eye(3), threshold=error_px / focal, prob=CONFIDENCE, method=cv2.RANSAC,
        maxIters=MAX_ITERATIONS,
    )  # fmt: skip
    if candidates is None or mask is None:
        return None
    best, most = None, 0
    for E in np.split(candidates, len(candidates) // 3):
        count, R, t, seen = cv2.recoverPose(E, xy_a, xy_b, np.eye(3), 1e9, mask=mask.copy())[:4]
        if count > most:
            best, most = _answer(R, t[:, 0], np.asarray(seen).ravel() > 0), count
    return best


def homography(
    estimator: str,
    uv_a: Float[np.ndarray, "n 2"],
    uv_b: Float[np.ndarray, "n 2"],
    *,
    max_error_px: float,
    seed: int = 0,
) -> HomographyAnswer | None:
    """The homography between two views of a plane; None where none was found.

    Args:
        estimator: One of `ESTIMATORS`.
        uv_a: Pixels of photo a.
        uv_b: Pixels of photo b.
        max_error_px: Transfer error up to which a match is an inlier, pixels.
        seed: Of the random samples.
    """
    if len(uv_a) < LEAST_MATCHES:
        return None
    if estimator == "poselib":
        import poselib

        options = {"max_reproj_error": max_error_px, "max_iterations": MAX_ITERATIONS, "seed": seed}
        H, info = poselib.estimate_homography(uv_a, uv_b, options, {})
        inliers = np.array(info["inliers"], dtype=bool)
    elif estimator == "pycolmap":
        import pycolmap

        found = pycolmap.estimate_homography_matrix(uv_a, uv_b, _colmap(max_error_px, seed))
        if found is None:
            return None
        H, inliers = found["H"], np.array(found["inlier_mask"], dtype=bool)
    else:
        import cv2

        cv2.setRNGSeed(seed)
        H, mask = cv2.findHomography(
            uv_a, uv_b, cv2.RANSAC, max_error_px, maxIters=MAX_ITERATIONS, confidence=CONFIDENCE
        )
        if H is None:
            return None
        inliers = mask.ravel() > 0
    usable = np.isfinite(H).all() and abs(np.linalg.det(H)) > 1e-12 and inliers.any()
    return HomographyAnswer(np.asarray(H, dtype=np.float64), inliers) if usable else None
