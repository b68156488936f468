"""The whole camera stage on worlds with known truth."""

import json
from dataclasses import replace

import numpy as np
import pytest

from corr.errors import UserError
from corr.matches import Matches
from recon.camera_metrics import score_cameras
from recon.colmap_io import read_colmap
from recon.poses.localise import localise
from recon.poses.solve import PoseSolver
from tests.synthetic import FOCAL, HEIGHT, WIDTH, ring_scene, with_foreign_photo


def solve(world, folder, **options):
    return PoseSolver(**options).solve(world.images, world.matches, folder)


def score(world, reconstruction):
    return score_cameras(reconstruction.views, {v.name: v for v in world.views})


@pytest.mark.parametrize("num_views", [2, 3, 5, 10])
def test_all_cameras_are_exact_without_noise(num_views, tmp_path):
    world = ring_scene(num_views, 300, folder=tmp_path / "photos", step_deg=8)
    found = score(world, solve(world, tmp_path / "out", focal_px=FOCAL))
    assert found.placed_share == 1
    assert found.rotation_deg.max() < 1e-4
    assert found.centre_percent.max() < 1e-4


@pytest.mark.parametrize(("num_views", "prior"), [(2, True), (3, True), (5, True), (6, False)])
def test_cameras_are_right_with_noise_and_wrong_matches(num_views, prior, tmp_path):
    world = ring_scene(
        num_views, 500, noise_px=0.5, outlier_ratio=0.3, folder=tmp_path / "photos", prior=prior
    )
    reconstruction = solve(world, tmp_path / "out")
    found = score(world, reconstruction)
    assert found.placed_share == 1
    assert found.median_rotation_deg < 0.25
    assert found.median_centre_percent < (2.0 if num_views == 2 else 0.7)
    assert reconstruction.left_out == {}


@pytest.mark.parametrize("num_views", [3, 6])
def test_tracks_are_pure_with_most_matches_wrong(num_views, tmp_path):
    world = ring_scene(
        num_views, 500, noise_px=0.5, outlier_ratio=0.6, folder=tmp_path / "photos", seed=2
    )
    result = solve(world, tmp_path / "out")
    assert score(world, result).rotation_deg.max() < 0.3
    index = {image.name: i for i, image in enumerate(world.images)}
    off = np.empty((len(result.tracks.uv), len(world.xyz)))  # px, to every true point
    for i, view in enumerate(result.views):
        rows, truth = result.tracks.image == i, world.views[index[view.name]]
        uv = truth.camera.project(truth.cam_from_world.apply(world.xyz))[0]
        off[rows] = np.linalg.norm(result.tracks.uv[rows, None] - uv, axis=-1)
    worst = np.stack(
        [off[result.tracks.track == t].max(0).min() for t in range(result.tracks.num_tracks)]
    )
    assert (worst < 2.5).mean() >= 0.99  # one true point explains all places of the track


def test_result_is_normalised_complete_and_on_disk(tmp_path):
    world = ring_scene(4, 300, noise_px=0.2, folder=tmp_path / "photos")
    result = solve(world, tmp_path / "out")
    np.testing.assert_allclose(np.median(result.xyz_world, 0), 0, atol=1e-9)
    depths = [v.cam_from_world.apply(result.xyz_world)[:, 2] for v in result.views]
    assert 3 < np.median(np.concatenate(depths)) < 7
    down = np.mean([v.cam_from_world.R[1] for v in result.views], 0)
    np.testing.assert_allclose(down / np.linalg.norm(down), [0, 1, 0], atol=1e-9)
    assert result.tracks.names == tuple(v.name for v in result.views)
    assert result.tracks.num_tracks == len(result.xyz_world) == len(result.rgb)
    assert result.tracks.lengths.min() >= 2
    for i, view in enumerate(result.views):
        rows = result.tracks.image == i
        uv, _ = view.camera.project(
            view.cam_from_world.apply(result.xyz_world[result.tracks.track[rows]])
        )
        assert np.abs(uv - result.tracks.uv[rows]).max() < 2
        assert (tmp_path / "out" / "images" / f"{view.name}.png").exists()
        assert not (tmp_path / "out" / "masks" / f"{view.name}.png").exists()
    lenses = json.loads((tmp_path / "out" / "distorted.json").read_text())
    assert {(x["width"], x["height"]) for x in lenses.values()} == {(WIDTH, HEIGHT)}
    back = read_colmap(tmp_path / "out")
    np.testing.assert_array_equal(back.xyz_world, result.xyz_world)
    np.testing.assert_array_equal(back.tracks.uv, result.tracks.uv)


