import numpy as np
import pytest
import torch

from corr.matchers.dense.data.cameras import Cameras, looking
from corr.matchers.dense.data.casting import WAVES, Solids, cast, ground_height, ground_normal
from corr.matchers.dense.data.pairs import scene_truth
from corr.matchers.dense.warps import own_positions

WIDTH, HEIGHT = 160, 96


def scene(centre, half, *, round_=False, rotation=None, n=2, wave=None) -> Solids:
    """One solid in a room of 8 x 8 x 6 m, n times."""
    rotation = torch.eye(3) if rotation is None else rotation
    blank = torch.zeros(WAVES, 4) if wave is None else wave
    return Solids(
        torch.tensor(centre).float().expand(n, 1, 3),
        rotation.expand(n, 1, 3, 3),
        torch.tensor(half).float().expand(n, 1, 3),
        torch.full((n, 1), round_),
        torch.tensor([-4.0, -4.0, -2.0]).expand(n, 3),
        torch.tensor([4.0, 4.0, 4.0]).expand(n, 3),
        blank.expand(n, WAVES, 4),
        [wave is not None] * n,
    )


def cameras(centres, targets, focal=150.0, roll=(0.1, -0.2)) -> Cameras:
    centre, target = torch.tensor(centres).float(), torch.tensor(targets).float()
    rotation = looking(centre, target, torch.tensor(roll))
    return Cameras(centre, rotation, torch.full((len(centre),), focal), WIDTH, HEIGHT)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_axis_aligned_hits_lie_at_their_closed_form_depths(compiled):
    origin = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    directions = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0], [2.0, 0, 0]]).T
    box = cast(scene((2, 0, 0), (0.5, 3, 1)), origin, directions.expand(2, 3, 4), compiled=compiled)
    assert torch.allclose(box.t[0], torch.tensor([1.5, 4.0, 4.0, 0.75]), atol=1e-6)
    assert box.solid[0].tolist() == [0, 1, 1, 0]
    ball = scene((2, 0.3, 0), (0.5, 0.5, 0.5), round_=True)
    hit = cast(ball, origin, directions.expand(2, 3, 4), compiled=compiled)
    assert abs(float(hit.t[1, 0]) - (2 - 0.4)) < 1e-6


def test_turned_ellipsoid_is_hit_on_its_surface():
    angle = 0.7
    rotation = torch.tensor(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    ).float()
    solids = scene((1.5, 0.2, 0.1), (0.3, 0.8, 0.5), round_=True, rotation=rotation)
    camera = cameras([[-2, 0, 0.4], [-1, -2, 1]], [[1.5, 0.2, 0.1]] * 2)
    rays = camera.rays(own_positions(HEIGHT, WIDTH, 1, torch.device("cpu")).flatten(1).T)
    hit = cast(solids, camera.centre, rays)
    on = hit.solid == 0
    assert on.float().mean() > 0.02
    point = camera.centre[..., None] + hit.t[:, None] * rays
    local = solids.unit_from_world[:, 0] @ (point - solids.centre[:, 0, :, None])
    assert (local.norm(dim=1)[on] - 1).abs().max() < 1e-4


def test_wavy_ground_is_hit_at_its_height_from_above():
    wave = torch.tensor([[0.15, 1.1, 0.4, 0.3], [0.1, -0.7, 1.9, 1.0], *[[0.0, 1, 1, 0]] * 3])
    camera = cameras([[-2, 0, 1.5], [1, -2, 1.2]], [[0.5, 0.2, 0]] * 2)
    solids = scene((0, 0, 3.5), (0.01, 0.01, 0.01), wave=wave)
    rays = camera.rays(own_positions(HEIGHT, WIDTH, 1, torch.device("cpu")).flatten(1).T)
    hit = cast(solids, camera.centre, rays)
    on = hit.solid == 2
    assert on.float().mean() > 0.3
    point = camera.centre[..., None] + hit.t[:, None] * rays
    height = ground_height(solids.wave, point[:, 0], point[:, 1])
    assert (height - point[:, 2])[on].abs().max() < 5e-3
    x, y = torch.rand(2, 50), torch.rand(2, 50)
    normal = ground_normal(solids.wave, x, y)
    step = 1e-3
    slope = ground_height(solids.wave, x + step, y) - ground_height(solids.wave, x - step, y)
    assert (normal[..., 0] / normal[..., 2] + slope / (2 * step)).abs().max() < 1e-2


def test_warp_of_a_wall_is_its_homography():
    """H = K (R - t n^T / d) K^-1 of the wall x = 4 between two cameras."""
    camera = cameras([[0, -0.5, 1], [0.8, 1.2, 0.4]], [[4, 0, 0.5], [4, 0.3, 0.8]])
    truth = scene_truth(scene((-3, -3, -1), (0.01, 0.01, 0.01)), camera)
    K = np.array([[150, 0, WIDTH / 2], [0, 150, HEIGHT / 2], [0, 0, 1.0]])
    world_a, world_b = camera.rotation.double().numpy()
    centre_a, centre_b = camera.centre.double().numpy()
    normal = world_a.T @ np.array([1.0, 0, 0])
    distance = 4 - centre_a[0]
    t = world_b.T @ (centre_a - centre_b)
    H = K @ (world_b.T @ world_a + np.outer(t, normal) / distance) @ np.linalg.inv(K)
    for stride in (2, 8, 16):
        own = own_positions(HEIGHT // stride, WIDTH // stride, stride, torch.device("cpu"))
        xyw = np.einsum("ij,jhw->ihw", H, np.concatenate([own, np.ones_like(own[:1])]))
        want, seen = xyw[:2] / xyw[2], truth.visible[stride][0].numpy()
        assert seen.mean() > 0.4
        assert np.abs(truth.warp[stride][0].numpy() - want)[:, seen].max() < 0.02


def blocked(p: np.ndarray, q: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Whether the segments from p to q (n 3) cross an axis-aligned box, ends excluded."""
    with np.errstate(divide="ignore", invalid="ignore"):
        near, far = (low - p) / (q - p), (high - p) / (q - p)
    enter, leave = np.minimum(near, far).max(1), np.maximum(near, far).min(1)
    return (enter < leave) & (enter < 0.99) & (leave > 0.01)


def test_what_a_panel_hides_is_not_visible():
    camera = cameras([[0, -1.5, 1], [0, 1.5, 1]], [[4, 0, 1]] * 2, roll=(0.0, 0.0))
    centre, half = np.array([2.0, 0.2, 1.0]), np.array([0.05, 0.5, 0.4])
    truth = scene_truth(scene(centre.tolist(), half.tolist()), camera)
    own = own_positions(HEIGHT // 2, WIDTH // 2, 2, torch.device("cpu"))
    rays = camera.rays(own.flatten(1).T)[0].double().numpy().T
    a, b = camera.centre.double().numpy()
    on_wall = a + rays * ((4 - a[0]) / rays[:, :1])
    free = ~blocked(np.broadcast_to(a, on_wall.shape), on_wall, centre - half, centre + half)
    hidden = free & blocked(
        np.broadcast_to(b, on_wall.shape), on_wall, centre - half, centre + half
    )
    inside = (np.abs(on_wall[:, 1:] - [0, 1]) < [3.9, 2.9]).all(1)
    seen = truth.visible[2][0].flatten().numpy()
    warp = truth.warp[2][0].flatten(1).numpy()
    within = (warp > 0).all(0) & (warp < [[WIDTH], [HEIGHT]]).all(0)
    assert (hidden & within).sum() > 100
    assert not seen[hidden].any()
    assert seen[free & ~hidden & inside & within].mean() > 0.999
