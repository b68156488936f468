from dataclasses import replace

import numpy as np
import pytest
import torch

from corr.errors import UserError
from corr.tracks import Tracks
from recon.render.reference import rotation_from_quaternion
from recon.splats.gaussians import SH_C0
from recon.splats.seeding import AGREED_OPACITY, FILL_OPACITY, make_seeds, quats_from_normals
from recon.splats.seeds import Seeds
from tests.recon import scenes


def turned_z(quats):
    return rotation_from_quaternion(torch.from_numpy(quats).double())[:, :, 2].numpy()


def test_quaternion_turns_z_into_the_normal():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(500, 3))
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    normal = np.concatenate([normal / np.linalg.norm(normal, axis=1, keepdims=True), axes])
    quats = quats_from_normals(normal.astype(np.float32))
    assert np.abs(np.linalg.norm(quats, axis=1) - 1).max() < 1e-6
    assert np.abs(turned_z(quats) - normal).max() < 5e-6  # float32


@pytest.mark.parametrize("tilt", [1e-2, 1e-3, 1e-4, 1e-6, 0.0])
def test_quaternion_is_right_near_minus_z(tilt):
    angles = np.linspace(0, 2 * np.pi, 9)
    normal = np.stack(
        [np.sin(tilt) * np.cos(angles), np.sin(tilt) * np.sin(angles), -np.cos(tilt) + 0 * angles],
        -1,
    )
    found = turned_z(quats_from_normals(normal.astype(np.float32)))
    # Within 1.4e-3 rad of -z the normal is taken for -z: 0.08 degrees.
    assert np.abs(found - normal).max() < 2e-3


@pytest.fixture(scope="module")
def seeds():
    return scenes.seeds()


def parts(seeds):
    """Slices of the agreed points, lone tracks and hole fillers."""
    a, t = seeds.summary["agreed"], seeds.summary["from_tracks"]
    return slice(0, a), slice(a, a + t), slice(a + t, None)


def test_seeds_are_finite_and_counted(seeds):
    g = seeds.gaussians
    assert bool(g.is_finite().all())
    agreed, _, holes = parts(seeds)
    assert len(g.means[agreed]) == 2500
    assert len(g.means[holes]) == seeds.summary["in_holes"] > 0
    assert len(g) == len(seeds.confidence)
    assert sum(seeds.summary["support_histogram"]) == seeds.summary["agreed_points"]
    assert g.sh.shape[1:] == (4, 3)
    assert ((seeds.confidence > 0) & (seeds.confidence <= 1)).all()
    assert seeds.confidence[holes].max() < seeds.confidence[agreed].min()


def test_seeds_lie_on_the_surface_and_are_flat_along_it(seeds):
    g = seeds.gaussians
    agreed, *_ = parts(seeds)
    xyz = g.means[agreed].double().numpy()
    distance = scenes.distance_to_surface(xyz)
    assert (distance < 0.01 * scenes.DISTANCE).mean() > 0.95
    on_floor = np.abs(xyz[:, 2]) < 0.01 * scenes.DISTANCE
    normal = turned_z(g.quats_wxyz[agreed].numpy())[on_floor]
    assert np.degrees(np.median(np.arccos(np.clip(normal[:, 2], -1, 1)))) < 12
    scales = g.scales[agreed]
    assert bool((scales[:, 2] < 0.2 * scales[:, 0]).all())
    assert torch.equal(scales[:, 0], scales[:, 1])


def test_seed_sizes_stay_between_a_pixel_and_a_coarse_patch(seeds):
    agreed, tracks, _ = parts(seeds)
    size = seeds.gaussians.scales[:, 0].numpy()
    focal = scenes.scene().reconstruction.views[0].camera.K[0, 0]
    xyz = seeds.gaussians.means.double().numpy()
    centres = np.array([v.cam_from_world.centre for v in scenes.scene().reconstruction.views])
    distance = np.linalg.norm(xyz[:, None] - centres, axis=-1)
    for part in (agreed, tracks):
        # the footprint is that of the photo the point comes from: any of the four
        assert (size[part] > 0.5 * distance[part].min(1) / focal * 0.95).all()
        assert (size[part] < 6 * distance[part].max(1) / focal * 1.05).all()


def test_seed_opacities_tell_agreed_from_guessed(seeds):
    agreed, tracks, holes = parts(seeds)
    opacity = seeds.gaussians.opacities.numpy()
    assert np.allclose(opacity[agreed], AGREED_OPACITY, atol=1e-6)
    assert np.allclose(opacity[tracks], AGREED_OPACITY, atol=1e-6)
    assert np.allclose(opacity[holes], FILL_OPACITY, atol=1e-6)