def test_same_seed_gives_the_same_result_bit_by_bit(tmp_path):
    world = ring_scene(5, 300, noise_px=0.5, outlier_ratio=0.3, folder=tmp_path / "photos")
    once, again = (solve(world, tmp_path / name, seed=4) for name in ("a", "b"))
    np.testing.assert_array_equal(once.xyz_world, again.xyz_world)
    for a, b in zip(once.views, again.views, strict=True):
        np.testing.assert_array_equal(a.cam_from_world.matrix, b.cam_from_world.matrix)
        np.testing.assert_array_equal(a.camera.K, b.camera.K)


def test_foreign_photo_is_left_out_with_its_numbers(tmp_path):
    world = ring_scene(4, 300, noise_px=0.3, folder=tmp_path / "photos")
    world = with_foreign_photo(world, tmp_path / "photos")
    result = solve(world, tmp_path / "out")
    assert len(result.views) == 4
    assert list(result.left_out) == ["foreign.png"]
    assert "no other photo shows enough of the same" in result.left_out["foreign.png"]
    assert "are needed" in result.left_out["foreign.png"]
    assert json.loads((tmp_path / "out" / "left_out.json").read_text()) == result.left_out
    assert score(world, result).median_rotation_deg < 0.2


def test_second_scene_among_the_photos_is_left_out(tmp_path):
    main = ring_scene(4, 400, noise_px=0.3, folder=tmp_path / "photos")
    other = ring_scene(2, 150, noise_px=0.3, seed=9)
    images = [
        *main.images,
        *(
            replace(i, name=f"other_{i.name}", work_path=main.images[0].work_path)
            for i in other.images
        ),
    ]
    matches = {**main.matches, (4, 5): other.matches[0, 1]}
    result = PoseSolver().solve(images, matches, tmp_path / "out")
    assert len(result.views) == 4
    assert set(result.left_out) == {"other_photo_0.png", "other_photo_1.png"}
    assert "only photos that are not placed" in result.left_out["other_photo_0.png"]
    (split,) = [
        f for f in json.loads((tmp_path / "out" / "findings.json").read_text()) if "joined" in f
    ]
    assert "2 photos (other_photo_0.png, other_photo_1.png) match each other" in split
    assert "scene.use=other_photo_0.png,other_photo_1.png" in split


def test_pure_rotation_is_refused_and_named(tmp_path):
    world = ring_scene(4, 300, turning=True, noise_px=0.2, step_deg=4, folder=tmp_path / "photos")
    with pytest.raises(UserError, match=r"one place.*step sideways"):
        solve(world, tmp_path / "out")


def test_pure_rotation_is_named_when_the_focal_length_is_unknown_too(tmp_path):
    world = ring_scene(
        4, 300, turning=True, noise_px=0.3, step_deg=6, folder=tmp_path / "photos", prior=False
    )
    with pytest.raises(UserError, match=r"one place.*step sideways"):
        solve(world, tmp_path / "out")


def test_flat_scene_works_when_the_focal_length_is_known(tmp_path):
    world = ring_scene(5, 400, flat=True, noise_px=0.2, folder=tmp_path / "photos")
    found = score(world, solve(world, tmp_path / "out", focal_px=FOCAL))
    assert found.placed_share == 1
    assert found.median_rotation_deg < 0.3


