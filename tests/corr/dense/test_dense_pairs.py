import random

import pytest
import torch

from corr.matchers.dense.data.flat import FlatMap, flat_pairs, inside
from corr.matchers.dense.data.noise import Draws, patterns
from corr.matchers.dense.data.pairs import PairOptions, PairSource
from corr.matchers.dense.data.photometric import compressed, photographed
from corr.matchers.dense.data.scenes import draw_scenes, without_blockers
from corr.matchers.dense.data.textures import LEVELS, make_atlas
from corr.matchers.dense.warps import own_positions, sample

CPU = torch.device("cpu")
OPTIONS = PairOptions(textures=14, texture_size=64, canvases=2, renew=3)


def draws(seed: int = 0) -> Draws:
    return Draws.seeded(CPU, seed, 5)


def test_smooth_warps_are_inverted():
    maps = FlatMap(draws(1), 6, 150, 90)
    b = own_positions(45, 75, 2, CPU).flatten(1).T.expand(6, -1, 2)
    back, good = maps.b_from_a(maps.a_from_b(b))
    assert good.float().mean() > 0.95
    assert (back - b).norm(dim=-1)[good].max() < 0.05
    assert maps.flow(b).abs().amax((1, 2)).max() > 2  # some flows are strong


def test_flat_pictures_agree_where_both_see():
    smooth = torch.nn.functional.interpolate(
        torch.rand(2, 3, 12, 16), (192, 256), mode="bicubic", align_corners=False
    ).clamp(0, 1)
    pictures, truth = flat_pairs(draws(2), smooth, 5, 128, 96)
    partners = torch.cat(pictures.chunk(2)[::-1])
    own = sample(pictures, own_positions(48, 64, 2, CPU).expand(10, -1, -1, -1), 1)
    pulled = sample(partners, truth.warp[2], 1)
    # Not at the border of a picture, where reading between pixels sees the outside.
    core = inside(truth.warp[2] - 2, 124, 92) & truth.visible[2]
    difference = (own - pulled).abs().mean(1)
    assert core.float().mean() > 0.2
    assert difference[core].mean() < 0.01


def test_every_batch_is_a_function_of_seed_and_number():
    first = PairSource(OPTIONS, 4, CPU, None)
    images, truth = first.batch(5, 2, 96, 64)
    first.batch(0, 2, 96, 64)
    again, _ = PairSource(OPTIONS, 4, CPU, None).batch(5, 2, 96, 64)
    assert torch.equal(images, again)
    other, _ = first.batch(6, 2, 96, 64)
    foreign, _ = PairSource(OPTIONS, 5, CPU, None).batch(5, 2, 96, 64)
    assert not torch.equal(images, other)
    assert not torch.equal(images, foreign)
    assert images.shape == (4, 3, 64, 96)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    for stride in (2, 4, 8, 16):
        warp, visible = truth.warp[stride], truth.visible[stride]
        assert warp.shape == (4, 2, 64 // stride, 96 // stride)
        assert torch.isfinite(warp).all()
        assert bool(inside(warp, 96, 64)[visible].all())


def test_truth_is_a_cycle_where_both_see():
    source = PairSource(OPTIONS, 9, CPU, None)
    errors, seen = [], 0.0
    for index in range(3):
        _, truth = source.batch(index, 3, 128, 96)
        forth, back = truth.warp[2], torch.cat(truth.warp[2].chunk(2)[::-1])
        visible = truth.visible[2]
        there = torch.cat(visible.chunk(2)[::-1]).float()[:, None]
        home = sample(back, forth, 2)
        fully = sample(there, forth, 2)[:, 0] > 0.999
        own = own_positions(48, 64, 2, CPU)
        errors.append((home - own).norm(dim=1)[visible & fully])
        seen += float(visible.float().mean()) / 3
    error = torch.cat(errors)
    assert 0.1 < seen < 0.9
    assert error.median() < 0.05
    assert (error < 1).float().mean() > 0.97  # interpolation crosses outlines of solids


def test_photos_are_used_and_change_the_pictures():
    photos = torch.rand(2, 3, 80, 112)
    with_photos, _ = PairSource(OPTIONS, 4, CPU, photos).batch(1, 2, 96, 64)
    without, _ = PairSource(OPTIONS, 4, CPU, None).batch(1, 2, 96, 64)
    assert not torch.equal(with_photos, without)


def test_patterns_fill_the_range_and_differ():
    p = patterns(draws(3), 16, 64)
    assert p.shape == (16, 64, 64)
    assert float(p.min()) >= 0
    assert float(p.max()) <= 1
    assert (p.flatten(1).std(1) > 0.02).float().mean() > 0.9
    assert len({round(float(v), 6) for v in p.mean((1, 2))}) == 16


def test_atlas_is_periodic_and_coarse_levels_are_means():
    atlas = make_atlas(draws(4), 12, 64, None)
    index, uv = torch.arange(12), torch.rand(12, 2)
    zero = torch.zeros(12)
    assert torch.allclose(atlas.read(index, uv, zero), atlas.read(index, uv + 3, zero), atol=1e-3)
    centres = (own_positions(64, 64, 1, CPU).flatten(1).T / 64).expand(12, -1, 2)
    all_texels = atlas.read(index[:, None].expand(12, 64 * 64), centres, torch.zeros(12, 64 * 64))
    top = atlas.read(index, torch.full((12, 2), 0.5), torch.full((12,), float(LEVELS)))
    assert (all_texels.mean(1) - top).abs().mean() < 0.15


def test_cameras_are_never_inside_solids():
    scene = draw_scenes(draws(6), random.Random(0), 8)
    centres = scene.solids.centre[:, :1].transpose(0, 1).contiguous()  # right in the first solid
    freed = without_blockers(scene.solids, centres)
    local = (centres[0][:, None] - freed.centre).abs()
    assert bool((local > freed.half).any(-1).all())


def test_camera_effects_keep_range_and_differ_between_pictures():
    flat = torch.full((6, 3, 64, 96), 0.4)
    seen = photographed(draws(7), flat)
    assert float(seen.min()) >= 0
    assert float(seen.max()) <= 1
    assert seen.mean((1, 2, 3)).std() > 0.02


@pytest.mark.parametrize("step", [0.005, 0.1])
def test_compression_is_the_closer_the_finer_its_step(step):
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    y = compressed(x, torch.full((2, 1, 1), step), torch.tensor([True, False]))
    assert torch.equal(y[1], x[1])
    error = (y[0] - x[0]).square().mean().sqrt()
    largest = step * (1 + 0.9 * 14) / 12**0.5  # of uniform rounding at the finest frequency
    assert 0.1 * step < error < largest
