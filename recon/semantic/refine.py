"""A small residual head that makes the views of a point agree and different points differ.

Source: Wang et al., SparseDFF, ICLR 2024, section 3.2: trained on one scene by a contrastive loss
(temperature 0.07) and applied as it is to others, so that features of two scenes stay comparable.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from corr.semantic.features.grid import unit
from recon.semantic.lift import Observations

log = logging.getLogger(__name__)
TEMPERATURE = 0.07
_HIDDEN, _BATCH = 64, 256  # units; points a step
_CHECK = 25  # steps between looks at the held-out points
_HELD_OUT = 0.2  # share of the points
_LEARNING_RATE = 1e-3
_LEAST_POINTS = 50


@dataclass(frozen=True, eq=False)
class Head:
    """f -> unit(f + second relu(first f)); all zero in `second` = the identity."""

    first: Float[np.ndarray, "h d"]
    first_bias: Float[np.ndarray, " h"]
    second: Float[np.ndarray, "d h"]

    def __call__(self, features: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """Refined descriptors, unit length; zeros stay zeros."""
        features = np.asarray(features, np.float32)
        hidden = np.maximum(features @ self.first.T + self.first_bias, 0)
        some = np.linalg.norm(features, axis=-1, keepdims=True) > 0
        return np.where(some, unit(features + hidden @ self.second.T), 0).astype(np.float32)


@dataclass(frozen=True)
class Fit:
    """What training brought: retrieval on held-out points, before and after.

    `before` and `after`: share of held-out points whose descriptor in one view finds, among the
    held-out points of another view, the same point or one nearer than the radius.
    """

    before: float
    after: float
    steps: int  # of the head that was kept; 0 = no head was better than none


def fit_head(
    observations: Observations,
    xyz: Float[np.ndarray, "n 3"],
    *,
    radius: float,
    iterations: int,
    seed: int,
) -> tuple[Head, Fit]:
    """Train on pairs of views of a point; the head that is best on held-out points is kept.

    Args:
        observations: Of n points; those with two views or more are used.
        xyz: The points.
        radius: Points nearer than this are neither positive nor negative, scene units.
        iterations: Training steps.
        seed: Of everything random; training runs on the CPU.
    """
    import torch

    rng = np.random.default_rng(seed)
    d = observations.descriptor.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(_HIDDEN, d, generator=generator) / d**0.5
    bias, second = torch.zeros(_HIDDEN), torch.zeros(d, _HIDDEN)
    network = {"first": start, "first_bias": bias, "second": second}
    usable = rng.permutation(np.flatnonzero((observations.weight > 0).sum(1) >= 2))
    held = usable[: max(2, int(_HELD_OUT * len(usable)))]
    rest = usable[len(held) :]
    if len(usable) < _LEAST_POINTS or not iterations:
        log.info("no head: %d points seen by two views", len(usable))
        return _head(network), Fit(float("nan"), float("nan"), 0)
    trial = _pairs(observations, held, rng)
    best = before = _retrieval(_head(network), observations, xyz, trial, radius)
    kept, steps = _head(network), 0
    for tensor in network.values():
        tensor.requires_grad_(True)
    optimiser = torch.optim.Adam(network.values(), lr=_LEARNING_RATE)
    for step in range(1, iterations + 1):
        batch = _pairs(observations, rng.choice(rest, min(_BATCH, len(rest)), replace=False), rng)
        loss = _loss(network, observations, xyz, batch, radius)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % _CHECK == 0 or step == iterations:
            now = _retrieval(_head(network), observations, xyz, trial, radius)
            if now > best:
                best, kept, steps = now, _head(network), step
    log.info("head: retrieval on %d held-out points %.1f %% before, %.1f %% after %d steps",
             len(held), 100 * before, 100 * best, steps)  # fmt: skip
    return kept, Fit(before, best, steps)


Pairs = tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Int[np.ndarray, " m"]]


def _pairs(observations: Observations, rows: Int[np.ndarray, " m"], rng) -> Pairs:
    """For each point two different views that see it, drawn at random."""
    draw = rng.random(observations.weight[rows].shape)
    draw[observations.weight[rows] <= 0] = -1
    order = np.argsort(-draw, axis=1)
    return rows, order[:, 0], order[:, 1]


def _loss(network: dict[str, Any], observations: Observations, xyz, pairs: Pairs, radius: float):
    """Symmetric InfoNCE; points within the radius of each other are left out of the rivals."""
    import torch
    import torch.nn.functional as F

    rows, a, b = pairs
    sides = []
    for view in (a, b):
        f = torch.from_numpy(observations.descriptor[rows, view].astype(np.float32))
        hidden = F.relu(f @ network["first"].T + network["first_bias"])
        sides.append(F.normalize(f + hidden @ network["second"].T, dim=1))
    score = sides[0] @ sides[1].T / TEMPERATURE
    near = torch.from_numpy(_near(xyz[rows], radius) & ~np.eye(len(rows), dtype=bool))
    score = score.masked_fill(near, -torch.inf)
    own = torch.arange(len(rows))
    return (F.cross_entropy(score, own) + F.cross_entropy(score.T, own)) / 2


def _retrieval(head: Head, observations: Observations, xyz, pairs: Pairs, radius: float) -> float:
    rows, a, b = pairs
    sides = [head(observations.descriptor[rows, view]) for view in (a, b)]
    found = (sides[0] @ sides[1].T).argmax(1)
    right = np.linalg.norm(xyz[rows] - xyz[rows[found]], axis=1) <= radius
    return float(right.mean())


def _near(xyz: Float[np.ndarray, "m 3"], radius: float) -> np.ndarray:
    return np.linalg.norm(xyz[:, None] - xyz[None], axis=-1) <= radius


def _head(network: dict[str, Any]) -> Head:
    return Head(**{name: t.detach().numpy().copy() for name, t in network.items()})
