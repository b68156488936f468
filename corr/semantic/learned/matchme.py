"""`method=matchme`: few annotated photos; the rest is annotated by the head itself, in rounds.

A teacher learns from the annotated photos, guesses the key-points of all others, and a student
learns from both; the student is the next round's teacher. Source: MatchMe (naver-ai/matchme).
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corr.semantic.learned.method import HEAD_FILE, Trained, World
from corr.semantic.learned.supervised import LEAST_COMMON, Supervised, learned_shots, train_head

if TYPE_CHECKING:
    from corr.semantic.learned.shots import Shot

log = logging.getLogger(__name__)


@dataclass
class MatchMe(Supervised):
    """Learns from a share of the annotations; `steps` are those of every round."""

    steps: int = 120  # of every round, of `couples` couples of photos each
    labelled: float = 0.2  # share of the photos whose key-points are used
    rounds: int = 1  # of annotating and learning anew, after the first teacher
    back_cells: float = 2.0  # a guess must lead back so near to its origin, cells
    margin: float = 0.02  # least cosine of a guess above its best rival elsewhere
    agree: int = 2  # guesses from different photos that must agree

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.labelled <= 1:
            raise ValueError(f"method.labelled must lie in 0 … 1, got {self.labelled}")
        if self.rounds < 1 or self.agree < 1:
            raise ValueError("method.rounds and method.agree must be 1 or more")
        if not self.back_cells > 0:
            raise ValueError(f"method.back_cells must be positive, got {self.back_cells}")

    def train(self, world: World) -> Trained:
        """Teach, annotate, learn anew.

        Raises:
            ValueError: No pair of the annotated photos has enough common key-points.
        """
        known, hidden = self.divided(world)
        done = first = train_head(self, world.within("round_0"), coupled(known))
        for number in range(1, self.rounds + 1):
            guessed = self.guessed(world, done.head, known, hidden)
            log.info("round %d: %d key-points guessed in %d of %d photos", number,
                     sum(len(s.points) for s in guessed), len(guessed), len(hidden))  # fmt: skip
            couples = coupled([*known, *guessed])
            done = train_head(self, world.within(f"round_{number}"), couples)
        for name in (HEAD_FILE, "curve.svg", "curve.csv"):
            shutil.copy(done.head.with_name(name), world.out / name)
        return Trained(world.out / HEAD_FILE, done.figure, first.before, done.after)

    def divided(self, world: World) -> tuple[list["Shot"], list["Shot"]]:
        """Annotated photos, and the others without their key-points; the seed decides."""
        from corr.semantic.learned.shots import Shot

        shots = learned_shots(world.learned)
        rng = np.random.default_rng([world.seed, 7])
        known: list[Shot] = []
        for category in world.learned.categories:
            own = [s for s in shots.values() if s.category == category]
            count = max(2, round(self.labelled * len(own)))
            known += [own[k] for k in sorted(rng.permutation(len(own))[:count])]
        names = {s.side.name for s in known}
        hidden = [Shot(s.side, s.category, {}) for n, s in shots.items() if n not in names]
        return known, hidden

    def guessed(
        self, world: World, teacher: Path, known: list["Shot"], hidden: list["Shot"]
    ) -> list["Shot"]:
        """The others with the key-points that the teacher is sure of; those with too few left out.

        Args:
            world: Where features come from.
            teacher: File of its head.
            known: Annotated photos.
            hidden: The others.
        """
        from tqdm import tqdm

        from corr.semantic.features.grid import FeatureGrid
        from corr.semantic.learned.annotator import Guessing, annotated
        from corr.semantic.learned.files import load_trained
        from corr.semantic.learned.supervised import fill_both_ways

        head, _ = load_trained(teacher)
        fill_both_ways(world, [*known, *hidden])
        made: dict[str, FeatureGrid] = {}

        def grids(side):
            if side.name not in made:
                made[side.name] = head.refined(world.cache.get(side))
            return made[side.name]

        guessing = Guessing(self.back_cells, self.margin, least=self.agree)
        found = [
            annotated(photo, known, grids, world.learned.twins, guessing)
            for photo in tqdm(hidden, desc="annotate", unit="photo")
        ]
        return [shot for shot in found if len(shot.points) >= LEAST_COMMON]


def coupled(shots: list["Shot"]) -> list[tuple["Shot", "Shot"]]:
    """All couples of a category that know enough of the same key-points.

    Raises:
        ValueError: There is none.
    """
    couples = [
        (a, b)
        for k, a in enumerate(shots)
        for b in shots[k + 1 :]
        if a.category == b.category and len(set(a.points) & set(b.points)) >= LEAST_COMMON
    ]
    if not couples:
        raise ValueError(
            f"no two annotated photos have {LEAST_COMMON} key-points in common; raise "
            "method.labelled"
        )
    return couples
