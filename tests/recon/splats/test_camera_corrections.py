import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon.splats.cameras import CameraCorrections, rotation_matrix
from tests.recon import scenes

DEPTHS = torch.tensor([3.5, 4.0, 4.5])


@pytest.fixture
def corrections():
    return CameraCorrections(scenes.arc(3), DEPTHS, torch.zeros(3, 3))


def test_zero_corrections_leave_the_poses(corrections):
    for i, view in enumerate(scenes.arc(3)):
        wanted = torch.tensor(view.cam_from_world.matrix, dtype=torch.float32)
        assert torch.equal(corrections.cam_from_world(i).detach(), wanted)
        assert corrections.view(i, view) is view  # known poses keep their bits


@pytest.mark.parametrize("entry", range(6))
def test_unit_twist_moves_the_picture_by_about_a_pixel_at_the_median_depth(corrections, entry):
    view, depth = scenes.arc(3)[1], float(DEPTHS[1])
    w, h = view.camera.width, view.camera.height
    # Roll and forward steps leave the centre where it is: at a focal length from it they count.
    at = [w / 2, h / 2] if entry in (0, 1, 3, 4) else [w / 2 + view.camera.K[0, 0], h / 2]
    cam = view.camera.unproject(np.array(at), np.array(depth))
    world = view.cam_from_world.inverse().apply(cam)
    with torch.no_grad():
        corrections.twist_px[1, entry] = 1.0
    moved, _ = view.camera.project(corrections.view(1, view).cam_from_world.apply(world))
    assert np.linalg.norm(moved - at) == pytest.approx(1.0, abs=0.02)
    first = scenes.arc(3)[0]
    assert corrections.view(0, first) is first


def test_corrected_pose_is_rigid_after_large_twists(corrections):
    with torch.no_grad():
        corrections.twist_px[2] = torch.tensor([40.0, -30, 25, 10, 20, -15])
    R = corrections.view(2, scenes.arc(3)[2]).cam_from_world.R
    assert np.abs(R @ R.T - np.eye(3)).max() < 1e-12
    assert np.linalg.det(R) == pytest.approx(1.0)


def test_gains_have_geometric_mean_one():
    logs = torch.tensor([[0.3, 0.1, 0.0], [0.2, -0.4, 0.0], [0.4, 0.5, 0.9]])
    corrections = CameraCorrections(scenes.arc(3), DEPTHS, logs)
    gains = torch.stack([corrections.gains(i) for i in range(3)])
    assert torch.allclose(gains.log().mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(gains[0] / gains[1], (logs[0] - logs[1]).exp())


@pytest.mark.parametrize("vector", [(0.0, 0, 0), (1e-9, 0, 0), (1e-3, -2e-3, 5e-4), (0.7, -1.1, 2)])
def test_rotation_matrix_is_the_exponential_and_its_gradient_exists(vector):
    x = torch.tensor(vector, dtype=torch.float64, requires_grad=True)
    wanted = Rotation.from_rotvec(vector).as_matrix()
    assert np.abs(rotation_matrix(x).detach().numpy() - wanted).max() < 1e-12
    assert torch.autograd.gradcheck(rotation_matrix, x, eps=1e-6, atol=1e-5)


def test_rotation_gradient_at_zero_is_the_generator():
    jacobian = torch.autograd.functional.jacobian(
        rotation_matrix, torch.zeros(3, dtype=torch.float64)
    )
    for k, axis in enumerate(np.eye(3)):
        # d(R v) = axis x v for every v
        assert np.abs(jacobian[..., k].numpy() - np.cross(axis, np.eye(3)).T).max() < 1e-12
