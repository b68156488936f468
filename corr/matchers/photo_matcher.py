"""What all matchers share: features once per photo, quarter turns, tiles, original pixels."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corr.matchers.base import Matcher
from corr.matchers.feature_files import FeatureFiles, to_bytes
from corr.matchers.feature_store import FeatureStore
from corr.matchers.picture import Picture, Place
from corr.matchers.tiles import Tiling, tile_pairs, tiling
from corr.matches import Matches
from corr.photos import Image

if TYPE_CHECKING:
    import torch

TILE_IDS = 1 << 32  # ids of a tile's points start at (tile + 1) times this
TURN_IDS = 1 << 48  # and those of a turned photo at turns times this
TURNS = (0, 1, 2, 3)
WHOLE = -1  # the number of the tile that is the whole photo


@dataclass
class PhotoMatcher(Matcher):
    """A matcher of two steps: describe a picture, match two descriptions.

    With `tile` the whole photos are matched first; tiles that share matches are then matched at
    the working copies' resolution, and a tile's matches count in its core only.
    """

    max_side: int = 1024  # px, whole photos are shrunk to this for the network; 0 = not at all
    tile: int = 0  # px, larger photos are also matched in tiles of this size; 0 = not
    rotate: bool = False  # try photo b in four quarter turns, keep the one with most matches
    cache_mb: float = 2048.0  # MB of features kept; what does not fit is computed again

    def __post_init__(self):
        if self.max_side != 0 and self.max_side < 64:
            raise ValueError(f"matcher.max_side must be at least 64, got {self.max_side}")
        if self.tile != 0 and self.tile < 128:
            raise ValueError(f"matcher.tile must be 0 or at least 128, got {self.tile}")
        if self.max_side and self.tile > self.max_side:
            raise ValueError(
                f"matcher.tile must not be larger than matcher.max_side, got {self.tile} and "
                f"{self.max_side}"
            )
        if not self.cache_mb > 0:
            raise ValueError(f"matcher.cache_mb must be positive, got {self.cache_mb}")

    files = None  # type: FeatureFiles | None  # of features on disk; no option, see `sharing`

    def sharing(self, folder: Path) -> "PhotoMatcher":
        """This matcher with features of the one photo set on disk, for several processes."""
        shared = replace(self)
        shared.files = FeatureFiles(folder)
        return shared

    def features_file(self, photo: int) -> Path:
        """Where a whole photo's features lie, after `sharing`."""
        assert self.files is not None
        return self.files.file((photo, 0, WHOLE))

    def described_bytes(self, photo: int, image: Image) -> bytes:
        """What is to stand in that file."""
        return to_bytes(_Photo(photo, image, FeatureStore([], self.cache_mb), self).whole(0))

    @abstractmethod
    def _describe(self, picture: Picture) -> Any:
        """The features of a picture: a dataclass of tensors or arrays."""

    @abstractmethod
    def _match(self, a: Any, b: Any) -> Matches:
        """Matches of two pictures, pixels of the pictures."""

    def match_pairs(
        self, images: Sequence[Image], pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], Matches]]:
        """Yield every pair with its matches, in the order of `pairs`.

        A photo's features are computed at its first pair and dropped after its last.
        """
        store = FeatureStore(pairs, self.cache_mb, self.files)
        for a, b in pairs:
            found = self._pair(_Photo(a, images[a], store, self), _Photo(b, images[b], store, self))
            yield (a, b), found
            store.done((a, b))

    def _pair(self, a: "_Photo", b: "_Photo") -> Matches:
        turns, found = self._whole(a, b)
        if self.tile and (a.is_large(self.tile) or b.is_large(self.tile)):
            found = self._tiled(a, b, turns, found)
        inside = a.image.usable_at(found.uv_a) & b.image.usable_at(found.uv_b)
        return found.select(inside)

    def _whole(self, a: "_Photo", b: "_Photo") -> tuple[int, Matches]:
        """The quarter turns of b with most matches, and those."""
        best, most = 0, Matches.none()
        for turns in TURNS if self.rotate else TURNS[:1]:
            found = self._in_original(a.whole(0), b.whole(turns))
            if not turns or len(found) > len(most):
                best, most = turns, found
        return best, _numbered(most, 0, best * TURN_IDS)

    def _tiled(self, a: "_Photo", b: "_Photo", turns: int, whole: Matches) -> Matches:
        """Matches of the tiles that share matches of the whole photos; those where none do."""
        tiling_a, tiling_b = a.tiling(self.tile), b.tiling(self.tile)
        pairs = tile_pairs(
            tiling_a.of(a.image.to_work(whole.uv_a)), tiling_b.of(b.image.to_work(whole.uv_b))
        )
        parts = []
        for i, j in pairs:
            found = self._in_original(a.part(0, i), b.part(turns, j))
            own_a = tiling_a.of(a.image.to_work(_fixed(found, "a"))) == i
            own_b = tiling_b.of(b.image.to_work(_fixed(found, "b"))) == j
            first_b = (j + 1) * TILE_IDS + turns * TURN_IDS
            parts.append(_numbered(found.select(own_a & own_b), (i + 1) * TILE_IDS, first_b))
        return _once(_joined(parts)) if parts else whole

    def _in_original(self, a: "_Described", b: "_Described") -> Matches:
        """Match two described pictures; original pixels."""
        found = self._match(a.features, b.features)
        to_a, to_b = a.place.to_original, b.place.to_original
        return replace(
            found,
            uv_a=to_a(found.uv_a),
            uv_b=to_b(found.uv_b),
            anchor_a=None if found.anchor_a is None else to_a(found.anchor_a),
            anchor_b=None if found.anchor_b is None else to_b(found.anchor_b),
            grid_a_px=found.grid_a_px * float(a.place.original_per_px.mean()),
            grid_b_px=found.grid_b_px * float(b.place.original_per_px.mean()),
            sigma_px=self.SIGMA_PX * self._px_per_network_px(b.place),
        )

    def _px_per_network_px(self, place: Place) -> float:
        """Original pixels per pixel that the network sees."""
        side = max(place.width, place.height)
        shrunk = min(1.0, self.max_side / side) if self.max_side else 1.0
        return float(place.original_per_px.mean()) / shrunk


