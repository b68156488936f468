"""What methods share that learn from multi-view frames with depth."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corr.errors import UserError
from corr.semantic.learned.method import Method, World

if TYPE_CHECKING:
    from corr.semantic.datasets.base import Side
    from corr.semantic.learned.lessons import ShapeTeacher

log = logging.getLogger(__name__)


@dataclass
class Framed(Method):
    """Learns from frames of objects, which are aligned by their surfaces; no key-points."""

    frames: str = ""  # folder of multi-view frames with depth (data/README.md); empty = none
    partners: int = 16  # other objects of its category that each one is aligned with, at most

    def __post_init__(self):
        if self.partners < 1:
            raise ValueError(f"method.partners must be 1 or more, got {self.partners}")

    def shape_teacher(self, world: World, category: str = "") -> "tuple[World, ShapeTeacher]":
        """Objects aligned, and the world with their frames among the photos learned from.

        Args:
            world: Whose cache gets the frames' features.
            category: Only of this one; empty = all.

        Raises:
            UserError: There are no frames, or none of that category.
            ValueError: A frame is a test photo.
        """
        from corr.semantic.datasets.frames import read_sequences
        from corr.semantic.learned.lessons import shape_teacher
        from corr.semantic.learned.unseen import check_frames

        sequences = read_sequences(Path(self.frames).expanduser())
        sequences = tuple(s for s in sequences if category in ("", s.category))
        if not sequences:
            raise UserError(f"{self.frames} has no frames of {category}")
        sides = [f.side for s in sequences for f in s.frames]
        digests = check_frames(sides, world.tested)
        fill_both_ways(world, sides)
        rng = np.random.default_rng([world.seed, 11])
        teacher = shape_teacher(sequences, world.cache, rng, self.partners)
        log.info("%d objects of %d frames, %d pairs of them aligned by their surfaces",
                 len(sequences), len(sides), sum(a < b for a, b in teacher.maps))  # fmt: skip
        return world.with_photos(digests), teacher


def fill_both_ways(world: World, sides: "Sequence[Side]") -> None:
    """Frozen features of photos and of their mirror images."""
    from corr.semantic.pose_alignment import flipped_side

    world.cache.fill([one for side in sides for one in (side, flipped_side(side))])
