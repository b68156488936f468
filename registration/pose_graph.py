"""Edges between scans: how far they can be believed, and the poses that fit them best."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from corr.geometry.rigid import Rigid3, rotation_angle

ROUNDS = 10  # of passing beliefs
CHANCE = 0.01  # that a triangle with a wrong edge closes
DOUBT = 0.02  # that a triangle of right edges does not
MOST_LOG_ODDS = 12.0


@dataclass(frozen=True, eq=False)
class Edge:
    """Two scans and how one lies in the other.

    Args:
        source: Index of one scan.
        target: Index of the other.
        target_from_source: The estimate.
        probability: That it is right, by itself.
        overlap: Share of the smaller scan that lies on the other.
        info: Of the estimate (rotation first, as Open3D has it); None = all alike.
        belief: That it is right, by itself and the triangles around it.
        support: Triangles with it that close, over edges that are believed.
        conflicts: Triangles with it that do not.
    """

    source: int
    target: int
    target_from_source: Rigid3
    probability: float
    overlap: float = float("nan")
    info: Float[np.ndarray, "6 6"] | None = None
    belief: float = float("nan")
    support: int = 0
    conflicts: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """(source, target)."""
        return self.source, self.target

    @property
    def consecutive(self) -> bool:
        """The scans follow each other in the recording."""
        return abs(self.source - self.target) == 1

    def between(self, a: int, b: int) -> Rigid3:
        """`a_from_b`, whichever of the two is the source."""
        if (a, b) == (self.target, self.source):
            return self.target_from_source
        return self.target_from_source.inverse()


@dataclass(frozen=True)
class Closure:
    """How well a triangle of edges must close."""

    rotation_rad: float
    translation: float  # data's unit

    def holds(self, error: Rigid3) -> bool:
        """The transform around the triangle is close enough to none."""
        return (
            rotation_angle(error.R) <= self.rotation_rad
            and float(np.linalg.norm(error.t)) <= self.translation
        )


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
                found.append(((ab, bc, ac), closure.holds(_about(around, centres[a]))))
    return found


def _about(transform: Rigid3, centre: np.ndarray) -> Rigid3:
    """The same motion with its translation measured at a point instead of the origin."""
    return Rigid3(transform.R, transform.apply(centre) - centre)


def _logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return float(np.log(p / (1 - p)))


def _expit(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def groups(nodes: Iterable[int], edges: Iterable[Edge]) -> list[list[int]]:
    """Connected scans, the largest group first (of equal ones, that with the lowest index)."""
    root = {n: n for n in nodes}

    def find(n: int) -> int:
        while root[n] != n:
            root[n] = root[root[n]]
            n = root[n]
        return n

    for e in edges:
        a, b = sorted((find(e.source), find(e.target)))
        root[b] = a
    members: dict[int, list[int]] = defaultdict(list)
    for n in sorted(root):
        members[find(n)].append(n)
    return sorted(members.values(), key=lambda group: (-len(group), group[0]))


def spanning_tree(group: Sequence[int], edges: Sequence[Edge]) -> list[Edge]:
    """The most believed edges that connect the scans of a group without a circle (Kruskal)."""
    label = {n: n for n in group}
    tree = []
    for e in sorted(edges, key=lambda e: (-_weight(e), e.key)):
        a, b = label[e.source], label[e.target]
        if a != b:
            tree.append(e)
            label = {n: a if at == b else at for n, at in label.items()}
    return tree


def chained(group: Sequence[int], edges: Sequence[Edge]) -> dict[int, Rigid3]:
    """`world_from_scan` along the most believed tree; the first scan's frame is the world."""
    tree = spanning_tree(group, edges)
    poses = {group[0]: Rigid3.identity()}
    while len(poses) < len(group):
        for e in tree:
            for a, b in (e.key, e.key[::-1]):
                if a in poses and b not in poses:
                    poses[b] = poses[a] @ e.between(a, b)
    return {n: poses[n] for n in group}


def _weight(edge: Edge) -> float:
    belief = edge.belief if np.isfinite(edge.belief) else edge.probability
    overlap = edge.overlap if np.isfinite(edge.overlap) else 1.0
    return belief * (0.2 + overlap) + (1.0 if edge.consecutive else 0.0)


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
            (hops, -_weight(e), e.key, e)
            for e in waiting
            for hops, moved in [chains[e.key]]
            if drift.allows(_about(moved.inverse() @ e.target_from_source, centres[e.source]), hops)
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


@dataclass(frozen=True)
class Pruning:
    """Open3D's global optimisation: what it may drop."""

    distance: float  # largest distance of corresponding points, data's unit
    threshold: float = 0.25  # of a loop's line process
    preference: float = 20.0  # of loops over neighbours in the order


def balanced(info: Float[np.ndarray, "6 6"]) -> Float[np.ndarray, "6 6"]:
    """Information (rotation first) of a link whose error is more than its points' noise.

    Fragments are bent by centimetres, so a link errs alike in all directions, however well its
    points fix it: `n * diag(3, 3, 3, 1, 1, 1)` for its n points is added.
    """
    return info + info[5, 5] * np.diag([3.0, 3.0, 3.0, 1.0, 1.0, 1.0])


def optimised(
    group: Sequence[int], edges: Sequence[Edge], pruning: Pruning, *, certain: set[tuple[int, int]]
) -> tuple[dict[int, Rigid3], list[Edge]]:
    """`world_from_scan` by Levenberg-Marquardt, and the edges that were not pruned.

    Args:
        group: Connected scans; the first one's frame is the world.
        edges: Among them.
        pruning: Line-process settings.
        certain: Edges (source, target) that are not to be pruned.
    """
    import open3d as o3d

    registration: Any = o3d.pipelines.registration
    number = {n: k for k, n in enumerate(group)}
    graph = registration.PoseGraph()
    for pose in chained(group, edges).values():
        graph.nodes.append(registration.PoseGraphNode(pose.matrix))
    for e in edges:
        info = np.eye(6) if e.info is None else balanced(e.info)
        graph.edges.append(
            registration.PoseGraphEdge(
                number[e.source], number[e.target], e.target_from_source.matrix, info,
                uncertain=e.key not in certain, confidence=1.0,
            )
        )  # fmt: skip
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        registration.global_optimization(
            graph,
            registration.GlobalOptimizationLevenbergMarquardt(),
            registration.GlobalOptimizationConvergenceCriteria(),
            registration.GlobalOptimizationOption(
                max_correspondence_distance=pruning.distance,
                edge_prune_threshold=pruning.threshold,
                preference_loop_closure=pruning.preference,
                reference_node=0,
            ),
        )
    poses = {n: _pose(graph.nodes[number[n]].pose) for n in group}
    left = {(group[e.source_node_id], group[e.target_node_id]) for e in graph.edges}
    world = poses[group[0]].inverse()
    return {n: world @ pose for n, pose in poses.items()}, [e for e in edges if e.key in left]


def _pose(matrix: np.ndarray) -> Rigid3:
    U, _, Vt = np.linalg.svd(matrix[:3, :3])
    return Rigid3(U @ Vt, matrix[:3, 3])


def residual(edge: Edge, poses: Mapping[int, Rigid3], centre: np.ndarray) -> Rigid3:
    """What is left between an edge and the poses, measured at a point of the source scan."""
    fitted = poses[edge.target].inverse() @ poses[edge.source]
    return _about(fitted.inverse() @ edge.target_from_source, centre)