@dataclass(frozen=True, eq=False)
class _Described:
    """The features of a picture, and where it lies in its photo."""

    place: Place
    features: Any


@dataclass(frozen=True)
class _Photo:
    """One side of a pair: its pictures with their features, out of the store."""

    index: int
    image: Image
    store: FeatureStore
    matcher: PhotoMatcher

    def is_large(self, tile: int) -> bool:
        return max(self.image.work_width, self.image.work_height) > tile

    def tiling(self, side: int) -> Tiling:
        return tiling(self.image.work_width, self.image.work_height, side)

    def whole(self, turns: int) -> _Described:
        def compute() -> _Described:
            return self._described(Picture.whole(self.image), turns)

        return self.store.get((self.index, turns, WHOLE), compute)

    def part(self, turns: int, index: int) -> _Described:
        def compute() -> _Described:
            t = self.tiling(self.matcher.tile).tiles[index]
            cut = Picture.whole(self.image).cut(t.left, t.top, t.right, t.bottom)
            return self._described(cut, turns)

        return self.store.get((self.index, turns, index), compute)

    def _described(self, picture: Picture, turns: int) -> _Described:
        turned = picture.turned(turns)
        return _Described(turned.place, self.matcher._describe(turned))


def _fixed(matches: Matches, side: str) -> np.ndarray:
    """Where the listed points themselves lie: the same in every pair, so that one tile owns it."""
    anchor = getattr(matches, f"anchor_{side}")
    return getattr(matches, f"uv_{side}") if anchor is None else anchor


def _numbered(matches: Matches, first_a: int, first_b: int) -> Matches:
    if matches.id_a is None or matches.id_b is None:
        return matches
    return replace(matches, id_a=matches.id_a + first_a, id_b=matches.id_b + first_b)


def _joined(parts: Sequence[Matches]) -> Matches:
    """All matches of several tile pairs; every part has the same fields."""
    parts = [p for p in parts if len(p)] or [Matches.none()]
    values: dict[str, Any] = {}
    for field in fields(Matches):
        column = [getattr(p, field.name) for p in parts]
        values[field.name] = (
            np.concatenate(column) if isinstance(column[0], np.ndarray) else column[0]
        )
    return Matches(**values)


def _once(matches: Matches) -> Matches:
    """Every listed point once, in its best match: several tiles of b may have answered it."""
    if matches.id_a is None or matches.id_b is None:
        return matches
    order = np.argsort(-matches.score, kind="stable")
    for name in ("id_a", "id_b"):
        _, first = np.unique(getattr(matches, name)[order], return_index=True)
        order = order[np.sort(first)]
    return matches.select(np.sort(order))


@dataclass
class NetworkMatcher(PhotoMatcher):
    """A matcher whose network may run on a GPU."""

    device: str = "auto"  # auto, cpu, cuda, mps

    def __post_init__(self):
        super().__post_init__()
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise ValueError(f"matcher.device must be auto, cpu, cuda or mps, got {self.device}")

    @cached_property
    def _device(self) -> "torch.device":
        import torch

        if self.device != "auto":
            return torch.device(self.device)
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
