from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from recon.dense.fusion import fuse, order_by_quality
from tests.recon import scenes
from tests.recon.scenes import DISTANCE, FUSION, distance_to_surface

PIXELS = scenes.SIZE[0] * scenes.SIZE[1]
ON_SURFACE = 0.01 * DISTANCE  # the depths' own tolerance is 1.2 %


def off_surface(points):
    return distance_to_surface(points.xyz.astype(np.float64))


def test_fused_points_lie_on_the_surface():
    points = scenes.points()
    assert len(points) > 0.3 * PIXELS
    distance = off_surface(points)
    assert np.median(distance) < 0.25 * ON_SURFACE
    # The rest are occlusion edges, where two wrong depths may agree.
    assert (distance < ON_SURFACE).mean() > 0.95


def test_fused_normals_point_away_from_the_surface():
    points = scenes.points()
    ball = np.linalg.norm(points.xyz - scenes.BALL, axis=1)
    on_ball = np.abs(ball - scenes.RADIUS) < np.abs(points.xyz[:, 2])
    true = np.where(on_ball[:, None], (points.xyz - scenes.BALL) / ball[:, None], [0, 0, 1.0])
    cosine = np.clip((points.normal * true).sum(1), -1, 1)
    assert np.degrees(np.median(np.arccos(cosine))) < 12
    assert np.degrees(np.median(np.arccos(cosine[on_ball]))) < 15
    assert np.abs(np.linalg.norm(points.normal, axis=1) - 1).max() < 1e-5


def test_each_surface_patch_is_fused_once_and_nothing_is_lost():
    true = scenes.scene()
    points = fuse(scenes.exact_maps(true), true.pictures, **FUSION)
    # Four maps show nearly the same surface: without consumption there would be 4 x PIXELS.
    assert len(points) < 1.6 * PIXELS
    assert off_surface(points).max() < 0.5 * ON_SURFACE  # only rounding to pixels on the ball
    view = true.reconstruction.views[1]
    xyz = scenes.trace(view)[2].reshape(-1, 3)
    others = [v for v in true.reconstruction.views if v is not view]
    common = np.any([scenes.seen(xyz, v, true.depth[v.name])[1] for v in others], axis=0)
    distance = cKDTree(points.xyz).query(xyz[common])[0]
    assert (distance < 2.5 * np.median(points.footprint)).mean() > 0.97


def test_planted_wrong_depths_are_rejected():
    true = scenes.scene()
    maps = scenes.exact_maps(true)
    wrong = maps[0].depth.copy()
    wrong[20:50, 30:70] *= 0.9
    maps[0] = replace(maps[0], depth=wrong)
    points = fuse(maps, true.pictures, **FUSION)
    planted = np.zeros(maps[0].depth.shape, bool)
    planted[20:50, 30:70] = True
    view = maps[0].view
    uv, _ = view.camera.project(view.cam_from_world.apply(points.xyz.astype(np.float64)))
    inside = ((uv >= 0) & (uv < scenes.SIZE)).all(1)
    hit = np.zeros(len(points), bool)
    hit[inside] = planted[tuple(uv[inside].astype(int).T[::-1])]
    assert not (hit & (points.view == 0)).any()
    assert (hit & (points.view != 0)).sum() > 0.5 * planted.sum()  # the other maps still agree
    assert off_surface(points).max() < 0.5 * ON_SURFACE


def test_wrong_normals_are_rejected():
    true = scenes.scene()
    maps = scenes.exact_maps(true)
    tilted = [replace(m, normal=m.normal * np.float32([1, -1, 1])) for m in maps[:1]]
    normal = np.abs(maps[0].normal[..., 1])
    points = fuse([*tilted, *maps[1:]], true.pictures, **FUSION)
    assert np.median(normal) > 0.5  # mirrored by more than 60 degrees on the floor
    assert (points.view == 0).mean() < 0.15


def test_photos_from_one_place_prove_nothing():
    a, b = scenes.arc(2, step_deg=0.0)
    true = scenes.build((a, replace(b, name="copy.png")))
    assert len(fuse(scenes.exact_maps(true), true.pictures, **FUSION)) == 0
    allowed = {**FUSION, "min_angle_deg": -1.0}  # cos(-1 deg) > cos of any real angle: the control
    control = scenes.build(scenes.arc(2, step_deg=3.0))
    assert len(fuse(scenes.exact_maps(control), control.pictures, **allowed)) > 0.5 * PIXELS


def test_unmatched_pixels_take_no_part():
    true = scenes.scene()
    maps = scenes.exact_maps(true)
    maps[2] = replace(maps[2], cost=np.full_like(maps[2].cost, 0.9))
    points = fuse(maps, true.pictures, **FUSION)
    assert not (points.view == 2).any()
    assert points.support.max() <= 3
    assert points.support.min() >= 2


def test_points_carry_colour_footprint_and_detail():
    points = scenes.points()
    colour = scenes.texture(points.xyz.astype(np.float64)) * 255
    assert np.median(np.abs(points.rgb - colour)) < 6  # texture gradient times half a pixel
    focal = scenes.scene().reconstruction.views[0].camera.K[0, 0]
    assert np.median(points.footprint) == np.float32(np.median(points.footprint))
    assert abs(np.median(points.footprint) * focal / DISTANCE - 1) < 0.15
    assert (points.detail >= 0).all()
    assert points.detail.max() < 1
    assert (points.cost <= FUSION["max_cost"]).all()


def test_fusion_has_the_same_bits_every_time(threads):
    true = scenes.scene()
    results = []
    for count in (1, 2):
        threads(count)
        results.append(fuse(scenes.maps(), true.pictures, **FUSION))
    for name, value in vars(results[0]).items():
        assert np.array_equal(value, getattr(results[1], name)), name


def test_maps_with_most_matched_pixels_come_first():
    maps = scenes.exact_maps(scenes.scene())
    for i, share in enumerate([0.5, 0.9, 0.5, 0.7]):
        cost = np.where(np.arange(PIXELS) < share * PIXELS, 0.0, 2.0).astype(np.float32)
        maps[i] = replace(maps[i], cost=cost.reshape(maps[i].cost.shape))
    assert order_by_quality(maps, 0.5) == [1, 3, 0, 2]
