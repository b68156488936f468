"""What every reader of a key-point benchmark returns: pairs of photos with common key-points.

Coordinates are ours: (u, v) pixels of the original photo, the top-left pixel's centre at
(0.5, 0.5). A reader adds what its annotation's own convention lacks, and says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

EXTENTS = ("box", "image", "points")
Twins = Mapping[str, Mapping[str, str]]  # category: {key-point: its mirror twin}, both ways
Groups = Mapping[str, tuple[tuple[str, ...], ...]]  # category: key-points that look alike


@dataclass(frozen=True, eq=False)
class Side:
    """One photo of a pair.

    Args:
        name: Unique within the set, e.g. `cow/2007_005797`; features are cached under it.
        path: The photo.
        width: Pixels.
        height: Pixels.
        uv: The key-points common to both photos, n x 2, in the order of the pair's `ids`.
        box: Corners u1 v1 u2 v2 of the object's box; None = not annotated.
        all_ids: Every key-point visible in this photo, also those the other photo lacks.
        all_uv: Where those are, m x 2.
        mask: The object's mask, non-zero inside; None = there is none.
        pose: The annotation's word for the viewpoint; empty = not stated.
        mirrored: The photo must be flipped left to right after reading.
    """

    name: str
    path: Path
    width: int
    height: int
    uv: Float[np.ndarray, "n 2"]
    box: Float[np.ndarray, " 4"] | None = None
    all_ids: tuple[str, ...] = ()
    all_uv: Float[np.ndarray, "m 2"] = field(default_factory=lambda: np.zeros((0, 2)))
    mask: Path | None = None
    pose: str = ""
    mirrored: bool = False

    def extent_px(self, extent: str) -> float:
        """The longer side of the object's box, of the photo or of the key-points, pixels.

        Raises:
            ValueError: There is no box.
        """
        if extent == "image":
            return float(max(self.width, self.height))
        if extent == "points":
            return float(np.ptp(self.uv, axis=0).max()) if len(self.uv) else 0.0
        if self.box is None:
            raise ValueError(f"{self.name} has no box; use extent=image or extent=points")
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@dataclass(frozen=True)
class Difficulty:
    """What the annotation says of a pair; None = not stated.

    Viewpoint and scale: 0 easy, 1 medium, 2 hard. Truncation and occlusion: 0 none, 1 source,
    2 target, 3 both.
    """

    viewpoint: int | None = None
    scale: int | None = None
    truncation: int | None = None
    occlusion: int | None = None


@dataclass(frozen=True, eq=False)
class KeypointPair:
    """Two photos of one category; the source's key-points are to be found in the target."""

    key: str  # unique within the set
    category: str
    source: Side
    target: Side
    ids: tuple[str, ...]  # names of the common key-points
    difficulty: Difficulty = Difficulty()
    mirror: bool = False  # the annotation's or our own flag that the source is flipped

    def __post_init__(self):
        n = len(self.ids)
        if len(self.source.uv) != n or len(self.target.uv) != n:
            raise ValueError(
                f"{self.key}: {n} ids, {len(self.source.uv)} source and {len(self.target.uv)} "
                "target points"
            )


