"""Scores of meshes whose errors are known because they were planted."""

import json

import numpy as np
import pytest
from plyfile import PlyData, PlyElement
from scipy.io import savemat

from corr.errors import UserError
from corr.geometry import Camera, Sim3
from recon.eval_mesh import eval_mesh
from recon.export.mesh import read_mesh_ply, write_mesh_ply
from recon.export.transforms import write_transforms
from recon.options_eval_mesh import EvalMeshOptions
from recon.scene import View
from recon.surface.compare import compare, sampled_evenly, scores
from recon.surface.dtu import Dtu, culled, read_observed, thinned
from recon.surface.mesh import Mesh
from recon.surface.truth import Truth, count_views, read_truth
from tests.recon.surface.conftest import look_at


def square(side=100.0, z=0.0, cells=20):
    """A flat square around the origin, its normal along +z."""
    x, y = np.meshgrid(*[np.linspace(-side / 2, side / 2, cells + 1)] * 2)
    vertices = np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1)
    i = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    faces = np.stack([i, i + 1, i + cells + 2, i, i + cells + 2, i + cells + 1], 1).reshape(-1, 3)
    return Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))


def dots(side=100.0, step=0.5, z=0.0):
    """True points of the square, with normals."""
    axis = np.arange(-side / 2 + step / 2, side / 2, step)
    x, y = np.meshgrid(axis, axis)
    xyz = np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1)
    return Truth(xyz, np.tile([0, 0, 1.0], (len(xyz), 1)), step)


def write_truth(path, truth):
    table = np.empty(len(truth.xyz), [(n, "<f4") for n in ("x", "y", "z", "nx", "ny", "nz")])
    for i, axis in enumerate("xyz"):
        table[axis], table[f"n{axis}"] = truth.xyz[:, i], truth.normals[:, i]
    PlyData([PlyElement.describe(table, "vertex")]).write(str(path))
    return str(path)


def cameras(count=4, *, world=None):
    """Cameras above the square, in its frame or in another one."""
    lens = Camera.simple(160, 120, 170.0)
    centres = [(60 * np.cos(a), 60 * np.sin(a), 150.0) for a in np.arange(count) * 1.3]
    poses = [look_at(c, (0, 0, 0), up=(0, 1.0, 0)) for c in centres]
    if world is not None:
        poses = [world.inverse().apply_to_camera(p) for p in poses]
    return [View(f"p{i}.png", lens, p) for i, p in enumerate(poses)]


def test_a_shift_is_the_accuracy_the_completeness_and_the_chamfer():
    samples, normals = sampled_evenly(square(z=2.0), spacing=0.5, seed=0)
    result = scores(compare(samples, normals, dots()), (1.0, 2.5))
    for value in (result.accuracy, result.completeness, result.chamfer):
        assert value == pytest.approx(2.0, rel=0.02)
    assert result.f1 == pytest.approx((0.0, 1.0), abs=0.001)
    assert result.normal_consistency == pytest.approx(1.0)
    assert result.flipped == 0.0


def test_half_a_surface_turned_over_is_half_flipped():
    mesh = square()
    left = mesh.vertices[mesh.faces].mean(1)[:, 0] < 0
    faces = np.where(left[:, None], mesh.faces[:, ::-1], mesh.faces)
    samples, normals = sampled_evenly(Mesh(mesh.vertices, faces, mesh.rgb), spacing=0.5, seed=0)
    result = scores(compare(samples, normals, dots()), (1.0,))
    assert result.flipped == pytest.approx(0.5, abs=0.01)
    assert result.normal_consistency == pytest.approx(1.0)


def test_a_tilt_is_the_normal_consistency():
    tilt = np.radians(30)
    mesh = square(side=10.0)
    turn = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    tilted = Mesh(mesh.vertices @ turn.T, mesh.faces, mesh.rgb)
    samples, normals = sampled_evenly(tilted, spacing=0.1, seed=0)
    result = scores(compare(samples, normals, dots(side=10.0, step=0.1)), (10.0,))
    assert result.normal_consistency == pytest.approx(np.cos(tilt), abs=1e-6)


def test_completeness_asks_only_for_what_was_wanted():
    mesh, truth = square(), dots()
    right = mesh.vertices[mesh.faces].mean(1)[:, 0] > 0
    samples, normals = sampled_evenly(
        Mesh(mesh.vertices, mesh.faces[right], mesh.rgb), spacing=0.5, seed=0
    )
    whole = scores(compare(samples, normals, truth), (1.0,))
    part = scores(compare(samples, normals, truth, wanted=truth.xyz[:, 0] > 0), (1.0,))
    assert whole.recall[0] == pytest.approx(0.51, abs=0.01)
    assert part.recall[0] == 1.0
    assert part.precision == whole.precision == (1.0,)