def test_nothing_in_common_is_refused_with_numbers(tmp_path):
    rng = np.random.default_rng(0)
    world = ring_scene(3, 50, folder=tmp_path / "photos")
    matches = {
        pair: Matches(rng.uniform(0, 460, (40, 2)), rng.uniform(0, 460, (40, 2)), np.ones(40))
        for pair in world.matches
    }
    with pytest.raises(UserError, match=r"no two of 3 photos.*best pair.*of 40 matches"):
        PoseSolver().solve(world.images, matches, tmp_path / "out")
    with pytest.raises(UserError, match="no pair of the 3 photos was matched"):
        PoseSolver().solve(world.images, {}, tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "value"),
    [("camera", "fisheye"), ("focal_px", -3.0), ("max_error_px", 0.0), ("min_inliers", 3)],
)
def test_bad_option_is_named(option, value):
    with pytest.raises(ValueError, match=rf"poses\.{option} must be .* got {value}"):
        PoseSolver(**{option: value})


def held_out(world, number):
    """A world without one photo, and that photo's matches as localise wants them."""
    rest = [i for i in range(len(world.images)) if i != number]
    index = {old: new for new, old in enumerate(rest)}
    matches = {
        (index[a], index[b]): m for (a, b), m in world.matches.items() if number not in (a, b)
    }
    own = {}
    for (a, b), m in world.matches.items():
        if number == a:
            own[world.images[b].name] = m
        elif number == b:
            own[world.images[a].name] = m.swapped()
    return replace(world, images=tuple(world.images[i] for i in rest), matches=matches), own


def test_held_out_photo_is_located(tmp_path):
    world = ring_scene(5, 400, noise_px=0.3, outlier_ratio=0.2, folder=tmp_path / "photos")
    known, own = held_out(world, 2)
    result = solve(known, tmp_path / "out")
    found = localise(world.images[2], own, result, tmp_path / "out")
    assert not isinstance(found, str)
    assert found.inliers > 200
    assert found.picture.shape == (HEIGHT, WIDTH, 3)
    together = [*result.views, found.view]
    found_score = score_cameras(together, {v.name: v for v in world.views})
    assert found_score.names[-1] == "photo_2.png"
    assert found_score.rotation_deg[-1] < 0.2
    assert found_score.centre_percent[-1] < 0.7


def test_photo_of_something_else_is_not_located(tmp_path):
    world = ring_scene(4, 300, noise_px=0.3, folder=tmp_path / "photos")
    result = solve(world, tmp_path / "out")
    rng = np.random.default_rng(0)
    lost = {
        view.name: Matches(
            rng.uniform(0, 460, (80, 2)), rng.permutation(result.tracks.uv)[:80], np.ones(80)
        )
        for view in result.views
    }
    reason = localise(world.images[0], lost, result, tmp_path / "out")
    assert isinstance(reason, str)
    assert "are needed" in reason
    none = localise(world.images[0], {}, result, tmp_path / "out")
    assert "overlaps too little" in none


def test_mapper_result_with_a_negative_focal_length_is_dropped():
    import pycolmap

    from recon.poses.lens import Lens
    from recon.poses.mapping import from_model

    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model="SIMPLE_PINHOLE", width=100, height=80, params=[-50.0, 50.0, 40.0], camera_id=1
    )
    model.add_camera(camera)
    assert from_model(model, {0: 0}, (Lens.centred(100, 80, 90.0),)) is None


def test_chi_squared_follows_the_accuracy_that_the_matcher_states(tmp_path):
    """Pictures of noise: no patch can be aligned, so the matcher's own sigma counts."""
    world = ring_scene(4, 400, noise_px=0.5, folder=tmp_path / "photos")
    found = []
    for sigma in (0.5, 1.0):
        matches = {pair: replace(m, sigma_px=sigma) for pair, m in world.matches.items()}
        found.append(PoseSolver().place(world.images, matches).uncertainty.chi2)
    assert 0.5 < found[0] < 1.2  # observations beyond a pixel are left out
    assert found[0] == pytest.approx(4 * found[1], rel=0.2)
