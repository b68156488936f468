"""The lens: models of COLMAP, inverses and derivatives."""

from dataclasses import replace

import numpy as np
import pytest

from recon.poses.lens import MODELS, Lens

FULL = Lens("OPENCV", 611.0, 467.0, 500.0, 300.0, 230.0, -0.11, 0.03, 0.004, -0.006, 1.03)


def points(limit=0.5, count=40):
    return np.random.default_rng(1).uniform(-limit, limit, (count, 2))


@pytest.mark.parametrize("model", MODELS)
def test_agrees_with_colmap(model):
    pycolmap = pytest.importorskip("pycolmap")
    lens = Lens(model, 611.0, 467.0, 1.0, 0.0, 0.0).with_params(
        [v for v, n in zip([500.0, 515.0, 300.0, 230.0, -0.11, 0.03, 0.004, -0.006],
                           MODELS["OPENCV"], strict=True) if n in MODELS[model]]
    )  # fmt: skip
    camera = pycolmap.Camera(model=model, width=611, height=467, params=lens.params)
    rays = np.concatenate([points(), np.ones((40, 1))], -1)
    np.testing.assert_allclose(camera.img_from_cam(rays), lens.distort(points()), atol=1e-9)


def test_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    rays = np.concatenate([points(), np.ones((40, 1))], -1)
    K = np.array([[500.0, 0, 300], [0, 515.0, 230], [0, 0, 1]])
    seen, _ = cv2.projectPoints(
        rays, np.zeros(3), np.zeros(3), K, np.array([-0.11, 0.03, 0.004, -0.006])
    )
    np.testing.assert_allclose(FULL.distort(points()), seen[:, 0], atol=1e-9)


def test_undistort_inverts_distort_with_tangential_terms():
    np.testing.assert_allclose(FULL.undistort(FULL.distort(points(0.6))), points(0.6), atol=1e-10)


def test_parameters_come_back():
    assert replace(FULL, focal_px=1.0, aspect=1.0, k1=0.0).with_params(FULL.params) == FULL
    assert FULL.scaled(2.0).scaled(0.5) == FULL


def test_derivatives_are_those_of_differences():
    xy, step = points(), 1e-6
    by_xy = np.stack(
        [(FULL.distort(xy + d) - FULL.distort(xy - d)) / (2 * step) for d in np.eye(2) * step], -1
    )
    np.testing.assert_allclose(FULL.jacobian(xy), by_xy, atol=1e-5)
    names = ("focal", "cx", "cy", "k1", "k2", "p1", "p2")
    for column, name in enumerate(names):
        up, down = (FULL.shifted({name: s}).distort(xy) for s in (step, -step))
        found = FULL.jacobian_of(names, xy)[..., column]
        np.testing.assert_allclose(found, (up - down) / (2 * step), atol=1e-5)


def test_change_is_the_step_between_two_lenses():
    change = {"focal": 0.1, "cx": 3.0, "cy": -2.0, "k1": 0.01, "k2": -0.02, "p1": 0.0, "p2": 1e-3}
    assert FULL.shifted(change).change_from(FULL) == pytest.approx(change)


def test_undistorted_keeps_unequal_focal_lengths():
    plain = FULL.undistorted()
    assert (plain.model, plain.distorted, plain.focal_y_px) == ("PINHOLE", False, 515.0)
    assert replace(FULL, aspect=1.0).undistorted().model == "SIMPLE_PINHOLE"


def test_distortion_px_sees_the_corners():
    assert FULL.undistorted().distortion_px() == 0
    corner = np.array([[611.0, 467.0]]) / 2 / [500.0, 515.0]
    moved = FULL.distort(corner) - FULL.undistorted().distort(corner)
    assert FULL.distortion_px() >= np.linalg.norm(moved) - 1e-9
