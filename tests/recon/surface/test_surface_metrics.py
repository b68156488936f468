import numpy as np
import pytest
import trimesh

from corr.geometry import Sim3
from recon.surface.mesh import Mesh
from recon.surface.metrics import normal_consistency, sampled, surface_scores


def sheet(side=1.0, cells=10, z=0.0):
    """A flat square in z = const with its normals along +z."""
    x, y = np.meshgrid(np.linspace(0, side, cells + 1), np.linspace(0, side, cells + 1))
    vertices = np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1)
    i = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    faces = np.concatenate(
        [np.stack([i, i + 1, i + cells + 2], 1), np.stack([i, i + cells + 2, i + cells + 1], 1)]
    )
    return Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))


def grid_points(n=400):
    x, y = np.meshgrid((np.arange(n) + 0.5) / n, (np.arange(n) + 0.5) / n)
    return np.stack([x.ravel(), y.ravel(), np.zeros(n * n)], axis=1)


def test_the_same_surface_scores_one():
    scores = surface_scores(sheet(), grid_points())
    assert scores.f1 == (1.0, 1.0)
    assert scores.accuracy_mean < 0.002
    assert scores.ignored_share == 0


@pytest.mark.parametrize(("share", "expected"), [(0.008, (1, 1)), (0.015, (0, 1)), (0.03, (0, 0))])
def test_a_known_shift_passes_the_thresholds_it_should(share, expected):
    points = grid_points()
    diagonal = surface_scores(sheet(), points).diagonal
    scores = surface_scores(sheet(z=share * diagonal), points)
    assert scores.f1 == pytest.approx(expected, abs=1e-3)
    assert scores.accuracy_median == pytest.approx(share * diagonal, rel=0.02)
    assert scores.completeness_median == pytest.approx(share * diagonal, rel=0.03)


def test_half_the_surface_halves_recall_only():
    half = sheet()
    keep = half.vertices[half.faces].mean(1)[:, 0] < 0.5
    scores = surface_scores(Mesh(half.vertices, half.faces[keep], half.rgb), grid_points())
    assert scores.precision == (1.0, 1.0)
    assert scores.recall[0] == pytest.approx(0.5 + 0.01 * 2**0.5, abs=0.005)


def test_extra_surface_counts_inside_the_box_and_not_far_outside():
    good, floating = sheet(), sheet(z=0.06)
    far = sheet(z=5.0)

    def joined(other):
        faces = np.concatenate([good.faces, other.faces + len(good.vertices)])
        vertices = np.concatenate([good.vertices, other.vertices])
        return Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))

    assert surface_scores(joined(floating), grid_points()).precision[1] == pytest.approx(
        0.5, abs=0.01
    )
    ignored = surface_scores(joined(far), grid_points())
    assert ignored.precision == (1.0, 1.0)
    assert ignored.ignored_share == pytest.approx(0.5, abs=0.01)


def test_similarity_is_applied_first():
    angle = 0.7
    R = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    true_from_mesh = Sim3(0.31, R, np.array([4.0, -2.0, 1.0]))
    mesh = sheet()
    away = Mesh(true_from_mesh.inverse().apply(mesh.vertices), mesh.faces, mesh.rgb)
    assert surface_scores(away, grid_points(), true_from_mesh=true_from_mesh).f1 == (1.0, 1.0)
    up = np.tile([0, 0, 1.0], (len(grid_points()), 1))
    value = normal_consistency(away, grid_points(), up, true_from_mesh=true_from_mesh, reach=0.1)
    assert value == pytest.approx(1.0)
    flipped = Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.rgb)
    assert normal_consistency(flipped, grid_points(), up, reach=0.1) == pytest.approx(-1.0)


def test_empty_mesh_scores_zero():
    scores = surface_scores(Mesh.empty(), grid_points(50))
    assert scores.f1 == (0.0, 0.0)
    assert scores.completeness_mean == float("inf")


def test_samples_are_even_over_area():
    ball = trimesh.creation.icosphere(subdivisions=3)
    mesh = Mesh(ball.vertices, ball.faces, np.zeros((len(ball.vertices), 3), np.uint8))
    points = sampled(mesh, spacing=0.02, seed=3)
    assert len(points) == int(np.ceil(ball.area / 0.02**2))
    assert np.abs(points.mean(0)).max() < 0.01
    np.testing.assert_array_equal(points, sampled(mesh, spacing=0.02, seed=3))
