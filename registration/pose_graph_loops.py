"""Loops that agree with the chains of links between their scans."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corr.geometry.rigid import Rigid3
from registration.pose_graph import Closure, Edge, about, spanning_tree, weight


@dataclass(frozen=True)
class Drift:
    """How far a chain of right links may have gone astray: `start + per_hop * links`."""

    start: Closure
    per_hop: Closure

    def allows(self, error: Rigid3, hops: int) -> bool:
        """The error at the end of a chain is no more than drift."""
        return Closure(
            self.start.rotation_rad + hops * self.per_hop.rotation_rad,
            self.start.translation + hops * self.per_hop.translation,
        ).holds(error)


def agreeing(
    group: Sequence[int], edges: Sequence[Edge], centres: Mapping[int, np.ndarray], drift: Drift
) -> list[Edge]:
    """The most believed tree, and the loops that agree with the shortest chain between their scans.

    Loops are taken over the fewest links first; each shortens the chains of those after it.
    """
    kept = spanning_tree(group, edges)
    waiting = [e for e in edges if e not in kept]
    while waiting:
        chains = {e.key: _chain(kept, e.source, e.target) for e in waiting}
        fits = [
            (hops, -weight(e), e.key, e)
            for e in waiting
            for hops, moved in [chains[e.key]]
            if drift.allows(about(moved.inverse() @ e.target_from_source, centres[e.source]), hops)
        ]
        if not fits:
            break
        fewest = min(f[0] for f in fits)
        chosen = [f[3] for f in sorted(fits, key=lambda f: f[:3]) if f[0] == fewest]
        kept += chosen
        waiting = [e for e in waiting if e not in chosen]
    return kept


def _chain(edges: Sequence[Edge], source: int, target: int) -> tuple[int, Rigid3]:
    """(links, `target_from_source`) along the fewest links."""
    near: dict[int, list[Edge]] = defaultdict(list)
    for e in edges:
        near[e.source].append(e)
        near[e.target].append(e)
    reached = {source: (0, Rigid3.identity())}
    queue = [source]
    for n in queue:
        hops, n_from_source = reached[n]
        for e in near[n]:
            other = e.target if e.source == n else e.source
            if other not in reached:
                reached[other] = (hops + 1, e.between(other, n) @ n_from_source)
                queue.append(other)
    return reached[target]
