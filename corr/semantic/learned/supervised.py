"""`method=supervised`: a head learns from annotated pairs, with photos mirrored on the way.

Source: Zhang et al., Telling Left from Right, CVPR 2024, section 4 (the GeoAware-SC recipe): sparse
contrastive and dense soft-argmax losses, pairs of which both, one, or a photo and its own mirror
image are flipped under the names of the twins. Read out with `transfer=window` and, if wanted,
`align=pose`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from corr.semantic.datasets.base import PairSet
from corr.semantic.learned.method import HEAD_FILE, Method, Trained, World, fit

if TYPE_CHECKING:
    import torch

    from corr.semantic.learned.head import FeatureHead
    from corr.semantic.learned.shots import Couple, Shot

LEAST_COMMON = 3  # key-points that a couple of shots must share


@dataclass
class Supervised(Method):
    """Learns from the key-points of all pairs of the split."""

    steps: int = 200  # of `couples` couples of photos each
    couples: int = 4  # whose gradients are accumulated
    lr: float = 2e-3  # peak of AdamW; a half cosine brings it to 1 %
    hidden: int = 64  # channels of the head
    dropout: float = 0.2  # share of the frozen features' channels
    temperature: float = 0.04  # of cosines in the dense loss
    both: float = 0.35  # share of couples with both photos mirrored
    single: float = 0.3  # with one mirrored, its key-points under their twins' names
    itself: float = 0.1  # of a photo and its own mirror image
    every: int = 50  # steps between validations

    def __post_init__(self):
        for name in ("steps", "couples", "hidden", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"method.{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("lr", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"method.{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"method.dropout must lie in 0 … 1, got {self.dropout}")
        flips = (self.both, self.single, self.itself)
        if min(flips) < 0 or sum(flips) > 1:
            raise ValueError(f"method.both, single and itself must be shares of 1, got {flips}")

    def train(self, world: World) -> Trained:
        """Train on the pairs of the split.

        Raises:
            ValueError: No pair has enough common key-points.
        """
        shots = learned_shots(world.learned)
        couples = [
            (shots[p.source.name], shots[p.target.name])
            for p in world.learned.pairs
            if len(p.ids) >= LEAST_COMMON
        ]
        if not couples:
            raise ValueError(f"no pair of the split has {LEAST_COMMON} common key-points")
        return train_head(self, world, couples)

    def drawn(
        self,
        couples: Sequence[tuple["Shot", "Shot"]],
        world: World,
        rng: np.random.Generator,
    ) -> "Couple":
        """A couple, with none, both, one mirrored, or a photo and its own mirror image."""
        from corr.semantic.learned.shots import couple, mirrored

        a, b = couples[int(rng.integers(len(couples)))]
        u, twins = rng.random(), world.learned.twins
        if u < self.both:
            a, b = mirrored(a, twins), mirrored(b, twins)
        elif u < self.both + self.single:
            a = mirrored(a, twins)
        elif u < self.both + self.single + self.itself:
            b = mirrored(a, twins)
        return couple(a, b)


def learned_shots(pairs: PairSet) -> dict[str, "Shot"]:
    """Every photo of a split with all key-points that are known of it."""
    from corr.semantic.learned.shots import Shot, known_points

    known = known_points(pairs.pairs)
    category = {side.name: p.category for p in pairs.pairs for side in (p.source, p.target)}
    return {name: Shot(side, category[name], known[name]) for name, side in pairs.photos.items()}


def train_head(
    method: Supervised, world: World, couples: Sequence[tuple["Shot", "Shot"]]
) -> Trained:
    """Train a head on couples of shots with known points."""
    import torch

    from corr.semantic.learned.head import FeatureHead, HeadShape
    from corr.semantic.learned.judge import pck_percent
    from corr.training.loop import Course

    fill_both_ways(world, [shot for two in couples for shot in two])
    torch.manual_seed(world.seed)
    some = world.cache.get(couples[0][0].side)
    network = FeatureHead(HeadShape(some.descriptor.shape[-1], method.hidden), method.dropout)

    def gradients(step: int) -> float | None:
        rng = np.random.default_rng([world.seed, step])
        torch.manual_seed(int(rng.integers(2**31)))  # of the dropout
        drawn = [method.drawn(couples, world, rng) for _ in range(method.couples)]
        return backward(
            network, world, [c for c in drawn if len(c) >= LEAST_COMMON], method.temperature
        )

    def judge(network: "FeatureHead") -> dict[str, float]:
        if world.validated is None:
            return {}
        return {"pck_val": pck_percent(world.validated, world.cache, network)}

    course = Course(method.steps, method.lr, method.every, warm_up=max(1, method.steps // 10))
    rows = fit(world, method, network, course, gradients, judge)
    ends = [row.get("pck_val", float("nan")) for row in (rows[0], rows[-1])]
    return Trained(world.out / HEAD_FILE, "PCK@0.1 per image on val", *ends)


def fill_both_ways(world: World, shots: Sequence["Shot"]) -> None:
    """Features of photos and of their mirror images, and of those that are validated on."""
    from corr.semantic.pose_alignment import flipped_side

    sides = {shot.side.name: shot.side for shot in shots}
    sides |= {turned.name: turned for turned in map(flipped_side, sides.values())}
    if world.validated is not None:
        sides |= world.validated.photos
    world.cache.fill(sides.values())


def backward(
    network: "torch.nn.Module", world: World, couples: Sequence["Couple"], temperature: float
) -> float | None:
    """Gradients of the mean loss of some couples; one couple's graph in memory at a time."""
    import torch

    from corr.semantic.learned.losses import couple_loss
    from corr.semantic.learned.shots import cells
    from corr.semantic.learned.trunk import as_maps

    total = 0.0
    for one in couples:
        grids = [world.cache.get(shot.side) for shot in (one.a, one.b)]
        maps = [network(as_maps(grid)[None]) for grid in grids]
        at = [cells(g, uv) for g, uv in zip(grids, (one.uv_a, one.uv_b), strict=True)]
        weight = torch.from_numpy(one.weight.astype(np.float32))
        loss = couple_loss(maps[0], maps[1], at[0], at[1], weight, temperature) / len(couples)
        loss.backward()
        total += float(loss.detach())
    return total if couples else None
