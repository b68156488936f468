"""Nothing that is trained sees a test photo: by name, by content, at every look, and afterwards."""

import shutil
from dataclasses import replace

import pytest

from corr.errors import UserError
from corr.semantic.datasets.base import PairSet
from corr.semantic.datasets.spair import read_spair
from corr.semantic.learned.unseen import (
    LearningCache,
    check_unseen,
    check_untrained,
    photo_digests,
    without_tested,
)
from corr.semantic.pose_alignment import flipped_side


@pytest.fixture(scope="module")
def learned(tiny_root) -> PairSet:
    return read_spair(tiny_root, split="trn", size="small")


def renamed(pairs: PairSet, folder) -> PairSet:
    """The first pair with its source photo copied to another name."""
    pair = pairs.pairs[0]
    copy = folder / "copy.jpg"
    shutil.copy(pair.source.path, copy)
    return replace(pairs, pairs=(replace(pair, source=replace(pair.source, name="x", path=copy)),))


def test_splits_of_the_tiny_set_share_nothing(learned, tiny):
    check_unseen(learned, tiny)
    assert not set(photo_digests(learned)) & set(photo_digests(tiny))


def test_shared_photo_is_found_by_name_and_by_content(learned, tiny, tmp_path):
    mixed = replace(learned, pairs=(*learned.pairs, tiny.pairs[0]))
    with pytest.raises(ValueError, match="photos of test are in trn too"):
        check_unseen(mixed, tiny)
    copied = replace(renamed(tiny, tmp_path), split="trn")
    (pair,) = copied.pairs
    target = replace(learned.pairs[0].target, uv=pair.target.uv)
    with pytest.raises(ValueError, match=r"1 photos of test are in trn under another name \(x is"):
        check_unseen(replace(copied, pairs=(replace(pair, target=target),)), tiny)


def test_pairs_with_tested_photos_are_dropped_by_name_and_by_content(learned, tiny, tmp_path):
    copied = renamed(tiny, tmp_path).pairs[0]
    mixed = replace(learned, pairs=(*learned.pairs, tiny.pairs[1], copied))
    kept = without_tested(mixed, tiny)
    assert [p.key for p in kept.pairs] == [p.key for p in learned.pairs]
    check_unseen(kept, tiny)
    with pytest.raises(ValueError, match="every pair of test uses a photo of test"):
        without_tested(tiny, tiny)


def test_cache_of_a_training_refuses_test_photos_and_their_mirror_images(learned, tiny, tmp_path):
    cache = LearningCache(tmp_path, None, key="k", barred=frozenset(tiny.photos))
    side = tiny.pairs[0].source
    for photo in (side, flipped_side(side)):
        with pytest.raises(ValueError, match="is a test photo: no training may look at it"):
            cache.get(photo)
        with pytest.raises(ValueError, match="is a test photo"):
            cache.fill([learned.pairs[0].source, photo])
    with pytest.raises(UserError, match="have no features"):  # a training photo gets so far
        cache.fill([learned.pairs[0].source])


def test_head_is_not_evaluated_on_photos_that_it_was_trained_on(learned, tiny):
    about = {"photos": sorted(photo_digests(learned))}
    assert check_untrained(about, tiny) == 0
    assert check_untrained(about, learned) == len(learned.photos)
    with pytest.raises(UserError, match=r"trained on 8 of these 8 photos \(cow/"):
        check_untrained(about, replace(learned, split="test"))
