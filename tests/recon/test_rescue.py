"""Weak pairs are found and matched again; an interrupted rescue continues."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image as PilImage

from corr.matchers.base import Matcher
from corr.matchers.xfeat import XFeatStar
from corr.matching import load_matches, match_photos
from corr.photo_input import prepare_photos
from recon.poses.connected import parts
from recon.poses.solve import PoseSolver
from recon.rescue import Rescue, count_inliers, mirrored_photos
from tests.conftest import SAMPLE
from tests.synthetic import ring_scene


@dataclass
class Canned(Matcher):
    """Matches of a made-up world, some of them only."""

    matches: dict = field(default_factory=dict)
    share: dict = field(default_factory=dict)  # of the matches, by pair; all where not named
    stop_after: int = 1000
    asked: list = field(default_factory=list)

    def match_pairs(self, images, pairs):
        for pair in pairs:
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(pair)
            count = int(len(self.matches[pair]) * self.share.get(pair, 1.0))
            yield pair, self.matches[pair].select(np.arange(count))


def world_of(num_views):
    return ring_scene(num_views, 600, noise_px=0.3)


def prepared(world, folder, share):
    """A folder of matches in which some pairs have few."""
    match_photos(world.images, Canned(world.matches, share), folder, sorted(world.matches))
    return folder


def rescue_of(world, **options):
    # 611 x 467 px have 4458 cells: 446 matches hold two photos together.
    return Rescue(Canned(world.matches, **options))


def test_parts_are_named_by_their_smallest_photo():
    assert parts(5, [(3, 4), (0, 2), (2, 4)]).tolist() == [0, 1, 0, 0, 0]
    assert parts(3, []).tolist() == [0, 1, 2]


def test_strong_photos_are_left_alone(tmp_path):
    world = world_of(4)
    share = dict.fromkeys([(0, 2), (0, 3), (1, 3)], 0.1)  # neighbours hold the chain together
    folder = prepared(world, tmp_path / "m", share)
    rescue = rescue_of(world)
    rescue.run(world.images, folder)
    assert rescue.matcher.asked == []
    assert len(load_matches(folder)[0, 2]) < 70
    assert json.loads((folder / "rescue.json").read_text()) == {
        "dense": [], "turned": [], "mirrored": {},
    }  # fmt: skip


def test_a_few_photos_that_fall_apart_are_all_matched_again(tmp_path):
    world = world_of(3)
    folder = prepared(world, tmp_path / "m", {(0, 2): 0.2, (1, 2): 0.2})
    rescue_of(world).run(world.images, folder)
    found = load_matches(folder)
    assert all(len(found[pair]) == len(world.matches[pair]) for pair in found)
    assert not (folder / "rescue").exists()


def test_of_many_photos_only_pairs_around_the_gap_are(tmp_path):
    world = world_of(10)
    weak = {p: 0.2 for p in world.matches if (p[0] < 5) != (p[1] < 5)}
    folder = prepared(world, tmp_path / "m", weak)
    rescue = rescue_of(world)
    rescue.run(world.images, folder)
    asked = set(rescue.matcher.asked)
    assert {p for p in asked if p in weak}
    assert len(asked) < len(world.matches)
    tied = {photo for p in asked if p in weak for photo in p}
    for photo in tied:  # tracks link within one matcher: it has partners on its side
        assert any(photo in p and p not in weak for p in asked)


def test_one_loose_photo_costs_two_pairs(tmp_path):
    world = world_of(10)
    weak = {p: 0.2 for p in world.matches if 9 in p}
    folder = prepared(world, tmp_path / "m", weak)
    rescue = rescue_of(world)
    rescue.run(world.images, folder)
    asked = set(rescue.matcher.asked)
    (tie,) = {p for p in asked if 9 in p}
    (side,) = asked - {tie}
    assert set(tie) & set(side)  # tracks link within one matcher


def test_a_photo_that_stays_loose_is_tried_with_more(tmp_path):
    world = world_of(10)
    weak = {p: 0.2 for p in world.matches if 9 in p}
    folder = prepared(world, tmp_path / "m", weak)
    rescue = rescue_of(world, share=weak)  # the dense matches are no more
    rescue.run(world.images, folder)
    asked = set(rescue.matcher.asked)
    ties = {p for p in asked if 9 in p}
    assert len(ties) == 4
    held = {photo for p in ties for photo in p} - {9}
    first = set(rescue.matcher.asked[:2]) - ties  # the first tie's partner on its side
    assert asked - ties == {p for p in world.matches if set(p) <= held} | first
    assert len(rescue.matcher.asked) == len(asked)  # none twice


def test_an_interrupted_rescue_continues(tmp_path):
    world = world_of(4)
    folder = prepared(world, tmp_path / "m", dict.fromkeys(world.matches, 0.2))
    first = rescue_of(world, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        first.run(world.images, folder)
    second = rescue_of(world)
    second.run(world.images, folder)
    assert second.matcher.asked == sorted(world.matches)[2:]
    assert all(len(m) == len(world.matches[p]) for p, m in load_matches(folder).items())
    third = rescue_of(world)
    third.run(world.images, folder)
    assert third.matcher.asked == []


@pytest.mark.weights
def test_a_photo_on_its_side_is_tied_in(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("photo_01", "photo_03", "photo_05"):
        with PilImage.open(SAMPLE / "photos" / f"{name}.jpg") as photo:
            small = photo.resize((320, 240), PilImage.Resampling.LANCZOS)
        if name == "photo_05":
            small = small.transpose(PilImage.Transpose.ROTATE_90)
        small.save(tmp_path / "in" / f"{name}.png")
    images = prepare_photos(tmp_path / "in", tmp_path / "out", max_side=320).images
    quick = XFeatStar()
    match_photos(images, quick, tmp_path / "m", [(0, 1), (0, 2), (1, 2)])
    before = count_inliers(images, load_matches(tmp_path / "m"))
    assert before[0, 2] == before[1, 2] == 0
    Rescue(quick, replace(quick, rotate=True)).run(images, tmp_path / "m")
    after = count_inliers(images, load_matches(tmp_path / "m"))
    assert min(after.values()) > 50
    turned = json.loads((tmp_path / "m" / "rescue.json").read_text())["turned"]
    assert ["photo_01.png", "photo_05.png"] in turned


@pytest.mark.weights
def test_a_mirror_image_is_named_and_left_out(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("photo_01", "photo_03", "photo_05"):
        with PilImage.open(SAMPLE / "photos" / f"{name}.jpg") as photo:
            small = photo.resize((320, 240), PilImage.Resampling.LANCZOS)
        if name == "photo_03":
            small = small.transpose(PilImage.Transpose.FLIP_LEFT_RIGHT)
        small.save(tmp_path / "in" / f"{name}.png")
    images = prepare_photos(tmp_path / "in", tmp_path / "out", max_side=320).images
    quick = XFeatStar()
    match_photos(images, quick, tmp_path / "m", [(0, 1), (0, 2), (1, 2)])
    Rescue(quick, replace(quick, rotate=True)).run(images, tmp_path / "m")
    reasons = mirrored_photos(tmp_path / "m")
    assert list(reasons) == ["photo_03.png"]
    assert "mirror image" in reasons["photo_03.png"]
    matches = load_matches(tmp_path / "m")
    assert len(matches[0, 1]) == len(matches[1, 2]) == 0
    assert len(matches[0, 2]) > 100
    PoseSolver().solve(images, matches, tmp_path / "cameras", reasons)
    left_out = json.loads((tmp_path / "cameras" / "left_out.json").read_text())
    assert left_out == reasons