def test_views_are_counted_by_frame_facing_and_occlusion():
    floor, lid = dots(), dots(side=40.0, z=20.0)
    both = Truth(
        np.concatenate([floor.xyz, lid.xyz]), np.concatenate([floor.normals, lid.normals]), 0.5
    )
    above = View(
        "a.png", Camera.simple(160, 120, 170.0), look_at((0, 0, 150.0), (0, 0, 0), (0, 1, 0))
    )
    below = View("b.png", above.camera, look_at((0, 0, -150.0), (0, 0, 0), (0, 1, 0)))
    count = count_views(both, [above, above, below])
    x, y = np.abs(floor.xyz[:, 0]), np.abs(floor.xyz[:, 1])
    hidden = (x < 20) & (y < 20)  # under the lid, whose shadow is 3 wider
    clear = (np.maximum(x, y) > 26) & (x < 70) & (y < 50)
    assert (count[: len(x)][hidden] == 0).all()
    assert (count[: len(x)][clear] == 2).all()
    assert (count[len(x) :] == 2).all()


def test_command_aligns_on_cameras_and_writes_what_it_found(tmp_path):
    """The mesh lives in a turned, scaled, shifted world; its cameras lead back."""
    a = 0.8
    R = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    true_from_mesh = Sim3(7.3, R, np.array([5.0, -2.0, 11.0]))
    mesh = square(z=1.5)
    own = Mesh(true_from_mesh.inverse().apply(mesh.vertices), mesh.faces, mesh.rgb)
    write_mesh_ply(tmp_path / "mesh.ply", own)
    write_transforms(tmp_path / "true.json", cameras(), "images")
    write_transforms(tmp_path / "own.json", cameras(world=true_from_mesh), "images")
    said = eval_mesh(
        EvalMeshOptions(
            mesh=str(tmp_path / "mesh.ply"), surface=write_truth(tmp_path / "true.ply", dots()),
            cameras=str(tmp_path / "true.json"), solved=str(tmp_path / "own.json"),
            distances="1:3", seen_by=2,
        )
    )  # fmt: skip
    out = tmp_path / "eval_mesh"
    record = json.loads((out / "scores.json").read_text())
    assert record["accuracy"] == pytest.approx(1.5, rel=0.02)
    assert record["f1"] == pytest.approx([0.0, 1.0], abs=0.001)
    np.testing.assert_allclose(
        record["true_from_mesh"], true_from_mesh_matrix(true_from_mesh), atol=1e-6
    )
    assert "similarity on 4 cameras, scale 7.3" in said
    assert f"report: {out / 'report.html'}" in said
    painted = read_mesh_ply(out / "accuracy.ply").rgb
    assert np.ptp(painted, axis=0).max() <= 12  # everywhere half of the largest threshold …
    assert np.median(painted[:, 1]) > 180  # … which is the ramp's yellow-green
    pages = (out / "report.html").read_text()
    assert pages.count("data:image/jpeg") == 6


def true_from_mesh_matrix(fit):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = fit.scale * fit.R, fit.t
    return matrix


@pytest.fixture
def dtu_files(tmp_path):
    """An observed box around the square's right half (1 mm cells), and a table just below it."""
    mask = np.ones((49, 101, 41), np.uint8)
    box = np.array([[2.0, -50, -20], [50, 50, 20]])
    savemat(tmp_path / "obs.mat", {"ObsMask": mask, "BB": box, "Res": np.array([[1.0]])})
    savemat(tmp_path / "plane.mat", {"P": np.array([[0.0], [0], [1], [5]])})
    return Dtu(obs_mask=str(tmp_path / "obs.mat"), plane=str(tmp_path / "plane.mat"), patch=10.0)


def test_dtu_counts_accuracy_where_observed_and_completeness_above_the_table(dtu_files, tmp_path):
    """Left half 8 off but unobserved, right half 1 off, and true points below the table."""
    good, bad = square(z=1.0), square(z=8.0)
    right = good.vertices[good.faces].mean(1)[:, 0] > 0
    faces = np.concatenate([good.faces[right], bad.faces[~right] + len(good.vertices)])
    mesh = Mesh(
        np.concatenate([good.vertices, bad.vertices]), faces,
        np.zeros((2 * len(good.vertices), 3), np.uint8),
    )  # fmt: skip
    write_mesh_ply(tmp_path / "mesh.ply", mesh)
    top, under = dots(), dots(z=-30.0)
    truth = Truth(
        np.concatenate([top.xyz, under.xyz]), np.concatenate([top.normals, under.normals]), 0.5
    )
    dtu_files.spacing = 1.0
    eval_mesh(
        EvalMeshOptions(
            mesh=str(tmp_path / "mesh.ply"), surface=write_truth(tmp_path / "stl.ply", truth),
            protocol="dtu", dtu=dtu_files, distances="2",
        )
    )  # fmt: skip
    record = json.loads((tmp_path / "eval_mesh" / "scores.json").read_text())
    assert record["accuracy"] == pytest.approx(1.0, abs=0.05)
    # Right half, and what lies within sqrt(2^2 - 1^2) of its rim; the points below do not count.
    assert record["recall"][0] == pytest.approx(0.5 + 3**0.5 / 100, abs=0.01)


