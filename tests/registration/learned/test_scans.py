"""Simulated rooms and fragments: sound geometry, reproducible, like the benchmark's fragments."""

import numpy as np
import pytest

from corr.geometry.rigid import rotation_angle
from registration.learned import make_scans, shapes
from registration.learned.depth_camera import DepthCamera
from registration.learned.key_value import parse_key_values
from registration.learned.rooms import room
from registration.learned.scans import (
    Fragment,
    fragments,
    load_fragments,
    overlap,
    save_fragments,
)

SMALL = DepthCamera(width=131, height=98)


@pytest.fixture(scope="module")
def walk() -> list[Fragment]:
    return fragments(np.random.default_rng(3), 2, frames=4, camera=SMALL)


def test_room_is_finite_and_fills_its_box():
    world = room(np.random.default_rng(1))
    xyz, triangles = world.mesh.vertices, world.mesh.triangles
    assert np.isfinite(xyz).all()
    assert triangles.min() == 0
    assert triangles.max() < len(xyz)
    assert (xyz.min(0) < 0.01).all()
    assert (xyz.max(0) > [world.width, world.depth, world.height]).all()


def test_room_repeats_with_its_seed_and_differs_with_another():
    a, b, c = (room(np.random.default_rng(s)).mesh.vertices for s in (4, 4, 5))
    assert np.array_equal(a, b)
    assert a.shape != c.shape


def test_depth_of_a_wall_is_right_within_the_noise_model():
    from registration.learned.scans import _raycaster

    wall = shapes.box(20, 20, 0.5).at(0, 0, 2.0)  # its face z = 2, looked at along z
    scene = _raycaster(wall)
    from corr.geometry.rigid import Rigid3

    exact, cosine = SMALL.render(scene, Rigid3.identity())
    assert np.allclose(exact, 2.0, atol=1e-5)
    assert cosine.max() <= 1
    seen = SMALL.see(scene, Rigid3.identity(), np.random.default_rng(0))
    values = seen[seen > 0]
    sigma = (0.0012 + 0.0019 * 1.6**2) * np.sqrt(1 + 2.0**2)
    assert len(values) > 0.8 * seen.size
    assert abs(values.mean() - 2.0) < 0.005
    assert 0.7 * sigma < values.std() < 1.4 * sigma


def test_fragment_looks_like_a_benchmark_fragment(walk):
    for part in walk:
        xyz = part.cloud.xyz
        assert np.array_equal(part.cloud.sensor, np.zeros(3))
        assert 1_000 < len(xyz) < 50_000
        assert xyz[:, 2].min() > 0.4
        assert 1.0 < np.ptp(xyz, axis=0).max() < 4.0


def test_fragments_repeat_with_their_seed(walk):
    again = fragments(np.random.default_rng(3), 2, frames=4, camera=SMALL)
    for a, b in zip(walk, again, strict=True):
        assert np.array_equal(a.cloud.xyz, b.cloud.xyz)


def test_fragments_agree_under_their_true_poses(walk):
    shares = [overlap(walk[0], other) for other in walk]
    assert shares[0] == 1.0
    assert shares[1] > 0.2  # neighbours see the same things; a wrong frame would give about 0
    assert rotation_angle(walk[0].world_from_fragment.R.T @ walk[1].world_from_fragment.R) > 0.05


def test_fragments_survive_a_file(walk, tmp_path):
    save_fragments(tmp_path / "room.npz", walk)
    parts, shares = load_fragments(tmp_path / "room.npz")
    assert np.allclose(parts[1].cloud.xyz, walk[1].cloud.xyz, atol=1e-6)
    assert np.allclose(parts[1].world_from_fragment.matrix, walk[1].world_from_fragment.matrix)
    assert shares[0, 1] == pytest.approx(overlap(walk[0], walk[1]), abs=1e-3)


def test_command_refuses_unknown_and_missing_options(capsys):
    with pytest.raises(SystemExit) as stop:
        make_scans.main(["room=3"])
    assert stop.value.code == 2
    assert "options are: out= rooms=40" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        make_scans.main([])
    with pytest.raises(SystemExit):
        parse_key_values(make_scans.ScanOptions, ["rooms=many"])
    assert "rooms must be int, got 'many'" in capsys.readouterr().err
