"""Motions that small sets of matches propose: one, two or three of them."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from registration.compatibility import Graph, Pairing, strongest_cliques, strongest_edges
from registration.kabsch import kabsch

NORMAL_ARM = 4.0  # voxels: lever at which a normal counts as much as a point
SPINS = 24  # turns about the normal that one match votes for


@dataclass(frozen=True, eq=False)
class Votes:
    """Weighted motions, `target = scale * R @ source + t`."""

    R: Float[np.ndarray, "k 3 3"]
    t: Float[np.ndarray, "k 3"]
    weight: Float[np.ndarray, " k"]
    log_scale: Float[np.ndarray, " k"]  # zero of a rigid motion

    @staticmethod
    def joined(parts: "list[Votes]") -> "Votes":
        """All votes of several rounds."""
        columns = zip(*((p.R, p.t, p.weight, p.log_scale) for p in parts), strict=True)
        return Votes(*(np.concatenate(c) for c in columns))

    def of_source_times(self, factor: float) -> "Votes":
        """Votes for the source itself, where these are for one `factor` times as large."""
        return replace(self, log_scale=self.log_scale + np.log(factor))


def from_triangles(pairs: Pairing, graph: Graph, count: int, voxel: float) -> Votes:
    """Three mutually compatible matches each; heavier where the triangle is strong and wide."""
    cliques = strongest_cliques(graph, count)
    return _fitted(pairs, cliques.members, cliques.strength, voxel)


def from_edges(pairs: Pairing, graph: Graph, count: int, voxel: float) -> Votes:
    """Two compatible oriented matches each: half as many true ones are needed for a vote.

    Raises:
        ValueError: The matches have no oriented normals.
    """
    if not _oriented(pairs):
        raise ValueError("votes of two matches need oriented normals")
    best = strongest_edges(graph, count)
    best = best[graph.strength[best] > 0]
    members = np.stack([graph.first[best], graph.second[best]], 1)
    return _fitted(pairs, members, graph.strength[best], voxel)


def from_points(pairs: Pairing, graph: Graph, count: int, voxel: float) -> Votes:
    """One oriented match each, turned about its normal in steps: true votes are linear in the
    inlier ratio.

    Raises:
        ValueError: The matches have no oriented normals.
    """  # noqa: D205
    if not _oriented(pairs):
        raise ValueError("votes of one match need oriented normals")
    best = np.argsort(-graph.support, kind="stable")[:count]
    best = best[graph.support[best] > 0]
    from_normal = _frames(pairs.source_normals[best])  # type: ignore[index]
    to_normal = _frames(pairs.target_normals[best])  # type: ignore[index]
    angle = 2 * np.pi * np.arange(SPINS) / SPINS
    spin = np.zeros((SPINS, 3, 3))
    spin[:, 0, 0] = spin[:, 1, 1] = np.cos(angle)
    spin[:, 1, 0], spin[:, 0, 1] = np.sin(angle), -np.sin(angle)
    spin[:, 2, 2] = 1
    R = np.einsum("nij,sjk,nlk->nsil", to_normal, spin, from_normal).reshape(-1, 3, 3)
    at = np.repeat(best, SPINS)
    t = pairs.target[at] - np.einsum("nij,nj->ni", R, pairs.source[at])
    return Votes(R, t, graph.support[at], np.zeros(len(R)))


def _oriented(pairs: Pairing) -> bool:
    return pairs.signed and pairs.source_normals is not None and pairs.target_normals is not None


def _frames(normals: np.ndarray) -> np.ndarray:
    """Rotations whose third column is the normal."""
    helper = np.where(np.abs(normals[:, :1]) < 0.7, [[1.0, 0, 0]], [[0.0, 1, 0]])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([first, np.cross(normals, first), normals], -1)


def _fitted(pairs: Pairing, members: np.ndarray, strength: np.ndarray, voxel: float) -> Votes:
    oriented = _oriented(pairs)
    R, t, singular = kabsch(
        pairs.source[members], pairs.target[members], None,
        pairs.source_normals[members] if oriented else None,  # type: ignore[index]
        pairs.target_normals[members] if oriented else None,  # type: ignore[index]
        direction_weight=(NORMAL_ARM * voxel) ** 2,
    )  # fmt: skip
    return Votes(R, t, strength * np.sqrt(singular[:, 1]) / voxel, np.zeros(len(R)))


PROPOSALS = {"triangles": from_triangles, "pairs": from_edges, "points": from_points}