def test_dtu_leaves_pairs_beyond_the_limit_out_of_the_means_only():
    near, far = square(side=10.0, z=1.0), square(side=10.0, z=3.0)
    both = Mesh(
        np.concatenate([near.vertices, far.vertices]),
        np.concatenate([near.faces, far.faces + len(near.vertices)]), np.zeros((882, 3), np.uint8),
    )  # fmt: skip
    samples, normals = sampled_evenly(both, spacing=0.2, seed=0)
    found = compare(samples, normals, dots(side=10.0, step=0.1), margin=1.0)
    assert scores(found, (2.0,)).accuracy == pytest.approx(2.0, abs=0.02)
    capped = scores(found, (2.0,), cap=2.5)
    assert capped.accuracy == pytest.approx(1.0, abs=0.02)
    assert capped.precision[0] == pytest.approx(0.5, abs=0.01)


def test_thinned_points_keep_their_distance_and_leave_no_gap():
    xyz = np.random.default_rng(2).random((20_000, 3)) * [10, 10, 0.1] - 3.0
    kept = thinned(xyz, 0.4, seed=0)
    from scipy.spatial import cKDTree

    tree = cKDTree(xyz[kept])
    assert tree.query(xyz[kept], k=2)[0][:, 1].min() >= 0.4
    assert tree.query(xyz)[0].max() < 0.4
    np.testing.assert_array_equal(kept, thinned(xyz, 0.4, seed=0))


def test_masks_cull_what_lies_outside_them_by_more_than_the_disk():
    view = View(
        "p.png", Camera.simple(100, 100, 100.0), look_at((0, 0, 100.0), (0, 0, 0), (0, 1, 0))
    )
    mask = np.zeros((100, 100), bool)
    mask[30:70, 30:70] = True  # the middle 40 mm
    mesh = square(side=90.0, cells=90)
    kept = culled(mesh, {"p.png": view}, {"p.png": mask}, 5)
    reach = np.abs(kept.vertices[:, :2]).max()
    assert 24.0 <= reach <= 26.0
    corner = np.linalg.norm(np.abs(kept.vertices[:, :2]) - 20, axis=1)
    assert corner[(np.abs(kept.vertices[:, :2]) > 20).all(1)].max() <= 6.5  # round corners


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mesh": ""}, "give run=<folder of a finished run> or mesh=<file>"),
        ({"surface": ""}, "give surface="),
        ({"surface": "nowhere.ply"}, "there is no true surface at nowhere.ply"),
        ({"solved": "own.json"}, "give the true ones as cameras="),
        ({"seen_by": 2}, "seen_by needs cameras"),
        ({"protocol": "dtu"}, "protocol=dtu needs dtu.obs_mask=<file>"),
        ({"run": "outputs", "mesh": ""}, "holds no finished run"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path, change, message):
    write_mesh_ply(tmp_path / "mesh.ply", square())
    given = {"mesh": str(tmp_path / "mesh.ply"), "surface": write_truth(tmp_path / "t.ply", dots())}
    with pytest.raises(UserError, match=message):
        eval_mesh(EvalMeshOptions(**{**given, **change}))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"protocol": "tanks"}, "protocol must be one of plain, dtu, got tanks"),
        ({"percent": "1:-2"}, "percent must be positive numbers with colons between, got '1:-2'"),
        ({"distances": "x"}, "distances must be positive numbers"),
        ({"seen_by": -1}, "seen_by must be 0 or more, got -1"),
    ],
)
def test_bad_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        EvalMeshOptions(**option)


def test_a_file_that_is_no_matlab_file_is_named(dtu_files, tmp_path):
    (tmp_path / "obs.mat").write_text("no")
    with pytest.raises(UserError, match=r"dtu.obs_mask: .*obs.mat cannot be read"):
        read_observed(dtu_files)


def test_truth_may_be_a_mesh(tmp_path):
    write_mesh_ply(tmp_path / "truth.ply", square())
    truth = read_truth(tmp_path / "truth.ply", samples=10_000)
    assert len(truth.xyz) == 10_000
    assert np.abs(truth.normals - [0, 0, 1]).max() < 1e-9
