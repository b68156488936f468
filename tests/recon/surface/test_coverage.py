"""Who sees what of a mesh, how surely, and where it has holes."""

import numpy as np
import pytest
from plyfile import PlyData

from corr.geometry import Camera
from recon.export.mesh import read_mesh_ply, write_coverage_ply
from recon.scene import View
from recon.surface.coverage import coverage
from recon.surface.depth_maps import DepthMap, seen_alone
from recon.surface.holes import find_holes
from recon.surface.mesh import Mesh
from recon.surface.mesher import Mesher
from recon.surface.statement import stated
from recon.texture.sight import sights
from tests.recon.surface.conftest import look_at

LENS = Camera.simple(161, 121, 150.0)


def sheet(keep=lambda xy: np.ones(len(xy), bool), cells=40):
    """A flat 4 x 4 square in z = 0, facing up, of the cells whose middle is kept."""
    axis = np.linspace(-2, 2, cells + 1)
    x, y = np.meshgrid(axis, axis)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    i = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    kept = i[keep(vertices[i][:, :2] + 2 / cells)]
    n = cells + 1
    faces = np.stack([kept, kept + 1, kept + n + 1, kept, kept + n + 1, kept + n], 1).reshape(-1, 3)
    return Mesh(vertices, faces, np.full((len(vertices), 3), 128, np.uint8))


def above(x, y, height, target=None, name="a"):
    target = (x, y, 0) if target is None else target
    return View(name, LENS, look_at((x, y, height), target, up=(0, 1.0, 0)))


def looked_at(mesh, *views):
    photos = {v.name: np.full((121, 161, 3), 90, np.uint8) for v in views}
    return coverage(mesh, sights(mesh, views, photos))


def test_views_and_angles_are_those_of_the_cameras():
    mesh = sheet()
    covered = looked_at(mesh, above(-1, 0, 3.0), above(1, 0, 3.0, name="b"))
    x, y = mesh.vertices[:, :2].T
    tan_x, tan_y = 80.5 / 150, 60.5 / 150
    inside = (np.abs(y) < 3 * tan_y - 0.05) & (np.abs(x) < 2)  # the sheet ends at 2
    expected = (np.abs(x + 1) < 3 * tan_x).astype(int) + (np.abs(x - 1) < 3 * tan_x)
    rim = np.minimum(np.abs(np.abs(x + 1) - 3 * tan_x), np.abs(np.abs(x - 1) - 3 * tan_x)) < 0.05
    np.testing.assert_array_equal(covered.views[inside & ~rim], expected[inside & ~rim])
    assert (covered.views[np.abs(y) > 3 * tan_y + 0.05] == 0).all()
    nearest = np.minimum(np.hypot(x + 1, y), np.hypot(x - 1, y))
    seen = inside & ~rim & (expected > 0)
    straight = np.degrees(np.arctan2(nearest, 3.0))
    np.testing.assert_allclose(covered.angle_deg[seen], straight[seen], atol=1e-6)
    assert (covered.angle_deg[covered.views == 0] == 90).all()
    assert (covered.photo[seen & (x < -0.1)] == 0).all()
    assert (covered.photo[seen & (x > 0.1)] == 1).all()


def test_sigma_is_that_of_many_noisy_triangulations():
    """Worst direction's spread of points re-triangulated from noisy pixels, against the formula."""
    from scipy.optimize import least_squares

    mesh = sheet()
    views = [above(-0.8, 0, 3.0, (0, 0, 0)), above(0.9, 0.2, 2.6, (0, 0, 0), name="b")]
    middle = np.argmin(np.linalg.norm(mesh.vertices, axis=1))
    sigma = looked_at(mesh, *views).sigma[middle]
    rng = np.random.default_rng(0)
    exact = [LENS.project(v.cam_from_world.apply(mesh.vertices[middle]))[0] for v in views]

    def residual(xyz, noisy):
        uv = [LENS.project(v.cam_from_world.apply(xyz))[0] for v in views]
        return np.concatenate(uv) - noisy

    found = [
        least_squares(residual, np.zeros(3), args=(np.concatenate(exact) + noise,)).x
        for noise in rng.normal(0, 0.5, (400, 4))
    ]
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(np.array(found).T))[-1])
    assert sigma == pytest.approx(spread, rel=0.1)


def test_one_photo_alone_gives_no_sigma():
    covered = looked_at(sheet(), above(0, 0, 3.0))
    assert covered.views.max() == 1
    assert np.isinf(covered.sigma).all()


