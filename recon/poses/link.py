"""Pairwise matches to tracks: link first, sub-pixel after.

Semi-dense matchers tie a point to a cell, and say where it lies relative to its partner only: two
pairs that share a photo agree on the cell, not on the position. So cells (registry ids) are
linked, and a track's positions are then carried along its edges from one reference observation.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from corr.matches import Matches
from recon.poses.lens import Lens
from recon.poses.two_view import TwoView

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Linked:
    """Tracks as a packed table, sorted by track then photo; working pixels."""

    track: Int[np.ndarray, " m"]
    photo: Int[np.ndarray, " m"]
    uv: Float[np.ndarray, "m 2"]
    cut: int = 0  # matches that contradicted stronger ones

    @property
    def num_tracks(self) -> int:
        """How many tracks there are."""
        return int(self.track[-1]) + 1 if len(self.track) else 0

    def with_uv(self, uv: Float[np.ndarray, "m 2"]) -> "Linked":
        """The same tracks with other positions."""
        return Linked(self.track, self.photo, uv, self.cut)

    def select(self, keep: Bool[np.ndarray, " m"]) -> "Linked":
        """Some observations; tracks with fewer than two of them vanish, the rest is renumbered."""
        count = np.bincount(self.track[keep], minlength=self.num_tracks)
        keep = keep & (count >= 2)[self.track]
        _, track = np.unique(self.track[keep], return_inverse=True)
        return Linked(track, self.photo[keep], self.uv[keep], self.cut)


@dataclass(frozen=True, eq=False)
class _Edges:
    """Verified matches between nodes (places in photos), strongest first."""

    node_a: Int[np.ndarray, " e"]
    node_b: Int[np.ndarray, " e"]
    uv_a: Float[np.ndarray, "e 2"]
    uv_b: Float[np.ndarray, "e 2"]
    weight: Float[np.ndarray, " e"]
    photo_of_node: Int[np.ndarray, " v"]


def link(
    matches: Mapping[tuple[int, int], Matches],
    pairs: Sequence[TwoView],
    scales: Sequence[float],
    *,
    cell_px: float = 1.0,
) -> Linked:
    """Tracks from the inliers of all verified pairs.

    Union-find over edges from the strongest to the weakest; an edge whose union would put a
    track at two places of one photo is cut instead, so a wrong match costs itself and not the
    tracks it touches.

    Args:
        matches: By photo indices, original pixels.
        pairs: Verified geometry; only the inliers of verified pairs are linked.
        scales: Working pixels per original pixel, of every photo.
        cell_px: Matches without ids are the same place in a photo when they fall into the same
            cell of this size, working pixels.
    """
    edges = _edges(matches, [p for p in pairs if p.verified], scales, cell_px)
    root, kept = _union(edges)
    table = _positions(edges, root, kept)
    linked = Linked(*table, cut=int((~kept).sum()))
    lengths = np.bincount(linked.track) if linked.num_tracks else np.zeros(1)
    log.info(
        "link: %d tracks, mean length %.2f, %d of %d matches cut",
        linked.num_tracks, lengths.mean(), linked.cut, len(kept),
    )  # fmt: skip
    return linked


def thin(tracks: Linked, lenses: Sequence[Lens], *, per_cell: int = 3, grid: int = 16) -> Linked:
    """The longest tracks in every part of every photo: enough to place cameras, quickly.

    Args:
        tracks: All tracks.
        lenses: Of every photo, working pixels.
        per_cell: Tracks kept per cell of a photo.
        grid: Cells per side of a photo.
    """
    length = np.bincount(tracks.track, minlength=tracks.num_tracks)
    wanted = np.zeros(tracks.num_tracks, dtype=bool)
    for photo, lens in enumerate(lenses):
        rows = np.flatnonzero(tracks.photo == photo)
        size = np.array([lens.width, lens.height])
        cell = np.floor(tracks.uv[rows] / size * grid).astype(np.int64).clip(0, grid - 1)
        flat = cell[:, 0] * grid + cell[:, 1]
        order = np.lexsort((tracks.track[rows], -length[tracks.track[rows]], flat))
        start = np.searchsorted(flat[order], flat[order])
        rank = np.arange(len(order)) - start
        wanted[tracks.track[rows[order[rank < per_cell]]]] = True
    return tracks.select(wanted[tracks.track])


def _edges(
    matches: Mapping[tuple[int, int], Matches],
    pairs: Sequence[TwoView],
    scales: Sequence[float],
    cell_px: float,
) -> _Edges:
    keys: list[np.ndarray] = []
    columns: list[tuple[np.ndarray, ...]] = []
    for pair in pairs:
        m = matches[pair.a, pair.b].select(pair.inliers)
        uv_a, uv_b = m.uv_a * scales[pair.a], m.uv_b * scales[pair.b]
        for photo, uv, ids in ((pair.a, uv_a, m.id_a), (pair.b, uv_b, m.id_b)):
            if ids is not None:
                key = np.stack([np.full(len(m), photo), ids, np.full(len(m), -1)], -1)
            else:
                cell = np.floor(uv / cell_px).astype(np.int64)
                key = np.concatenate([np.full((len(m), 1), photo), cell], -1)
            keys.append(key)
        strength = len(pair.inliers) / max(pair.num_matches, 1)
        columns.append((uv_a, uv_b, m.score * strength))
    if not keys:
        none, empty = np.zeros(0, dtype=np.int64), np.zeros((0, 2))
        return _Edges(none, none, empty, empty, np.zeros(0), none)
    nodes, node = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    parts = np.split(node.ravel(), np.cumsum([len(k) for k in keys])[:-1])
    uv_a, uv_b, weight = (np.concatenate(c) for c in zip(*columns, strict=True))
    node_a, node_b = np.concatenate(parts[0::2]), np.concatenate(parts[1::2])
    order = np.lexsort((node_b, node_a, -weight))
    return _Edges(
        node_a[order], node_b[order], uv_a[order], uv_b[order], weight[order], nodes[:, 0]
    )


def _union(edges: _Edges) -> tuple[Int[np.ndarray, " v"], Bool[np.ndarray, " e"]]:
    """Root of every node, and which edges were kept."""
    parent = list(range(len(edges.photo_of_node)))
    photos: list[dict[int, int] | None] = [{int(p): i} for i, p in enumerate(edges.photo_of_node)]

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    kept = np.ones(len(edges.node_a), dtype=bool)
    for e, (a, b) in enumerate(zip(edges.node_a.tolist(), edges.node_b.tolist(), strict=True)):
        a, b = find(a), find(b)
        if a == b:
            continue
        small, large = photos[a], photos[b]
        assert small is not None
        assert large is not None
        if len(small) > len(large):
            a, b, small, large = b, a, large, small
        if small.keys() & large.keys():
            kept[e] = False
            continue
        large.update(small)
        photos[a], parent[a] = None, b
    return np.array([find(i) for i in range(len(parent))], dtype=np.int64), kept


def _positions(
    edges: _Edges, root: Int[np.ndarray, " v"], kept: Bool[np.ndarray, " e"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One position per node, carried along the strongest edges from the track's reference.

    A match (uv_a, uv_b) says that the surroundings of uv_a map to those of uv_b; a point p near
    uv_a is then seen at uv_b + (p - uv_a), to first order and without turn or zoom.
    """
    neighbours: dict[int, list[tuple[int, float, np.ndarray, np.ndarray]]] = {}
    strength = np.zeros(len(root))
    mean = np.zeros((len(root), 2))
    for e in np.flatnonzero(kept).tolist():
        a, b, w = int(edges.node_a[e]), int(edges.node_b[e]), float(edges.weight[e])
        neighbours.setdefault(a, []).append((b, w, edges.uv_a[e], edges.uv_b[e]))
        neighbours.setdefault(b, []).append((a, w, edges.uv_b[e], edges.uv_a[e]))
        for node, uv in ((a, edges.uv_a[e]), (b, edges.uv_b[e])):
            strength[node] += w
            mean[node] += w * uv
    mean /= np.maximum(strength, 1e-12)[:, None]
    used = np.flatnonzero(strength > 0)
    order = used[np.lexsort((used, -strength[used], root[used]))]
    position: dict[int, np.ndarray] = {}
    for node in order.tolist():  # the strongest node of each track comes first
        if node in position:
            continue
        position[node] = mean[node]
        front = [node]
        while front:
            reached: dict[int, tuple[float, np.ndarray]] = {}
            for p in front:
                for q, w, uv_p, uv_q in neighbours[p]:
                    if q in position:
                        continue
                    total, value = reached.get(q, (0.0, np.zeros(2)))
                    reached[q] = (total + w, value + w * (uv_q + position[p] - uv_p))
            position.update({q: value / total for q, (total, value) in reached.items()})
            front = list(reached)
    nodes = used[np.lexsort((edges.photo_of_node[used], root[used]))]
    _, track = np.unique(root[nodes], return_inverse=True)
    uv = np.array([position[n] for n in nodes.tolist()]).reshape(-1, 2)
    return track, edges.photo_of_node[nodes], uv
