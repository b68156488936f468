"""One known distance makes metres of everything that is exported."""

import json

import numpy as np
import pytest
import trimesh
from plyfile import PlyData

from corr.errors import UserError
from corr.geometry import Camera
from recon.export.mesh import write_coverage_ply, write_mesh_glb
from recon.export.scaled import copy_scaled_glb, copy_scaled_ply, scaled_coverage
from recon.scale import (
    ScaleOptions,
    check_scale,
    find_scale,
    metres_per_unit,
    read_clicks,
    write_scale,
)
from recon.scene import View
from recon.splats.fitted import SavedSplats, scaled_splats
from recon.surface.coverage import Coverage
from recon.surface.mesh import Mesh
from tests.recon.scenes import look_at

ENDS = {"left": np.array([-0.4, 0.1, 0.3]), "right": np.array([0.6, -0.2, 0.5])}
APART = float(np.linalg.norm(ENDS["left"] - ENDS["right"]))
LENS = Camera.simple(163, 121, 180.0)


@pytest.fixture
def views():
    centres = [(2 * np.sin(a), -2 * np.cos(a), 1.0 + 0.2 * a) for a in (-0.5, 0.0, 0.4)]
    return [View(f"p{i}.jpg", LENS, look_at(c)) for i, c in enumerate(centres)]


@pytest.fixture
def clicks(tmp_path, views):
    """A file of exact clicks, `left` in three photos, `right` in two, named like export/images."""
    lines = ["# name photo u v"]
    for name, xyz in ENDS.items():
        for view in views[: 3 if name == "left" else 2]:
            u, v = LENS.project(view.cam_from_world.apply(xyz))[0]
            lines.append(f"{name} {view.name}.png {u} {v}  # by hand")
    (tmp_path / "points.txt").write_text("\n".join(lines))
    return str(tmp_path / "points.txt")


def test_clicked_points_give_the_scale(views, clicks):
    found = find_scale(ScaleOptions(distance=0.35, between="left:right", points=clicks), views)
    assert found.metres_per_unit == pytest.approx(0.35 / APART, rel=1e-6)
    assert "left:right 0.35 m apart" in found.text


def test_a_click_that_is_off_shows_in_the_error(views, clicks, tmp_path):
    text = (tmp_path / "points.txt").read_text().splitlines()
    words = text[1].split()
    words[2] = str(float(words[2]) + 9.0)
    (tmp_path / "points.txt").write_text("\n".join([*text[:1], " ".join(words), *text[2:]]))
    found = find_scale(ScaleOptions(distance=0.35, between="left:right", points=clicks), views)
    told = float(found.text.partition("left within ")[2].split()[0])
    assert 2.0 < told < 9.0


def test_two_cameras_give_the_scale(views):
    centres = [v.cam_from_world.centre for v in views]
    found = find_scale(ScaleOptions(distance=1.5, between="p0.jpg:p2"), views)
    expected = 1.5 / np.linalg.norm(centres[0] - centres[2])
    assert found.metres_per_unit == pytest.approx(expected, rel=1e-12)


def test_a_point_and_a_camera_may_be_mixed(views, clicks):
    found = find_scale(ScaleOptions(distance=2.0, between="left:p1.jpg", points=clicks), views)
    expected = 2.0 / np.linalg.norm(ENDS["left"] - views[1].cam_from_world.centre)
    assert found.metres_per_unit == pytest.approx(expected, rel=1e-6)


