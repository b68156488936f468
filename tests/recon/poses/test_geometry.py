"""Lens, triangulation, alignment, undistortion."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from recon.poses.align import Alignment, align_patches, local_affine, smoothed
from recon.poses.lens import Lens
from recon.poses.link import Linked
from recon.poses.triangulate import triangulate_tracks
from recon.poses.undistort import pinhole_of, undistort_picture, undistort_points
from tests.synthetic import FOCAL, HEIGHT, WIDTH, make_image, ring_scene

BARREL = Lens("RADIAL", float(WIDTH), float(HEIGHT), 500.0, 300.0, 230.0, -0.11, 0.03)


def test_lens_undistort_inverts_distort():
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.6, 0.6, (500, 2))
    np.testing.assert_allclose(BARREL.undistort(BARREL.distort(xy)), xy, atol=1e-10)


def test_lens_agrees_with_colmap():
    pycolmap = pytest.importorskip("pycolmap")
    camera = pycolmap.Camera(model="RADIAL", width=611, height=467, params=BARREL.params)
    xy = np.random.default_rng(1).uniform(-0.5, 0.5, (20, 2))
    rays = np.concatenate([xy, np.ones((20, 1))], -1)
    np.testing.assert_allclose(camera.img_from_cam(rays), BARREL.distort(xy), atol=1e-9)


def tracks_of(world, noise_px=0.0, seed=0):
    rng = np.random.default_rng(seed)
    photo, track, uv = [], [], []
    for i, view in enumerate(world.views):
        place, _ = view.camera.project(view.cam_from_world.apply(world.xyz))
        photo.append(np.full(len(place), i))
        track.append(np.arange(len(place)))
        uv.append(place + rng.normal(0, noise_px, place.shape))
    photo, track, uv = map(np.concatenate, (photo, track, uv))
    order = np.lexsort((photo, track))
    return Linked(track[order], photo[order], uv[order])


def triangulated(world, tracks):
    lens = Lens.centred(WIDTH, HEIGHT, FOCAL)
    return triangulate_tracks(
        tracks,
        lens.undistort(tracks.uv),
        np.full(len(tracks.track), FOCAL),
        {i: v.cam_from_world for i, v in enumerate(world.views)},
        max_error_px=2.0,
        min_angle_deg=1.0,
    )


def test_triangulation_is_exact_without_noise():
    world = ring_scene(4, 100)
    found = triangulated(world, tracks_of(world))
    np.testing.assert_allclose(found.xyz, world.xyz, atol=1e-8)
    assert found.fits.all()


def test_triangulation_finds_the_point_when_two_of_five_observations_are_wrong():
    world = ring_scene(5, 200)
    tracks = tracks_of(world, noise_px=0.2)
    wrong = np.isin(tracks.photo, [1, 3])
    rng = np.random.default_rng(3)
    spoilt = tracks.with_uv(
        np.where(wrong[:, None], rng.uniform(0, 460, tracks.uv.shape), tracks.uv)
    )
    found = triangulated(world, spoilt)
    assert np.median(np.linalg.norm(found.xyz - world.xyz, axis=-1)) < 0.01
    assert found.fits[~wrong].mean() > 0.97
    assert found.fits[wrong].mean() < 0.05


def texture(seed=0, size=(240, 320)):
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.uniform(0, 255, (*size, 3)), (0, 0), 2.5).clip(0, 255)


def test_alignment_finds_a_known_warp_to_a_twentieth_of_a_pixel():
    grey = texture()[..., 0].astype(np.float32) * 4 - 380
    A = np.array([[1.08, 0.06], [-0.05, 0.93]])
    shift = np.array([7.3, -4.6])
    rows, columns = np.mgrid[0:240, 0:320]
    uv_b = np.stack([columns + 0.5, rows + 0.5], -1)
    source = (uv_b - shift) @ np.linalg.inv(A).T - 0.5
    other = cv2.remap(
        grey, source[..., 0].astype(np.float32), source[..., 1].astype(np.float32), cv2.INTER_CUBIC
    )
    rng = np.random.default_rng(2)
    uv_a = rng.uniform([50, 50], [260, 180], (200, 2))
    true = uv_a @ A.T + shift
    start = true + rng.uniform(-1.2, 1.2, true.shape)
    stretch = local_affine(uv_a, true)
    np.testing.assert_allclose(stretch, np.broadcast_to(A, stretch.shape), atol=0.05)
    aligned = align_patches(grey, 0.7 * other + 20, uv_a, start, stretch, Alignment())
    good = aligned.similarity > 0.75
    assert good.mean() > 0.95
    assert np.median(np.linalg.norm(aligned.uv - true, axis=-1)[good]) < 0.05


def test_alignment_is_lost_on_another_picture():
    a, b = (smoothed(texture(s).astype(np.uint8), 0.8) for s in (0, 1))
    uv = np.random.default_rng(0).uniform(40, 180, (100, 2))
    stretch = np.broadcast_to(np.eye(2), (100, 2, 2)).copy()
    similarity = align_patches(a, b, uv, uv, stretch, Alignment()).similarity
    assert (similarity > 0.75).mean() < 0.05


def test_undistorted_picture_shows_a_point_where_undistort_points_says(tmp_path):
    image = make_image("grid.png", tmp_path, prior=None)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    spots = np.array([[100, 80], [300, 230], [520, 390], [80, 400]])
    for u, v in spots:
        pixels[v - 2 : v + 3, u - 2 : u + 3] = 255
    PilImage.fromarray(pixels).save(image.work_path)
    picture, valid = undistort_picture(image, BARREL)
    expected = undistort_points(spots + 0.5, BARREL, pinhole_of(image, BARREL))
    for u, v in expected:
        window = np.s_[int(v) - 5 : int(v) + 6, int(u) - 5 : int(u) + 6]
        weight = picture[window][..., 0].astype(float)
        rows, columns = np.mgrid[window]
        centre = [(weight * (x + 0.5)).sum() / weight.sum() for x in (columns, rows)]
        np.testing.assert_allclose(centre, [u, v], atol=0.1)
    assert valid is None or valid.mean() > 0.8


def test_undistortion_without_distortion_returns_the_working_copy(tmp_path):
    image = make_image("plain.png", tmp_path, prior=None)
    picture, valid = undistort_picture(image, Lens.centred(WIDTH, HEIGHT, FOCAL))
    np.testing.assert_array_equal(picture, image.load())
    assert valid is None


def test_mask_and_border_make_the_valid_area(tmp_path):
    image = make_image("masked.png", tmp_path, prior=None)
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, : WIDTH // 2] = 0
    path = tmp_path / "mask.png"
    PilImage.fromarray(mask).save(path)
    pincushion = replace(BARREL, k1=0.15, k2=0.0)
    _, valid = undistort_picture(replace(image, mask_path=path), pincushion)
    assert not valid[:, : WIDTH // 2 - 5].any()
    assert valid[HEIGHT // 2, WIDTH // 2 + 20]
    assert not valid[0, -1]  # lies outside the photo as taken
