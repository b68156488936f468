"""`method=asic`: a small collection aligned in a canonical space, without key-points.

Learned from frames with depth whose objects were aligned by their surfaces (`shapes`), and from
photos that look alike (`collection`); masks or boxes tell the objects in photos, depth those in
frames. Source: Gupta et al., ASIC, ICCV 2023: a network from every photo to one canonical space,
pseudo-matches that must meet there, k-CyPCK as the measure. Exact views of the same object stand
where theirs has random warps of a photo.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from corr.errors import UserError
from corr.semantic.learned.framed import Framed
from corr.semantic.learned.method import HEAD_FILE, Trained, World, fit

if TYPE_CHECKING:
    import torch

    from corr.semantic.datasets.base import Side
    from corr.semantic.learned.canonical import CanonicalHead
    from corr.semantic.learned.collection import Alike, Placed

log = logging.getLogger(__name__)


@dataclass
class Asic(Framed):
    """Learns a canonical space from frames with depth and photos; one category at a time."""

    frames: str = "???"  # folder of multi-view frames with depth (data/README.md)
    steps: int = 300
    lr: float = 2e-3  # peak of AdamW; a half cosine brings it to 1 %
    drawn: int = 6  # frames of a step
    matched: int = 2  # pairs of photos of a step
    hidden: int = 64  # channels of the network
    dropout: float = 0.2  # share of the frozen features' channels
    photos: float = 0.5  # weight of the photos' matches; 0 = frames alone
    mask: float = 0.3  # weight of telling the object from what surrounds it
    weight: float = 2.0  # of the canonical place in a match, compared to the look
    width: float = 0.3  # distance at which places become strangers, halves of the object's size
    every: int = 50  # steps between validations

    def __post_init__(self):
        super().__post_init__()
        for name in ("steps", "drawn", "hidden", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"method.{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("lr", "weight", "width"):
            if not getattr(self, name) > 0:
                raise ValueError(f"method.{name} must be positive, got {getattr(self, name)}")
        for name in ("photos", "mask", "matched"):
            if getattr(self, name) < 0:
                raise ValueError(f"method.{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"method.dropout must lie in 0 … 1, got {self.dropout}")
        if self.frames in ("", "???"):
            raise ValueError(
                "method.frames must name a folder of multi-view frames with depth "
                "(data/README.md), got nothing"
            )

    def train(self, world: World) -> Trained:
        """Align the collection, train, measure, draw."""
        import torch

        from corr.semantic.learned.asic_page import show
        from corr.semantic.learned.canonical import CanonicalHead, CanonicalShape
        from corr.semantic.learned.judge import pck_percent
        from corr.training.loop import Course

        world, placed, alike = self._collection(world)
        torch.manual_seed(world.seed)
        some = world.cache.get(placed[0].side).descriptor.shape[-1]
        shape = CanonicalShape(some, self.hidden, self.weight, self.width)
        network = CanonicalHead(shape, self.dropout)

        def gradients(step: int) -> float:
            rng = np.random.default_rng([world.seed, step])
            torch.manual_seed(int(rng.integers(2**31)))  # of the dropout
            return self._backward(world, network, placed, alike, rng)

        def judge(network: "CanonicalHead") -> dict[str, float]:
            if world.validated is None:
                return {}
            return {"pck_val": pck_percent(world.validated, world.cache, network)}

        # An untrained network knows no places: what it is compared to is the frozen features.
        before = float("nan")
        if world.validated is not None:
            before = pck_percent(world.validated, world.cache)
        course = Course(self.steps, self.lr, self.every, warm_up=max(1, self.steps // 10))
        rows = fit(world, self, network, course, gradients, judge)
        network.eval()
        show(world, network)
        after = rows[-1].get("pck_val", float("nan"))
        return Trained(world.out / HEAD_FILE, "PCK@0.1 per image on val", before, after)

    def _collection(self, world: World) -> "tuple[World, list[Placed], list[Alike]]":
        """Frames with canonical places and photos that look alike."""
        from corr.semantic.learned.collection import alike_photos, placed_frames

        if len(world.learned.categories) != 1:
            raise UserError(
                f"method=asic learns one category at a time, these are "
                f"{len(world.learned.categories)}; choose one, for example "
                f"categories={world.learned.categories[0]}"
            )
        category = world.learned.categories[0]
        world, teacher = self.shape_teacher(world, category)
        placed = placed_frames(teacher, world.cache)
        photos = [world.learned.photos[name] for name in sorted(world.learned.photos)]
        seen = [*photos, *(world.validated.photos.values() if world.validated else ())]
        world.cache.fill(seen)
        alike = alike_photos(photos, world.cache) if self.photos else []
        log.info("%d frames in the canonical space, %d pairs of photos that look alike",
                 len(placed), len(alike))  # fmt: skip
        return world, placed, alike

    def _backward(
        self,
        world: World,
        network: "CanonicalHead",
        placed: "Sequence[Placed]",
        alike: "Sequence[Alike]",
        rng: np.random.Generator,
    ) -> float:
        """Gradients of a step, photo by photo; returns the loss."""
        total = 0.0
        for _ in range(self.drawn):
            one = placed[int(rng.integers(len(placed)))]
            loss = self._place_loss(world, network, one) / self.drawn
            loss.backward()
            total += float(loss.detach())
        for _ in range(self.matched if alike else 0):
            two = alike[int(rng.integers(len(alike)))]
            loss = self.photos * self._match_loss(world, network, two) / self.matched
            loss.backward()
            total += float(loss.detach())
        return total

    def _place_loss(self, world: World, network: "CanonicalHead", one: "Placed") -> "torch.Tensor":
        """Known places, and the object's cells, in a frame."""
        import torch
        import torch.nn.functional as F

        place, logit = places(world, network, one.side)
        cells = torch.from_numpy(one.cells)
        truth = torch.from_numpy(one.place.astype(np.float32))
        inside = torch.zeros_like(logit)
        inside[cells] = 1.0
        off = F.smooth_l1_loss(place[cells], truth, beta=0.1)
        return 3 * off + self.mask * F.binary_cross_entropy_with_logits(logit, inside)

    def _match_loss(self, world: World, network: "CanonicalHead", two: "Alike") -> "torch.Tensor":
        """Cells of two photos that match must meet."""
        import torch
        import torch.nn.functional as F

        a, b = (places(world, network, side)[0] for side in (two.a, two.b))
        at_a, at_b = torch.from_numpy(two.cells_a), torch.from_numpy(two.cells_b)
        return F.smooth_l1_loss(a[at_a], b[at_b], beta=0.1)


def places(
    world: World, network: "CanonicalHead", side: "Side"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Canonical coordinates, cells x 3, and logits of all cells of a photo."""
    from corr.semantic.learned.trunk import as_maps

    place, logit = network.places(as_maps(world.cache.get(side))[None])
    return place[0].flatten(1).T, logit[0].flatten()