@dataclass(frozen=True, eq=False)
class PairSet:
    """A split of a benchmark.

    Args:
        name: As it is printed.
        split: trn, val or test.
        pairs: In the official order.
        extent: What alpha multiplies by the benchmark's own convention: box | image | points.
        official_pairs: How many the official split has; 0 = not an official split.
        twins: Left and right twins of key-points per category.
        groups: Key-points that only geometry tells apart, per category.
        notes: What the reader of the report must know of this folder.
    """

    name: str
    split: str
    pairs: tuple[KeypointPair, ...]
    extent: str
    official_pairs: int = 0
    twins: Twins = field(default_factory=dict)
    groups: Groups = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether this is the whole official split, so that its numbers are results."""
        return bool(self.official_pairs) and len(self.pairs) == self.official_pairs

    @property
    def categories(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(sorted({p.category for p in self.pairs}))

    @property
    def photos(self) -> dict[str, Side]:
        """Every photo once, by name; a mirrored one counts as another photo."""
        return {side.name: side for p in self.pairs for side in (p.source, p.target)}

    def chosen(self, *, categories: str = "", every: int = 1) -> "PairSet":
        """Only some categories (colons between) and every n-th of their pairs.

        Raises:
            ValueError: A category is unknown, or no pair is left.
        """
        wanted = [c for c in categories.split(":") if c]
        for name in wanted:
            if name not in self.categories:
                raise ValueError(f"categories: {name!r} is none of {', '.join(self.categories)}")
        pairs = [p for p in self.pairs if not wanted or p.category in wanted][::every]
        if not pairs:
            raise ValueError(f"every={every} leaves no pair")
        return replace(self, pairs=tuple(pairs))

    def mirrored(self) -> "PairSet":
        """Every pair with its source flipped left to right, its key-points renamed with it.

        A left ear of the photo is a right ear of its mirror image, so a flipped source asks for
        the twin's place in the target. Only key-points whose twin the target shows remain; pairs
        that keep none are left out.
        """
        flipped = (mirror_source(p, self.twins.get(p.category, {})) for p in self.pairs)
        pairs = tuple(p for p in flipped if p.ids)
        return replace(self, pairs=pairs, official_pairs=0, name=f"{self.name}, source mirrored")


def flipped_name(side: Side) -> str:
    """The name of the photo's mirror image; that of a mirror image is the photo's own."""
    return side.name.removesuffix("|mirror") if side.mirrored else f"{side.name}|mirror"


def mirror_source(pair: KeypointPair, twins: Mapping[str, str]) -> KeypointPair:
    """The pair with a flipped source: u becomes width - u, and every id its twin's."""
    source, target = pair.source, pair.target
    where = dict(zip(target.all_ids, target.all_uv, strict=True))
    where |= dict(zip(pair.ids, target.uv, strict=True))
    renamed = [twins.get(i, i) for i in pair.ids]
    kept = [k for k, name in enumerate(renamed) if name in where]
    flip = np.array([[source.width, 0.0]])
    mirror_uv = flip + source.uv * [-1, 1]
    box = source.box
    if box is not None:
        box = np.array([source.width - box[2], box[1], source.width - box[0], box[3]])
    return replace(
        pair,
        key=f"{pair.key}|mirror",
        source=replace(
            source,
            name=flipped_name(source),
            uv=mirror_uv[kept],
            box=box,
            all_ids=tuple(twins.get(i, i) for i in source.all_ids),
            all_uv=flip + source.all_uv * [-1, 1],
            mirrored=not source.mirrored,
        ),
        target=replace(
            target, uv=np.array([where[renamed[k]] for k in kept]).reshape(len(kept), 2)
        ),
        ids=tuple(renamed[k] for k in kept),
        mirror=not pair.mirror,
    )


def shared_photos(train: PairSet, test: PairSet) -> tuple[str, ...]:
    """Photos that both splits use; a split that is not disjoint flatters what is trained on it."""
    known = {plain_name(name) for name in train.photos}
    return tuple(sorted(known & {plain_name(name) for name in test.photos}))


def check_disjoint(train: PairSet, test: PairSet) -> None:
    """Refuse to train on photos that will be tested.

    Raises:
        ValueError: They share photos.
    """
    shared = shared_photos(train, test)
    if shared:
        used = sum(bool(_names(p) & set(shared)) for p in train.pairs)
        raise ValueError(
            f"{len(shared)} photos of {test.split} are in {train.split} too ({shared[0]}, …), in "
            f"{used} of its {len(train.pairs)} pairs; drop those pairs before training"
        )


def without_photos(pairs: PairSet, names: Iterable[str]) -> PairSet:
    """The pairs that use none of these photos."""
    barred = {plain_name(n) for n in names}
    kept = tuple(p for p in pairs.pairs if not _names(p) & barred)
    return replace(pairs, pairs=kept, official_pairs=0)


def _names(pair: KeypointPair) -> set[str]:
    return {plain_name(pair.source.name), plain_name(pair.target.name)}


def plain_name(name: str) -> str:
    """The photo's name, also of its mirror image."""
    return name.removesuffix("|mirror")
