"""Splats and their harmonics carried into another frame."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from corr.geometry import Camera, Sim3
from recon.render.reference import ReferenceRenderer, sh_basis
from recon.splats.transform import moved, rotated_harmonics
from tests.recon.render.scenes import random_scene

TURN = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_turned_harmonics_are_the_turned_function(degree):
    gen = torch.Generator().manual_seed(degree)
    sh = torch.randn(5, (degree + 1) ** 2, 3, generator=gen, dtype=torch.float64)
    d = torch.nn.functional.normalize(torch.randn(40, 3, generator=gen, dtype=torch.float64))
    before = torch.einsum("dk,nkc->dnc", sh_basis(d, degree), sh)
    turned = d @ torch.from_numpy(TURN).T
    after = torch.einsum("dk,nkc->dnc", sh_basis(turned, degree), rotated_harmonics(sh, TURN))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


def test_turned_harmonics_keep_the_energy_of_every_band():
    """Wigner's matrices are orthogonal."""
    sh = torch.randn(9, 16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = rotated_harmonics(sh, TURN)
    for band in range(4):
        rows = slice(band**2, (band + 1) ** 2)
        torch.testing.assert_close(turned[:, rows].norm(dim=1), sh[:, rows].norm(dim=1))


def test_two_turns_are_one():
    sh = torch.randn(3, 16, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    other = Rotation.from_rotvec([-0.2, 0.5, 2.0]).as_matrix()
    twice = rotated_harmonics(rotated_harmonics(sh, TURN), other)
    torch.testing.assert_close(twice, rotated_harmonics(sh, other @ TURN), rtol=0, atol=1e-12)


def test_more_bands_than_are_known_are_refused():
    with pytest.raises(ValueError, match="up to degree 3, got 4"):
        rotated_harmonics(torch.zeros(1, 25, 3), TURN)


@pytest.mark.parametrize("degree", [1, 3])
def test_moved_splats_look_the_same_from_a_moved_camera(degree):
    scene = random_scene(30, degree=degree, seed=4).to(torch.float64)
    b_from_a = Sim3(2.5, TURN, np.array([3.0, -1.0, 0.5]))
    camera = Camera.simple(33, 27, 30.0)
    from corr.geometry import Rigid3

    pose = Rigid3(Rotation.from_rotvec([0.1, 0.2, 0]).as_matrix(), np.array([0.1, 0, 0.3]))
    renderer = ReferenceRenderer()
    pictures = [
        renderer.render(g, camera, torch.from_numpy(p.matrix)).rgb
        for g, p in ((scene, pose), (moved(scene, b_from_a), b_from_a.apply_to_camera(pose)))
    ]
    assert pictures[0].max() > 0.2
    torch.testing.assert_close(pictures[1], pictures[0], rtol=0, atol=1e-9)
