from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from corr.matchers.base import Matcher
from corr.matchers.feature_files import FeatureFiles, from_file, to_bytes
from corr.matchers.picture import Picture, Place
from corr.matchers.xfeat import XFeatStar
from corr.matches import Matches
from corr.matching import load_matches, match_photos
from corr.pairs import all_pairs
from corr.sharding import Local, Parallel


@dataclass
class Counting(Matcher):
    """Gives pair (i, j) one match at (i, j) and can be made to stop early."""

    stop_at: tuple[int, int] | None = None
    done: list = field(default_factory=list)

    def match_pairs(
        self, images: Sequence, pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Matches]]:
        for pair in pairs:
            if pair == self.stop_at:
                raise KeyboardInterrupt
            self.done.append(pair)
            yield pair, Matches(np.array([pair], float), np.array([pair], float), np.ones(1))


def test_finished_pairs_are_not_matched_again(tmp_path):
    pairs = all_pairs(4)
    first, second = Counting(stop_at=(1, 2)), Counting()
    with pytest.raises(KeyboardInterrupt):
        match_photos([], first, tmp_path, pairs)
    match_photos([], second, tmp_path, pairs)
    assert first.done == [(0, 1), (0, 2), (0, 3)]
    assert second.done == [(1, 2), (1, 3), (2, 3)]
    third = Counting()
    match_photos([], third, tmp_path, pairs)
    assert third.done == []


def test_matches_are_read_back_by_pair(tmp_path):
    pairs = [(0, 2), (1, 2)]
    match_photos([], Counting(), tmp_path, pairs)
    found = load_matches(tmp_path)
    assert list(found) == pairs
    assert found[0, 2].uv_a.tolist() == [[0, 2]]
    assert not list(tmp_path.glob("*.tmp"))


def test_an_unfinished_stage_is_not_taken_for_a_finished_one(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        match_photos([], Counting(stop_at=(0, 2)), tmp_path, all_pairs(3))
    with pytest.raises(FileNotFoundError):
        load_matches(tmp_path)


@pytest.mark.weights
@pytest.mark.usefixtures("one_thread")
def test_real_matcher_fills_the_folder(texture, as_image, tmp_path):

    rgb = texture(301, 203)
    images = [as_image(rgb[:, x : x + 250].copy(), f"p{x}") for x in (0, 20, 41)]
    match_photos(images, XFeatStar(top_k=800), tmp_path / "m", all_pairs(3))
    found = load_matches(tmp_path / "m")
    assert all(len(m) > 50 and m.id_a is not None for m in found.values())


@pytest.mark.weights
def test_processes_match_as_one_does(texture, as_image, tmp_path):
    rgb = texture(301, 203)
    images = [as_image(rgb[:, x : x + 250].copy(), f"p{x}") for x in (0, 20, 41)]
    matcher = XFeatStar(top_k=800, max_side=160, tile=128)
    match_photos(images, matcher, tmp_path / "one", all_pairs(3))
    two = Parallel(Local(shard_size=1), workers=2)
    match_photos(images, matcher, tmp_path / "two", all_pairs(3), two)
    for name in sorted(p.name for p in (tmp_path / "one").iterdir()):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_features_survive_their_file(tmp_path):
    place = Place(320, 240, np.array([1.5, 1.25]), np.zeros(2))
    usable = np.asfortranarray(np.arange(12).reshape(3, 4) % 2 == 0)
    features = Picture(np.arange(36, dtype=np.uint8).reshape(3, 4, 3), usable, place)
    files = FeatureFiles(tmp_path)
    made = []
    value = {"a": features, "b": (torch.arange(6.0).reshape(2, 3).T, None, "x", 2)}
    for _ in range(2):
        found = files.get((3, 0, -1), lambda: made.append(1) or value)
    assert len(made) == 1
    assert (found["a"].rgb == features.rgb).all()
    assert (found["a"].usable == usable).all()
    assert found["a"].place.original_per_px.tolist() == [1.5, 1.25]
    assert torch.equal(found["b"][0], value["b"][0])
    assert found["b"][1:] == (None, "x", 2)


def test_foreign_class_is_not_loaded(tmp_path):
    data = to_bytes(Place(1, 1, np.ones(2), np.zeros(2)))
    (tmp_path / "f").write_bytes(data.replace(b"corr.matchers.picture", b"evil.matchers.picture"))
    with pytest.raises(ValueError, match="features of an unknown class evil"):
        from_file(tmp_path / "f")
    with pytest.raises(TypeError, match="features cannot hold a set on disk"):
        to_bytes({"a": {1, 2}})
