"""Scans as nodes, estimates between two of them as edges: groups, trees, chains, residuals."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from corr.geometry.rigid import Rigid3, rotation_angle


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


def about(transform: Rigid3, centre: np.ndarray) -> Rigid3:
    """The same motion with its translation measured at a point instead of the origin."""
    return Rigid3(transform.R, transform.apply(centre) - centre)


def residual(edge: Edge, poses: Mapping[int, Rigid3], centre: np.ndarray) -> Rigid3:
    """What is left between an edge and the poses, measured at a point of the source scan."""
    fitted = poses[edge.target].inverse() @ poses[edge.source]
    return about(fitted.inverse() @ edge.target_from_source, centre)


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
    for e in sorted(edges, key=lambda e: (-weight(e), e.key)):
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


def weight(edge: Edge) -> float:
    """What the tree prefers: belief, the more so the more surface it rests on; neighbours first."""
    belief = edge.belief if np.isfinite(edge.belief) else edge.probability
    overlap = edge.overlap if np.isfinite(edge.overlap) else 1.0
    return belief * (0.2 + overlap) + (1.0 if edge.consecutive else 0.0)