def test_no_distance_no_scale(views, tmp_path):
    assert find_scale(ScaleOptions(), views) is None
    write_scale(tmp_path, find_scale(ScaleOptions(distance=1.5, between="p0:p2"), views))
    assert metres_per_unit(tmp_path) != 1.0
    write_scale(tmp_path, None)
    assert metres_per_unit(tmp_path) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": -1.0}, "scale.distance must be positive metres, got -1"),
        ({"distance": 1.0}, "scale.distance=<metres> and scale.between=<one>:<other> go together"),
        ({"between": "a:b"}, "go together, got distance=0, between='a:b'"),
        ({"distance": 1.0, "between": "a"}, "must name two ends with a colon between, got 'a'"),
        ({"distance": 1.0, "between": "a:a"}, "must name two ends"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ScaleOptions(**options)


def test_unknown_ends_are_refused_before_anything_runs(clicks, tmp_path):
    photos = ["p0.jpg", "p1.jpg"]
    check_scale(ScaleOptions(distance=1.0, between="left:p1", points=clicks), photos)
    with pytest.raises(UserError, match="middle is neither a point nor a photo; there are left"):
        check_scale(ScaleOptions(distance=1.0, between="left:middle", points=clicks), photos)
    (tmp_path / "one.txt").write_text("left p0.jpg 3 4\nleft p0.jpg 3 5\n")
    with pytest.raises(UserError, match="point left must be clicked in two photos"):
        check_scale(
            ScaleOptions(distance=1.0, between="left:p1", points=str(tmp_path / "one.txt")), photos
        )
    (tmp_path / "bad.txt").write_text("left p0.jpg 3\n")
    with pytest.raises(UserError, match=r"line 1 of .*bad.txt must be `name photo u v`"):
        read_clicks(str(tmp_path / "bad.txt"))
    with pytest.raises(UserError, match=r"scale.points: nowhere.txt cannot be read"):
        read_clicks("nowhere.txt")


def test_photos_that_were_not_placed_and_parallel_rays_are_named(views, tmp_path):
    with pytest.raises(UserError, match="photo lost was not placed"):
        find_scale(ScaleOptions(distance=1.0, between="lost:p1"), views)
    near = View("q.jpg", LENS, look_at(views[0].cam_from_world.centre + np.array([0.001, 0, 0])))
    (tmp_path / "p.txt").write_text("far p0.jpg 80 60\nfar q.jpg 80 60\n")
    with pytest.raises(UserError, match="click it in photos at least 1 degree apart"):
        find_scale(
            ScaleOptions(distance=1.0, between="far:p1", points=str(tmp_path / "p.txt")),
            [*views, near],
        )


def tetrahedron():
    vertices = np.array([[0, 0, 0], [1.0, 0, 0], [0, 2, 0], [0, 0, 3]]) - 0.5
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    return Mesh(vertices, faces, np.full((4, 3), 90, np.uint8))


def test_meshes_are_scaled_and_keep_the_rest(tmp_path):
    mesh = tetrahedron()
    write_mesh_glb(tmp_path / "a.glb", mesh)
    copy_scaled_glb(tmp_path / "a.glb", tmp_path / "b.glb", 0.25)
    before, after = (trimesh.load(tmp_path / f"{n}.glb").to_geometry() for n in "ab")
    np.testing.assert_allclose(after.bounds, 0.25 * before.bounds, rtol=1e-6)
    np.testing.assert_array_equal(after.faces, before.faces)
    assert after.visual.kind == before.visual.kind
    sigma = np.array([np.inf, np.inf, 0.2, 0.1])
    covered = Coverage(np.arange(4), np.full(4, 30.0), sigma, np.array([-1, 0, 0, 1]))
    write_coverage_ply(tmp_path / "a.ply", mesh, covered)
    copy_scaled_ply(tmp_path / "a.ply", tmp_path / "b.ply", 0.25)
    table = PlyData.read(str(tmp_path / "b.ply"))["vertex"].data
    np.testing.assert_allclose(table["sigma"], [-1, -1, 0.05, 0.025], rtol=1e-6)
    np.testing.assert_allclose(table["z"], 0.25 * mesh.vertices[:, 2], rtol=1e-6)
    np.testing.assert_array_equal(table["views"], [0, 1, 2, 3])


def test_coverage_is_said_in_metres():
    record = {
        "unit": "scene units", "outline": 8.0, "median_sigma": None, "by_one": 0.5,
        "templates": [{"text": "the largest is {0:.3g} around {{really}}", "lengths": [4.0]}],
        "statement": ["the largest is 4 around {really}"],
        "holes": [{"perimeter": 4.0, "centre": [1.0, 2.0, 3.0], "why": "transparent"}],
    }  # fmt: skip
    found = scaled_coverage(record, 0.5, "m")
    assert found["statement"] == ["the largest is 2 around {really}"]
    assert found["holes"][0] == {"perimeter": 2.0, "centre": [0.5, 1.0, 1.5], "why": "transparent"}
    assert (found["outline"], found["by_one"], found["unit"]) == (4.0, 0.5, "m")
    json.dumps(found)


def test_scaled_splats_look_the_same_from_scaled_cameras(views, tmp_path):
    import torch

    from recon.render.select import renderer_for
    from tests.recon.scenes import seeds

    gaussians = seeds().gaussians
    saved = SavedSplats(tmp_path, gaussians, tuple(views), {}, np.full(3, 0.5))
    scaled = scaled_splats(saved, 3.7)
    renderer = renderer_for("cpu")

    def drawn(s):
        matrix = torch.as_tensor(s.views[1].cam_from_world.matrix, dtype=torch.float32)
        return renderer.render(s.gaussians, s.views[1].camera, matrix).rgb.detach().numpy()

    picture = drawn(saved)
    assert picture.std() > 0.02
    np.testing.assert_allclose(drawn(scaled), picture, atol=2e-3)
