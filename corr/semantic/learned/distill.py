"""`method=distill`: teachers that need no key-points, and a student with low-rank adapters.

Two networks' fused similarities teach on the split's photos, surfaces on multi-view frames with
depth; the student imitates both by one loss on similarity matrices. Sources: see `lessons`.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from corr.semantic.features.fusion import FusionFeatures
from corr.semantic.learned.framed import Framed
from corr.semantic.learned.method import HEAD_FILE, Trained, World, fit

if TYPE_CHECKING:
    from corr.semantic.datasets.base import Side
    from corr.semantic.learned.lessons import PhotoTeacher, ShapeTeacher
    from corr.semantic.learned.student import Student


@dataclass
class Distill(Framed):
    """Learns from two frozen networks on photos and from frames with depth; no key-points."""

    steps: int = 150
    lr: float = 3e-3  # peak of AdamW; a half cosine brings it to 1 %
    rank: int = 8  # of the adapters
    alpha: float = 16.0  # over rank: strength of the adapters
    temperature: float = 0.04  # of the student's cosines
    teacher_temperature: float = 0.02  # of the teachers' cosines
    teachers: FusionFeatures = field(default_factory=lambda: FusionFeatures(weight=0.2))
    photos: float = 0.2  # weight of what the two networks teach on photos; 0 = nothing
    shapes: float = 1.0  # weight of what the frames teach
    every: int = 50  # steps between validations

    def __post_init__(self):
        super().__post_init__()
        for name in ("steps", "rank", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"method.{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("lr", "alpha", "temperature", "teacher_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"method.{name} must be positive, got {getattr(self, name)}")
        if min(self.photos, self.shapes) < 0:
            raise ValueError("method.photos and method.shapes must be 0 or more")
        if not self.photos and not (self.frames and self.shapes):
            raise ValueError("method.photos=0 leaves nothing to learn from without method.frames")

    def train(self, world: World) -> Trained:
        """Train the student on photos and frames."""
        import torch

        from corr.semantic.learned.desk import Desk
        from corr.semantic.learned.judge import pck_of
        from corr.semantic.learned.student import student_of
        from corr.training.loop import Course

        world, teachers = self._teachers(world)
        assert world.cache.extractor is not None
        torch.manual_seed(world.seed)
        student = student_of(world.cache.extractor, rank=self.rank, alpha=self.alpha)
        desk = Desk(world.cache, student)

        def gradients(step: int) -> float | None:
            rng = np.random.default_rng([world.seed, step])
            drawn = [(weight, teacher.lesson(rng)) for weight, teacher in teachers]
            losses = [w * desk.loss(lesson, self.temperature) for w, lesson in drawn if lesson.rows]
            if not losses:
                return None
            total = torch.stack(losses).sum()
            total.backward()
            return float(total.detach())

        def judge(_: "Student") -> dict[str, float]:
            if world.validated is None:
                return {}
            return {"pck_val": pck_of(world.validated, desk.grid)}

        course = Course(self.steps, self.lr, self.every, warm_up=max(1, self.steps // 10))
        rows = fit(world, self, student, course, gradients, judge)
        ends = [row.get("pck_val", float("nan")) for row in (rows[0], rows[-1])]
        return Trained(world.out / HEAD_FILE, "PCK@0.1 per image on val", *ends)

    def _teachers(
        self, world: World
    ) -> "tuple[World, list[tuple[float, ShapeTeacher | PhotoTeacher]]]":
        """Who teaches, and with what weight."""
        teachers: list[tuple[float, ShapeTeacher | PhotoTeacher]] = []
        if self.frames and self.shapes:
            world, shapes = self.shape_teacher(world)
            teachers.append((self.shapes, shapes))
        if self.photos:
            teachers.append((self.photos, self._photo_teacher(world)))
        return world, teachers

    def _photo_teacher(self, world: World) -> "PhotoTeacher":
        from corr.semantic.learned.lessons import PhotoTeacher
        from corr.semantic.learned.unseen import LearningCache

        photos: dict[str, dict[str, Side]] = {}
        for pair in world.learned.pairs:
            for side in (pair.source, pair.target):
                photos.setdefault(pair.category, {})[side.name] = side
        cache = LearningCache(
            world.cache.folder, self.teachers, world.cache.memory_mb, barred=world.cache.barred
        )
        lists = {name: [own[k] for k in sorted(own)] for name, own in sorted(photos.items())}
        return PhotoTeacher(lists, cache, world.cache, self.teacher_temperature)
