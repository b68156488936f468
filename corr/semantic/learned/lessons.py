"""What teachers tell a student: for places of one photo, how likely each cell of another is theirs.

Both teachers speak in rows of a similarity matrix. One sees photos: the softmax of the cosines of
two frozen networks' features, fused, from the photo or its mirror image, whichever fits the other
better. One sees surfaces: a peak at the place where depth and cameras, and the alignment of two
objects, put a point (`shapes`).

Sources: DistillDIFT (Fundel et al.), WACV 2025: two networks as teachers, similarity matrices,
frames with depth; pose alignment: Zhang et al., Telling Left from Right, CVPR 2024.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from corr.semantic.datasets.base import Side
from corr.semantic.datasets.frames import Sequence as Frames
from corr.semantic.features.cache import FeatureCache
from corr.semantic.learned.shapes import Seen, aligned, lifted, shown, size_of
from corr.semantic.pose_alignment import flipped_side, mean_similarity, object_cells

MOST_PLACES = 48  # of a photo, in a row block
LEAST_PLACES = 4
SPREAD_CELLS = 1.0  # standard deviation of a peak
SAME_OFF = 0.012  # of the object's size: depths of one surface point may differ so much
OTHER_OFF = 0.06  # the same between two objects, whose shapes differ
VIEWS = 4  # frames of a lesson


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a similarity matrix.

    Args:
        a: Index of the lesson's photo that the places are in.
        b: Index of the photo whose cells are compared.
        uv: The places, original pixels.
        share: 0..1, sums to 1 over the cells of b, row by row.
    """

    a: int
    b: int
    uv: Float[np.ndarray, "n 2"]
    share: Float[np.ndarray, "n cells"]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Photos and what a teacher says about them."""

    sides: tuple[Side, ...]
    rows: tuple[Rows, ...]


@dataclass(frozen=True, eq=False)
class PhotoTeacher:
    """Frozen features of photos of one category, without any annotation but masks or boxes.

    Args:
        photos: By category.
        cache: The teachers' features.
        cells: The student's frozen features, whose cells the rows are over.
        temperature: Of the softmax of cosines.
    """

    photos: Mapping[str, Sequence[Side]]
    cache: FeatureCache
    cells: FeatureCache
    temperature: float

    def lesson(self, rng: np.random.Generator) -> Lesson:
        """Two photos, both ways."""
        names = sorted(name for name, sides in self.photos.items() if len(sides) > 1)
        sides = self.photos[names[int(rng.integers(len(names)))]]
        one, other = (sides[int(k)] for k in rng.choice(len(sides), 2, replace=False))
        if rng.random() < 0.5:
            other = flipped_side(other)
        target = self.cache.get(other)
        tried = [one, flipped_side(one)]
        fits = [mean_similarity(g, target, on_object(s, g))
                for s, g in ((s, self.cache.get(s)) for s in tried)]  # fmt: skip
        pair = (tried[int(fits[1] > fits[0])], other)
        return Lesson(pair, (self._rows(pair, 0, 1, rng), self._rows(pair, 1, 0, rng)))

    def _rows(self, pair: tuple[Side, Side], a: int, b: int, rng: np.random.Generator) -> Rows:
        source, target = self.cache.get(pair[a]), self.cache.get(pair[b])
        places = rng.permutation(np.flatnonzero(on_object(pair[a], source)))[:MOST_PLACES]
        cosine = source.flat[places] @ target.sample(self.cells.get(pair[b]).centres()).T
        return Rows(a, b, source.centres()[places], softmax(cosine / self.temperature))


@dataclass(frozen=True, eq=False)
class ShapeTeacher:
    """Frames of objects with depth; objects of one category are aligned by their surfaces.

    Args:
        views: Every sequence's frames.
        maps: Affine maps from world to world by the indices of two sequences; also of itself.
        cache: Frozen features, for the places of cells.
    """

    views: Sequence[Sequence[Seen]]
    maps: Mapping[tuple[int, int], np.ndarray]
    cache: FeatureCache
    sizes: Sequence[float] = field(default_factory=list)

    def lesson(self, rng: np.random.Generator) -> Lesson:
        """Two frames of one object and one of each of two others, perhaps all mirrored."""
        first = int(rng.integers(len(self.views)))
        others = [b for a, b in self.maps if a == first and b != first]
        drawn = [others[int(k)] for k in rng.permutation(len(others))[: VIEWS - 2]]
        objects = [first, *drawn, *[first] * (VIEWS - 1 - len(drawn))]
        seen = [self.views[k][int(rng.integers(len(self.views[k])))] for k in objects]
        mirror = bool(rng.random() < 0.5)
        rows = [
            self._rows(seen, objects, (a, b), mirror, rng)
            for a in range(VIEWS) for b in range(VIEWS)
            if seen[a] is not seen[b] and (objects[a], objects[b]) in self.maps
        ]  # fmt: skip
        sides = [flipped_side(s.frame.side) if mirror else s.frame.side for s in seen]
        return Lesson(tuple(sides), tuple(r for r in rows if len(r.uv) >= LEAST_PLACES))

    def _rows(
        self,
        seen: Sequence[Seen],
        objects: Sequence[int],
        which: tuple[int, int],
        mirror: bool,
        rng: np.random.Generator,
    ) -> Rows:
        """Cells of one frame that another shows, too, as peaks there."""
        a, b = which
        m = self.maps[objects[a], objects[b]]
        off = SAME_OFF if objects[a] == objects[b] else OTHER_OFF
        order = rng.permutation(len(seen[a].uv))
        moved = seen[a].xyz[order] @ m[:3] + m[3]
        uv, there = shown(seen[b].frame, moved, off * self.sizes[objects[b]])
        of_a, of_b = seen[a].uv[order[there]][:MOST_PLACES], uv[there][:MOST_PLACES]
        side = seen[b].frame.side
        if mirror:
            of_a = [seen[a].frame.side.width, 0] + of_a * [-1, 1]
            of_b = [side.width, 0] + of_b * [-1, 1]
        grid = self.cache.get(flipped_side(side) if mirror else side)
        rows, columns = grid.shape
        v, u = np.mgrid[:rows, :columns].reshape(2, -1)
        far = ((grid.cell_of(of_b)[:, None] - np.stack([u, v], 1)) ** 2).sum(-1)
        return Rows(a, b, of_a, softmax(-far / (2 * SPREAD_CELLS**2)))


def shape_teacher(
    sequences: Sequence[Frames], cache: FeatureCache, rng: np.random.Generator, partners: int
) -> ShapeTeacher:
    """Lift all frames and align every object with others of its category.

    Args:
        sequences: Frames of the objects.
        cache: Frozen features.
        rng: Of the alignments' draws.
        partners: With how many others at most each object is aligned.
    """
    from tqdm import tqdm

    views = [[lifted(f, cache.get(f.side)) for f in s.frames] for s in sequences]
    maps = {(k, k): np.vstack([np.eye(3), np.zeros((1, 3))]) for k in range(len(views))}
    for a, b in tqdm(couples_of(sequences, partners), desc="align", unit="pair"):
        found = aligned(views[a], views[b], rng)
        if found is not None:
            back = np.linalg.inv(found[:3])
            maps[a, b], maps[b, a] = found, np.vstack([back, -found[3] @ back])
    return ShapeTeacher(views, maps, cache, [size_of(v) for v in views])


def couples_of(sequences: Sequence[Frames], partners: int) -> list[tuple[int, int]]:
    """Pairs of sequences of one category: each with those that follow it, in a circle."""
    found: set[tuple[int, int]] = set()
    for category in sorted({s.category for s in sequences}):
        own = [k for k, s in enumerate(sequences) if s.category == category]
        for place, a in enumerate(own):
            for step in range(1, min(partners // 2, len(own) - 1) + 1):
                b = own[(place + step) % len(own)]
                found.add((min(a, b), max(a, b)))
    return sorted(found)


def on_object(side: Side, grid) -> np.ndarray:
    """Cells of a photo, plain or mirrored, that are on its object."""
    plain = flipped_side(side) if side.mirrored else side
    return object_cells(plain, grid, flip=side.mirrored)


def softmax(x: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    """Shares of every row."""
    e = np.exp(x - x.max(1, keepdims=True, initial=-np.inf))
    return (e / e.sum(1, keepdims=True)).astype(np.float32)
