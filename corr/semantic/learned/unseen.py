"""Nothing that is trained sees a test photo: told by name, by its bytes, and at every look.

Before a training the splits are compared (`check_unseen`); while it runs, its cache refuses test
photos (`LearningCache`); afterwards a head remembers the photos that it was trained on, and an
evaluation on any of them is refused (`check_untrained`).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corr.errors import UserError
from corr.semantic.datasets.base import PairSet, Side, check_disjoint, plain_name, without_photos
from corr.semantic.features.cache import FeatureCache
from corr.semantic.features.grid import FeatureGrid
from corr.sharding import Parallel


@dataclass
class LearningCache(FeatureCache):
    """Features for a training; a test photo is refused, whoever asks for it.

    Args:
        barred: Names of the test split's photos.
    """

    barred: frozenset[str] = frozenset()

    def fill(self, photos: Iterable[Side], parallel: Parallel | None = None) -> float:
        """Compute what is missing.

        Raises:
            ValueError: One of them is a test photo.
        """
        photos = list(photos)
        for photo in photos:
            self.refuse(photo)
        return super().fill(photos, parallel)

    def get(self, photo: Side) -> FeatureGrid:
        """A photo's grid.

        Raises:
            ValueError: It is a test photo.
        """
        self.refuse(photo)
        return super().get(photo)

    def refuse(self, photo: Side) -> None:
        """Stop where a training asks for a test photo.

        Raises:
            ValueError: It is one.
        """
        if plain_name(photo.name) in self.barred:
            raise ValueError(f"{photo.name} is a test photo: no training may look at it")


def photo_digest(path: Path) -> str:
    """By its bytes, so that a copy under another name is recognised.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error})") from None


def photo_digests(pairs: PairSet) -> dict[str, str]:
    """Of every photo, by digest: its name."""
    return {photo_digest(side.path): plain_name(name) for name, side in pairs.photos.items()}


def check_unseen(learned: PairSet, test: PairSet) -> None:
    """Refuse to learn from photos that will be tested.

    Raises:
        ValueError: The splits share a photo, by name or by content.
    """
    check_disjoint(learned, test)
    ours, theirs = photo_digests(learned), photo_digests(test)
    if copies := sorted(set(ours) & set(theirs)):
        raise ValueError(
            f"{len(copies)} photos of {test.split} are in {learned.split} under another name "
            f"({ours[copies[0]]} is {theirs[copies[0]]}, …); remove them from the training pairs"
        )


def without_tested(learned: PairSet, test: PairSet) -> PairSet:
    """The training pairs that use no photo of the test split, by name or by content."""
    barred = set(test.photos)
    theirs = photo_digests(test)
    barred |= {name for digest, name in photo_digests(learned).items() if digest in theirs}
    kept = without_photos(learned, barred)
    if not kept.pairs:
        raise ValueError(f"every pair of {learned.split} uses a photo of {test.split}")
    return kept


def check_untrained(about: dict[str, Any], pairs: PairSet) -> int:
    """How many photos of an evaluation a head was trained on.

    Args:
        about: What was stored with the head.
        pairs: What it is to be evaluated on.

    Raises:
        UserError: It is the test split, and there are any.
    """
    trained = set(about.get("photos", ()))
    shared = [name for digest, name in photo_digests(pairs).items() if digest in trained]
    if shared and pairs.split == "test":
        raise UserError(
            f"head: it was trained on {len(shared)} of these {len(pairs.photos)} photos "
            f"({shared[0]}, …); give a head that was not, or split=trn to see how well it fits"
        )
    return len(shared)


def check_frames(frames: Iterable[Side], tested: frozenset[str]) -> tuple[str, ...]:
    """Refuse frames that are copies of test photos; returns the digests of all.

    Args:
        frames: What is to be learned from.
        tested: Digests of the test split's photos.

    Raises:
        ValueError: One of them is.
    """
    found = {photo_digest(side.path): side.path for side in frames}
    if copies := sorted(set(found) & tested):
        raise ValueError(
            f"{len(copies)} frames are photos of the test split ({found[copies[0]]}, …); remove "
            "their sequences"
        )
    return tuple(sorted(found))
