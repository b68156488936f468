"""Where a student works: its network, and what the frozen part made of photos before."""

from collections import OrderedDict
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from corr.semantic.datasets.base import Side
from corr.semantic.features.cache import read_photo
from corr.semantic.features.extractor import Adaptable, Frame
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.lessons import Lesson
from corr.semantic.learned.losses import matrix_loss
from corr.semantic.learned.shots import cells
from corr.semantic.learned.student import Student
from corr.semantic.learned.unseen import LearningCache


class Desk:
    """A student on photos, one at a time.

    Args:
        cache: Of the frozen features; refuses test photos, and so does this.
        student: Learns.
    """

    def __init__(self, cache: LearningCache, student: Student):
        self.cache = cache
        self.base = student.on(cast(Adaptable, cache.extractor)).base
        self._begun: OrderedDict[str, tuple[Tensor, Frame]] = OrderedDict()
        self._bytes = 0

    def maps(self, side: Side) -> Float[Tensor, "1 d rows columns"]:
        """The student's descriptors of a photo's cells, with gradients."""
        begun, frame = self._started(side)
        maps = self.base.finished(begun.float())
        stride, centre = self.base.cells
        rows, columns = frame.inside(tuple(maps.shape[-2:]), stride=stride, centre=centre)
        return maps[..., rows, columns]

    def grid(self, side: Side) -> FeatureGrid:
        """The same as a grid."""
        begun, frame = self._started(side)
        with torch.no_grad():
            return self.base.grid(self.base.finished(begun.float()), frame)

    def loss(self, lesson: Lesson, temperature: float) -> Float[Tensor, ""]:
        """Cross-entropy of the student's rows of similarity to the teacher's.

        Args:
            lesson: With some rows.
            temperature: Of the student's cosines.
        """
        maps = [self.maps(side) for side in lesson.sides]
        losses = []
        for rows in lesson.rows:
            at = cells(self.cache.get(lesson.sides[rows.a]), rows.uv)
            share = torch.from_numpy(rows.share).to(maps[0].device)
            losses.append(matrix_loss(maps[rows.a], maps[rows.b], at, share, temperature))
        return torch.stack(losses).mean()

    def _started(self, side: Side) -> tuple[Tensor, Frame]:
        """What the frozen part makes of a photo, in half precision, and how the photo lies."""
        self.cache.refuse(side)
        if side.name not in self._begun:
            begun, frame = self.base.begun(read_photo(side))
            self._begun[side.name] = begun.half(), frame
            self._bytes += 2 * begun.numel()
            while self._bytes > self.cache.memory_mb * 2**20 and len(self._begun) > 1:
                _, (old, _) = self._begun.popitem(last=False)
                self._bytes -= 2 * old.numel()
        self._begun.move_to_end(side.name)
        return self._begun[side.name]
