"""Relative poses and homographies on made-up views with known truth, by every library."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from corr.geometry import Camera, Rigid3
from corr.geometry.epipolar import essential, normalised, pose_error_deg, symmetric_epipolar_sq
from corr.geometry.robust import ESTIMATORS, homography, relative_pose

A, B = Camera.simple(641, 479, 610.0), Camera.simple(533, 711, 580.0)
B_FROM_A = Rigid3(Rotation.from_rotvec([0.1, -0.25, 0.07]).as_matrix(), np.array([1.1, 0.2, -0.1]))


def views(noise_px: float, outliers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of 300 points in both views; the first `outliers` are wrong in b."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([-2, -1.5, 4], [2, 1.5, 9], (300, 3))
    uv_a, uv_b = A.project(xyz)[0], B.project(B_FROM_A.apply(xyz))[0]
    uv_b[:outliers] = rng.uniform(0, 500, (outliers, 2))
    return uv_a + rng.normal(0, noise_px, uv_a.shape), uv_b + rng.normal(0, noise_px, uv_b.shape)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_pose_is_found_among_outliers(estimator):
    uv_a, uv_b = views(0.3, 120)
    found = relative_pose(estimator, uv_a, uv_b, A.K, B.K, max_error_px=1.5)
    rotation, direction = pose_error_deg(found.b_from_a, B_FROM_A)
    assert rotation < 0.5
    assert direction < 2.0
    assert found.inliers[120:].mean() > 0.9
    assert found.inliers[:120].mean() < 0.1
    assert np.linalg.norm(found.b_from_a.t) == pytest.approx(1)
    again = relative_pose(estimator, uv_a, uv_b, A.K, B.K, max_error_px=1.5)
    assert np.array_equal(found.b_from_a.matrix, again.b_from_a.matrix)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_homography_is_found_among_outliers(estimator):
    rng = np.random.default_rng(1)
    H = np.array([[1.1, -0.2, 20.3], [0.15, 0.9, -11.2], [1e-4, -2e-4, 1]])
    uv_a = rng.uniform(0, 600, (200, 2))
    xyw = np.c_[uv_a, np.ones(200)] @ H.T
    uv_b = xyw[:, :2] / xyw[:, 2:]
    uv_b[:80] = rng.uniform(0, 600, (80, 2))
    found = homography(estimator, uv_a, uv_b, max_error_px=2.0)
    assert found.H / found.H[2, 2] == pytest.approx(H, abs=1e-2)
    assert found.inliers[80:].all()
    assert found.inliers[:80].mean() < 0.1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_too_few_and_degenerate_matches_never_crash(estimator):
    none = np.zeros((0, 2))
    assert relative_pose(estimator, none, none, A.K, B.K, max_error_px=1.0) is None
    assert homography(estimator, none, none, max_error_px=1.0) is None
    rng = np.random.default_rng(2)
    same = np.full((50, 2), 77.0)
    line = np.c_[np.linspace(0, 600, 50), np.full(50, 100.0)]
    for uv_a, uv_b in ((same, same), (line, line), (rng.uniform(0, 600, (50, 2)), same)):
        for found in (
            relative_pose(estimator, uv_a, uv_b, A.K, B.K, max_error_px=1.0),
            homography(estimator, uv_a, uv_b, max_error_px=1.0),
        ):
            assert found is None or found.inliers.shape == (50,)


def test_true_matches_lie_on_epipolar_lines():
    uv_a, uv_b = views(0.0, 1)
    xy_a, xy_b = normalised(uv_a, A.K), normalised(uv_b, B.K)
    error = symmetric_epipolar_sq(xy_a, xy_b, B_FROM_A)
    assert error[1:].max() < 1e-20
    assert error[0] > 1e-6
    # One match by hand: distance of a point to a line in either plane.
    E = essential(B_FROM_A)
    a, b = np.array([*xy_a[0], 1]), np.array([*xy_b[0], 1])
    in_b, in_a = E @ a, E.T @ b
    by_hand = (b @ in_b) ** 2 / (in_b[:2] @ in_b[:2]) + (a @ in_a) ** 2 / (in_a[:2] @ in_a[:2])
    assert error[0] == pytest.approx(by_hand)


def test_pose_error_is_the_angle_and_ignores_the_sign_of_the_baseline():
    turned = Rigid3(Rotation.from_rotvec([0, 0, np.radians(3)]).as_matrix() @ B_FROM_A.R,
                    -2 * B_FROM_A.t)  # fmt: skip
    assert pose_error_deg(turned, B_FROM_A) == pytest.approx((3.0, 0.0), abs=1e-5)
    assert pose_error_deg(None, B_FROM_A) == (np.inf, np.inf)
    still = Rigid3(B_FROM_A.R, np.zeros(3))
    assert pose_error_deg(still, B_FROM_A)[1] == 90.0
