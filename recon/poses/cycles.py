"""Pairs that match well and are wrong: look-alike places, found by going around triplets."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from corr.geometry import rotation_angle
from recon.poses.connected import parts
from recon.poses.two_view import TwoView

CLOSED_DEG = 12.0  # rotation left after a triplet's circle, below which it closes
WITNESSES = 2  # triplets that must contradict a pair


def look_alikes(pairs: Sequence[TwoView]) -> list[TwoView]:
    """Verified pairs no triplet of which closes, though others between the same photos do.

    The rotations of three verified pairs of three photos must multiply to nothing. A pair that
    every triplet contradicts shows two places that look alike, if the pairs that speak against
    it close elsewhere. Without such pairs the photos must stay as connected as they were, or
    nothing is called wrong.

    Source: Zach, Klopschitz and Pollefeys, CVPR 2010 (loops for visual relations), loops of three.
    """
    edges = {
        (p.a, p.b): p.b_from_a.R
        for p in pairs
        if p.verified and p.b_from_a is not None and p.label != "rotation"
    }
    closed: dict[tuple[int, int], list[bool]] = {pair: [] for pair in edges}
    against: dict[tuple[int, int], list[tuple[int, int]]] = {pair: [] for pair in edges}
    for a, b, c in combinations(sorted({i for pair in edges for i in pair}), 3):
        circle = [(a, b), (b, c), (a, c)]
        if not all(pair in edges for pair in circle):
            continue
        left = edges[a, c].T @ edges[b, c] @ edges[a, b]
        closes = float(np.degrees(rotation_angle(left))) < CLOSED_DEG
        for pair in circle:
            closed[pair].append(closes)
            against[pair] += [] if closes else [other for other in circle if other != pair]
    wrong = [
        pair
        for pair, verdicts in closed.items()
        if len(verdicts) >= WITNESSES
        and not any(verdicts)
        and sum(any(closed[other]) for other in against[pair]) >= WITNESSES
    ]
    count = 1 + max((b for _, b in edges), default=0)
    left_over = [pair for pair in edges if pair not in wrong]
    if not wrong or not np.array_equal(parts(count, edges), parts(count, left_over)):
        return []
    return [p for p in pairs if (p.a, p.b) in wrong]
