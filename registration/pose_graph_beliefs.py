"""How far edges can be believed, from the triangles around them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from registration.pose_graph import Closure, Edge, about

ROUNDS = 10  # of passing beliefs
CHANCE = 0.01  # that a triangle with a wrong edge closes
DOUBT = 0.02  # that a triangle of right edges does not
MOST_LOG_ODDS = 12.0


def believed(
    edges: Sequence[Edge], closure: Closure, centres: Mapping[int, np.ndarray]
) -> list[Edge]:
    """The edges with their belief, from their own probability and the triangles around them.

    A closing triangle speaks for an edge as far as its other two edges are believed, one that stays
    open against it: log-odds(e) = logit(p_e) + sum over triangles of log(P(seen | right) /
    P(seen | wrong)), iterated with the beliefs of the others. Triangles are taken as independent;
    the sum is therefore capped.

    Args:
        edges: One per pair of scans at most.
        closure: When a triangle counts as closed.
        centres: A point in the middle of each scan (in its frame), where closing is measured.
    """
    triangles = _triangles(edges, closure, centres)
    own = np.array([_logit(e.probability) for e in edges])
    belief = _expit(own)
    for _ in range(ROUNDS):
        total = np.zeros(len(edges))
        for three, closes in triangles:
            for k, edge in enumerate(three):
                others = belief[three[(k + 1) % 3]] * belief[three[(k + 2) % 3]]
                total[edge] += _evidence(others, closes)
        belief = _expit(own + np.clip(total, -MOST_LOG_ODDS, MOST_LOG_ODDS))
    support, conflicts = np.zeros(len(edges), int), np.zeros(len(edges), int)
    for three, closes in triangles:
        for k, edge in enumerate(three):
            if min(belief[three[(k + 1) % 3]], belief[three[(k + 2) % 3]]) > 0.5:
                (support if closes else conflicts)[edge] += 1
    return [
        replace(e, belief=float(b), support=int(s), conflicts=int(c))
        for e, b, s, c in zip(edges, belief, support, conflicts, strict=True)
    ]


def _evidence(others: float, closes: bool) -> float:
    """Log-likelihood ratio for an edge, of a triangle whose other edges are right with `others`."""
    if closes:
        return float(np.log((others * (1 - DOUBT) + CHANCE * (1 - others)) / CHANCE))
    return float(np.log(others * DOUBT + (1 - others)) - np.log(1 - CHANCE))


def _triangles(
    edges: Sequence[Edge], closure: Closure, centres: Mapping[int, np.ndarray]
) -> list[tuple[tuple[int, int, int], bool]]:
    """Every three edges around three scans, and whether they close."""
    number: dict[frozenset[int], int] = {
        frozenset((e.source, e.target)): k for k, e in enumerate(edges)
    }
    near: dict[int, set[int]] = defaultdict(set)
    for e in edges:
        near[e.source].add(e.target)
        near[e.target].add(e.source)
    found = []
    for a in sorted(near):
        for b in sorted(n for n in near[a] if n > a):
            for c in sorted(n for n in near[a] & near[b] if n > b):
                ab, bc, ac = (number[frozenset(p)] for p in ((a, b), (b, c), (a, c)))
                around = edges[ab].between(a, b) @ edges[bc].between(b, c)
                around = around @ edges[ac].between(c, a)
                found.append(((ab, bc, ac), closure.holds(about(around, centres[a]))))
    return found


def _logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return float(np.log(p / (1 - p)))


def _expit(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))
