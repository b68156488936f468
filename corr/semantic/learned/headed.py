"""Features with a trained head on them, kept on disk like any others, under the head's own key."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from corr.errors import UserError
from corr.semantic.datasets.base import Side
from corr.semantic.features.cache import FeatureCache, described, extractor_key
from corr.semantic.features.extractor import Adaptable, Extractor
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.files import Refiner, load_trained
from corr.semantic.learned.student import Student
from corr.store import file_digest


@dataclass
class HeadedCache(FeatureCache):
    """What a head makes of the grids of another cache, whose files are used and kept.

    Args:
        frozen: Where the frozen grids come from.
        head: What refines them.
    """

    frozen: FeatureCache | None = None
    head: Refiner | None = None

    def compute(self, photo: Side) -> FeatureGrid:
        """A photo's refined grid, anew."""
        assert self.frozen is not None
        assert self.head is not None
        return self.head.refined(self.frozen.get(photo))

    def emptied(self) -> FeatureCache:
        """This cache with nothing in memory, to be sent to other processes."""
        assert self.frozen is not None
        return replace(super().emptied(), frozen=self.frozen.emptied())  # type: ignore[call-arg]


def headed_cache(folder: Path, extractor: Extractor, memory_mb: float, head: Path) -> FeatureCache:
    """The cache of an extractor with a head or a student's adapters; its key holds their content.

    Raises:
        UserError: The file is no head, or was trained on other features.
    """
    network, about = load_trained(head)
    check_features(about, extractor)
    key = f"{extractor_key(extractor)}-head-{file_digest(head)}"
    if isinstance(network, Student):
        return FeatureCache(folder, network.on(cast(Adaptable, extractor)), memory_mb, key)
    frozen = FeatureCache(folder, extractor, memory_mb)
    return HeadedCache(folder, extractor, memory_mb, key, frozen=frozen, head=network)


def check_features(about: dict, extractor: Extractor) -> None:
    """Refuse features that a head was not trained on.

    Raises:
        UserError: The extractor's class or options differ.
    """
    before, now = about.get("features", {}), described(extractor)
    if changed := sorted(k for k in {*before, *now} if before.get(k) != now.get(k)):
        key = changed[0]
        raise UserError(
            f"the head was trained on features with {key}={before.get(key)}, not {now.get(key)}; "
            "give the features= that it was trained with"
        )