def test_what_is_hidden_is_not_seen():
    floor, roof = sheet(), sheet(lambda xy: np.abs(xy).max(1) < 0.5)
    vertices = np.concatenate([floor.vertices, roof.vertices + np.array([0, 0, 1.0])])
    faces = np.concatenate([floor.faces, roof.faces + len(floor.vertices)])
    both = Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))
    covered = looked_at(both, above(0, 0, 4.0))
    reach = np.abs(vertices[: len(floor.vertices), :2]).max(1)
    assert (covered.views[: len(reach)][reach < 0.6] == 0).all()  # shadow of the roof: 0.67
    clear = (reach > 0.75) & (np.abs(floor.vertices[:, 1]) < 1.5) & (reach < 1.9)
    assert (covered.views[: len(reach)][clear] == 1).all()


def test_planted_hole_is_found_with_its_size_place_and_reason():
    mesh = sheet(lambda xy: np.abs(xy - [0.5, -0.3]).max(1) > 0.4)
    view = above(0, 0, 5.0)
    depth = DepthMap(view, np.full((121, 161), 5.0, np.float32), np.ones((121, 161), np.float32))
    where = np.zeros((121, 161), bool)
    uv, _ = LENS.project(view.cam_from_world.apply(np.array([[0.5, -0.3, 0]])))
    where[int(uv[0, 1]) - 8 : int(uv[0, 1]) + 8, int(uv[0, 0]) - 8 : int(uv[0, 0]) + 8] = True
    depth.reject(where, "transparent")
    (hole,), outline = find_holes(mesh, [depth], smallest=1.0)
    assert hole.perimeter == pytest.approx(8 * 0.4, rel=0.02)
    np.testing.assert_allclose(hole.centre, [0.5, -0.3, 0], atol=0.02)
    assert hole.why == "transparent"
    assert outline.perimeter == pytest.approx(16.0)
    assert find_holes(mesh, [], smallest=1.0)[0][0].why == "outside every photo"
    assert find_holes(mesh, [depth], smallest=4.0)[0] == []


def test_pixels_that_one_photo_alone_sees_are_told_with_their_side():
    view = above(0, 0, 5.0)
    m = DepthMap(view, np.full((121, 161), 5.0, np.float32), np.ones((121, 161), np.float32))
    left = np.zeros((121, 161), bool)
    left[:, :40] = True
    m.reject(left, "seen by one view")
    assert seen_alone(m) == {"share": pytest.approx(40 / 161), "side": "left"}
    everywhere = DepthMap(view, m.depth + 1.0, m.weight + 1)
    everywhere.reject(np.indices((121, 161)).sum(0) % 2 == 0, "seen by one view")
    assert seen_alone(everywhere)["side"] == "all over"


def test_statement_names_the_photo_that_is_alone_and_the_mesher_finds_it(world):
    """A wall behind three cameras in a row: the outer ends are seen by one camera each."""
    mesh = sheet()
    views = [above(x, 0, 2.0, name=f"p{i}.jpg") for i, x in enumerate((-1.0, 0.0, 1.0))]
    photos = {v.name: np.full((121, 161, 3), 90, np.uint8) for v in views}
    seen = sights(mesh, views, photos)
    _, facts = Mesher().mesh_from_depths(views, [np.full((121, 161), 2.0, np.float32)] * 3, photos)
    said = stated(mesh, coverage(mesh, seen), seen, facts)
    text = "\n".join(said.lines)
    assert "only p0.jpg sees" in text
    assert "only p2.jpg sees" in text
    assert "only p1.jpg sees" not in text
    assert "of p0.jpg shows what no other photo sees, mostly left" in text
    total = sum(said.figures[k] for k in ("by_none", "by_one", "by_two", "by_three_or_more"))
    assert total == pytest.approx(1.0)
    # one camera reaches 2 * 80.5 / 150 to a side, half of that apart from the next
    strip = 2 * (1.0 / 4.0) * (2 * 2 * 60.5 / 150 / 4.0)
    assert said.figures["by_one"] == pytest.approx(strip, rel=0.15)


def test_coverage_file_holds_figures_per_vertex(tmp_path):
    mesh = sheet()
    covered = looked_at(mesh, above(-1, 0, 3.0), above(1, 0, 3.0, name="b"))
    write_coverage_ply(tmp_path / "c.ply", mesh, covered)
    table = PlyData.read(str(tmp_path / "c.ply"))["vertex"].data
    np.testing.assert_array_equal(table["views"], covered.views)
    np.testing.assert_allclose(table["angle_deg"], covered.angle_deg, rtol=1e-6)
    assert (table["sigma"][covered.views < 2] == -1).all()
    assert (table["sigma"][covered.views == 2] > 0).all()
    assert len(read_mesh_ply(tmp_path / "c.ply").faces) == len(mesh.faces)
