"""Random subsets of posed photo sets in which every photo overlaps with another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from corr.geometry import Rigid3
from corr.geometry.overlap import shared_view
from corr.geometry.transforms_json import PosedPhoto, read_posed

SETS = ("fountain-P11", "temple-ring", "fox", "lego")
SIZES = (2, 3, 5, 8, 12, 0)  # photos; 0 = all
ADEQUATE_SHARE, ADEQUATE_DEG = 0.3, 35.0  # of the photo seen by the other; between the axes


@dataclass(frozen=True, eq=False)
class PosedSet:
    """Photos of one scene with true cameras."""

    name: str
    photos: tuple[PosedPhoto, ...]

    @property
    def truth(self) -> dict[str, Rigid3]:
        """cam_from_world by file name."""
        return {p.path.name: p.cam_from_world for p in self.photos}

    def adequate(self) -> Bool[np.ndarray, "n n"]:
        """Pairs that any matcher may be asked for: enough shared view at a moderate angle."""
        poses = [p.cam_from_world for p in self.photos]
        share = shared_view([p.camera for p in self.photos], poses)
        axes = np.stack([p.R[2] for p in poses])
        close = axes @ axes.T > np.cos(np.radians(ADEQUATE_DEG))
        return (
            (np.minimum(share, share.T) >= ADEQUATE_SHARE) & close & ~np.eye(len(axes), dtype=bool)
        )


def read_set(root: Path, name: str) -> PosedSet:
    """A set of the data folder."""
    return PosedSet(name, tuple(read_posed(root / "photos" / name / "transforms.json")))


def subsets(posed: PosedSet, size: int, count: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Up to `count` different connected subsets; all photos for size 0.

    Each starts at a random photo and grows by a random one that is adequate with a chosen one.
    """
    n = len(posed.photos)
    if size == 0:
        return [tuple(range(n))]
    if size >= n:
        return []
    linked = posed.adequate()
    rng = np.random.default_rng([seed, size])
    found: dict[tuple[int, ...], None] = {}
    for _ in range(50 * count):
        grown = _grown(linked, size, rng)
        if grown is not None:
            found.setdefault(grown)
        if len(found) == count:
            break
    return list(found)


def _grown(linked: np.ndarray, size: int, rng: np.random.Generator) -> tuple[int, ...] | None:
    chosen = [int(rng.integers(len(linked)))]
    while len(chosen) < size:
        front = np.flatnonzero(linked[chosen].any(0))
        front = front[~np.isin(front, chosen)]
        if not len(front):
            return None
        chosen.append(int(rng.choice(front)))
    return tuple(sorted(chosen))


def spread(sizes: Sequence[int]) -> str:
    """For tables: sizes as words."""
    return ", ".join("all" if s == 0 else str(s) for s in sizes)