def test_seed_colours_are_the_surfaces(seeds):
    agreed, *_ = parts(seeds)
    xyz = seeds.gaussians.means[agreed].double().numpy()
    rgb = 0.5 + SH_C0 * seeds.gaussians.sh[agreed, 0].numpy()
    error = np.abs(rgb - scenes.texture(xyz))
    assert np.median(error) < 0.04  # band 0 only, from pixels that average the texture
    assert float(seeds.gaussians.sh[:, 1:].abs().median()) < 0.1  # the scene has no gloss
    assert seeds.exposures == pytest.approx(np.ones((4, 3)), abs=0.03)


def test_seeding_takes_exposure_out(seeds):
    """One photo 30 % darker: the seeds keep their colours, the gain says so."""
    true = scenes.scene()
    pictures = dict(true.pictures)
    pictures["v1.png"] = np.round(pictures["v1.png"] * 0.7).astype(np.uint8)
    rng = np.random.default_rng(0)
    found, _ = make_seeds(scenes.small_seeder(), true.reconstruction, pictures, {}, rng)
    ratio = found.exposures[1] / found.exposures[[0, 2, 3]].mean(0)
    assert ratio == pytest.approx([0.7] * 3, abs=0.04)
    assert np.exp(np.log(found.exposures).mean(0)) == pytest.approx(np.ones(3), abs=1e-6)


def test_seeding_depends_on_the_seed_only():
    true = scenes.scene()
    again, _ = make_seeds(
        scenes.small_seeder(), true.reconstruction, true.pictures, {}, np.random.default_rng(0)
    )
    for name, value in scenes.seeds().gaussians.tensors().items():
        assert torch.equal(value, again.gaussians.tensors()[name]), name


def test_seeding_ignores_masked_pixels():
    true = scenes.scene()
    masks = {}
    for view in true.reconstruction.views:  # the ball is masked out everywhere
        xyz = scenes.trace(view)[2]
        masks[view.name] = np.linalg.norm(xyz - scenes.BALL, axis=-1) > scenes.RADIUS + 0.02
    found, points = make_seeds(
        scenes.small_seeder(), true.reconstruction, true.pictures, masks, np.random.default_rng(0)
    )
    height = points.xyz[:, 2]
    assert (height > 0.3).mean() < 0.01
    assert len(found.gaussians) > 500


def test_options_without_holes_and_with_degree_zero():
    true = scenes.scene()
    options = scenes.small_seeder(fill=False, sh_degree=0, budget=300)
    found, _ = make_seeds(options, true.reconstruction, true.pictures, {}, np.random.default_rng(0))
    assert found.summary["in_holes"] == 0
    assert found.gaussians.sh.shape[1] == 1
    assert found.summary["agreed"] == 300


def test_photos_that_agree_nowhere_are_refused_with_the_next_step():
    true = scenes.scene()
    rng = np.random.default_rng(0)
    noise = {n: rng.integers(0, 255, p.shape).astype(np.uint8) for n, p in true.pictures.items()}
    with pytest.raises(UserError, match=r"^only \d+ surface points .* add photos .*max_cost"):
        make_seeds(scenes.small_seeder(max_cost=0.05), true.reconstruction, noise, {}, rng)


def test_photos_without_common_points_are_refused_with_the_next_step():
    true = scenes.scene()
    tracks = true.reconstruction.tracks
    first = np.concatenate([[True], np.diff(tracks.track) > 0])  # each point in one photo only
    alone = Tracks(tracks.track[first], tracks.image[first], tracks.uv[first], tracks.names)
    solved = replace(true.reconstruction, tracks=alone)
    with pytest.raises(UserError, match=r"only 0 surface points .* add photos"):
        make_seeds(scenes.small_seeder(), solved, true.pictures, {}, np.random.default_rng(0))


def test_stage_writes_what_load_reads(tmp_path):
    true = scenes.scene()
    rng = np.random.default_rng(0)
    written = scenes.small_seeder().seed(true.reconstruction, true.pictures, {}, tmp_path, rng)
    read = Seeds.load(tmp_path)
    assert read.summary == written.summary
    assert np.array_equal(read.confidence, written.confidence)
    assert np.array_equal(read.exposures, written.exposures)
    for name, value in written.gaussians.tensors().items():
        assert torch.equal(value, read.gaussians.tensors()[name]), name
    assert (tmp_path / "points.ply").stat().st_size > 0
