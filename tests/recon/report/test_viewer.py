import numpy as np
import pytest
import torch
from report_world import gaussians, look_at

from corr.geometry import Camera
from corr.tracks import Tracks
from recon.report.pictures import DIFFERENCE_FULL, difference
from recon.report.plots import line_chart, log_ticks, ticks
from recon.report.viewer import pack_mesh, pack_splats, scene_frame
from recon.scene import Reconstruction, View
from recon.splats.gaussians import SH_C0


@pytest.mark.parametrize(("degree", "size"), [(0, 32), (1, 48), (2, 64), (3, 80)])
def test_packed_splats_hold_the_numbers(degree, size):
    g = gaussians(37, degree=1)
    sh = torch.randn(37, (degree + 1) ** 2, 3, generator=torch.Generator().manual_seed(0))
    g.sh = sh
    packed = pack_splats(g)
    table = np.frombuffer(packed.data, np.uint8).reshape(37, size)
    xyz = table[:, :12].copy().view("<f4")
    half = table[:, 12:26].copy().view("<f2").astype(float)
    np.testing.assert_array_equal(xyz, g.means.numpy())
    np.testing.assert_allclose(half[:, 0], g.opacities.numpy(), rtol=1e-3)  # half floats: 2^-11
    np.testing.assert_allclose(half[:, 1:4], 0.5 + SH_C0 * sh[:, 0].numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(half[:, 4:], g.log_scales.numpy(), rtol=1e-3)
    rest = table[:, 32 : 32 + 3 * ((degree + 1) ** 2 - 1)].view(np.int8) / 127 * packed.sh_scale
    wanted = sh[:, 1:].reshape(37, -1).numpy()
    step = packed.sh_scale / 127
    assert np.abs(rest - np.clip(wanted, -packed.sh_scale, packed.sh_scale)).max(initial=0) <= step


def test_packed_quaternion_gives_the_rotation_back():
    g = gaussians(51)
    g.quats_wxyz = -3 * g.quats_wxyz
    table = np.frombuffer(pack_splats(g).data, np.uint8).reshape(51, 48)
    xyz = table[:, 26:32].copy().view("<i2") / 32767
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(1)))
    unit = g.quats_wxyz / g.quats_wxyz.norm(dim=1, keepdim=True)
    same = np.abs((np.c_[w, xyz] * unit.numpy()).sum(1))
    np.testing.assert_allclose(same, 1, atol=2e-4)


def test_thinning_keeps_the_largest_opaque_splats():
    g = gaussians(100)
    g.log_scales[7] += 3
    g.logit_opacities[9] = -9
    packed = pack_splats(g, max_splats=99)
    kept = np.frombuffer(packed.data, np.uint8).reshape(99, 48)[:, :12].copy().view("<f4")
    assert (packed.count, packed.total) == (99, 100)
    assert not (kept == g.means[9].numpy()).all(1).any()


def test_splats_that_are_not_finite_are_left_out():
    g = gaussians(20)
    g.means[3, 1] = float("nan")
    assert pack_splats(g).count == 19


def test_large_mesh_is_simplified_below_the_limit():
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=4)
    packed = pack_mesh(ball.vertices, ball.faces, np.full((len(ball.vertices), 3), 90), 1000)
    assert packed.total == 5120
    assert 100 < packed.triangles <= 1000
    vertices = np.frombuffer(packed.vertices, np.uint8).reshape(-1, 16)[:, :12].copy().view("<f4")
    assert np.frombuffer(packed.faces, "<u4").max() < len(vertices)
    assert np.abs(np.linalg.norm(vertices, axis=1) - 1).max() < 0.1


def scene_of(poses):
    empty = np.zeros(0, int)
    tracks = Tracks(empty, empty, np.zeros((0, 2)), ())
    camera = Camera.simple(40, 30, 40.0)
    views = tuple(View(str(i), camera, p) for i, p in enumerate(poses))
    return Reconstruction(views, np.zeros((5, 3)), np.zeros((5, 3), np.uint8), tracks)


def test_up_is_found_though_all_cameras_look_down():
    centres = [[2 * np.sin(a), -1.5, -2 * np.cos(a)] for a in np.linspace(-0.7, 0.7, 6)]
    frame = scene_frame(scene_of([look_at(np.array(c), np.zeros(3)) for c in centres]))
    np.testing.assert_allclose(frame["up"], [0, -1, 0], atol=0.08)  # 5 degrees: it is regularised
    np.testing.assert_allclose(frame["target"], [0, 0, 0], atol=1e-6)


def test_frame_of_a_single_camera_is_finite():
    frame = scene_frame(scene_of([look_at(np.array([0, 0, -2.0]), np.zeros(3))]))
    assert np.isfinite([*frame["up"], *frame["target"], frame["depth"], frame["frustum"]]).all()


def test_difference_is_dark_for_equal_pictures_and_bright_at_the_limit():
    a = np.full((4, 5, 3), 100, np.uint8)
    b = a + np.uint8(round(255 * DIFFERENCE_FULL))
    assert difference(a, a).max() < 40
    assert difference(a, b).min() >= 195


def test_ticks_are_round_and_inside():
    assert ticks(0, 1000) == [0, 200, 400, 600, 800, 1000]
    assert ticks(19.2, 31.7) == [20, 22.5, 25, 27.5, 30]
    np.testing.assert_allclose(10 ** np.array(log_ticks(-2.1, -0.4)), [0.01, 0.02, 0.05, 0.1, 0.2])


def test_chart_without_numbers_is_empty():
    from recon.report.plots import Series

    assert line_chart([Series("a", [0, 1], [float("nan"), None], "c1")], "nothing") == ""
