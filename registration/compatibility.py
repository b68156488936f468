"""Which matches can be true together: a graph over matches, and its strongest triangles."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt64
from numba import njit, prange

EDGES_PER_MATCH = 4  # of the compatibility graph that may vote
NOISE_SIGMAS = 2.5  # standard deviations that still count as noise


@dataclass(frozen=True, eq=False)
class Pairing:
    """The matched points themselves, row by row."""

    source: Float[np.ndarray, "m 3"]
    target: Float[np.ndarray, "m 3"]
    source_normals: Float[np.ndarray, "m 3"] | None = None
    target_normals: Float[np.ndarray, "m 3"] | None = None
    signed: bool = False  # the normals' signs may be compared
    noise: Float[np.ndarray, " m"] | None = None  # standard deviation of a true match's distance

    def __len__(self) -> int:
        return len(self.source)

    def bounds(self, bound: float) -> Float[np.ndarray, " m"]:
        """Largest residual of each true match: `bound`, and its noise on top where it is known."""
        if self.noise is None:
            return np.full(len(self), float(bound))
        return np.hypot(bound, NOISE_SIGMAS * self.noise)


@dataclass(frozen=True, eq=False)
class Cliques:
    """Triples of mutually compatible matches, strongest first."""

    members: Int[np.ndarray, "k 3"]
    strength: Float[np.ndarray, " k"]  # of the edge that the triple stands on


@dataclass(frozen=True, eq=False)
class Graph:
    """Compatibility of matches: bit rows, and packed edges i < j with their strength."""

    bits: UInt64[np.ndarray, "m w"]
    first: Int[np.ndarray, " e"]
    second: Int[np.ndarray, " e"]
    strength: Float[np.ndarray, " e"]  # how many matches agree with both ends
    support: Float[np.ndarray, " m"]  # summed strength of a match's edges


def compatibility_graph(
    pairs: Pairing, *, tolerance: float, shortest: float, angle: float = 0.6
) -> Graph:
    """Second-order compatibility: edges join matches that preserve length and angles.

    Two matches are compatible if the distance between their points is the same in both clouds
    within `tolerance` and longer than `shortest`, and, with normals, if the angles of the two
    normals with the line between the points and with each other agree. An edge's strength is the
    number of matches that are compatible with both ends.

    Args:
        pairs: Matched points; normals may be absent.
        tolerance: Unit of the points; widened by the noise of the two matches where it is known.
        shortest: Below it distances say little about a rotation; unit of the points.
        angle: Largest difference of two angles, radians.

    Source: Chen et al., SC2-PCR, CVPR 2022, section 3.2; point-pair features: Drost et al.,
    CVPR 2010.
    """
    m = len(pairs)
    normals = pairs.source_normals is not None and pairs.target_normals is not None
    none = np.zeros((m, 3), np.float32)
    noise = np.zeros(m, np.float32) if pairs.noise is None else _single(pairs.noise)
    bits = _adjacency(
        _single(pairs.source.T), _single(pairs.target.T),
        _single(pairs.source_normals) if normals else none,
        _single(pairs.target_normals) if normals else none,
        np.float32(tolerance**2), np.float32(NOISE_SIGMAS**2) * noise**2,
        np.float32(shortest), np.float32(angle),
        2 if normals and pairs.signed else int(normals),
    )  # fmt: skip
    first, second, strength = _edges(bits)
    support = np.bincount(first, strength, m) + np.bincount(second, strength, m)
    return Graph(bits, first, second, strength, support)


def _single(values: np.ndarray | None) -> np.ndarray:
    assert values is not None
    return np.ascontiguousarray(values, dtype=np.float32)


def strongest_cliques(
    graph: Graph, count: int, per_edge: int = 2, per_match: int = EDGES_PER_MATCH
) -> Cliques:
    """Triangles on the strongest edges, each with its best third matches.

    Every match brings its own best edges only: else the many edges among the matches of one
    motion would take all places, and a second motion would never be voted for.

    Source: pivots and three-cliques as in TurboReg (Yan et al., ICCV 2025); the share per match
    is ours.
    """
    pivots = strongest_edges(graph, count, per_match)
    members, strength = _third(
        graph.bits, graph.first[pivots], graph.second[pivots], graph.strength[pivots], per_edge
    )  # fmt: skip
    keep = strength > 0
    return Cliques(members[keep], strength[keep])


def strongest_edges(
    graph: Graph, count: int, per_match: int = EDGES_PER_MATCH
) -> Int[np.ndarray, " e"]:
    """Every match's best edge first, strongest ahead, then the second best, and so on.

    Args:
        graph: The graph.
        count: Edges wanted at most.
        per_match: Edges of one match that are considered.
    """
    best = _best_of_each(graph.first, graph.second, graph.strength, len(graph.support), per_match)
    rank = np.broadcast_to(np.arange(per_match), best.shape)[best >= 0]
    edges = best[best >= 0]
    order = np.lexsort((edges, -graph.strength[edges], rank))
    _, first = np.unique(edges[order], return_index=True)
    return edges[order[np.sort(first)[:count]]]


@njit(inline="always")
def _differs(a, b, limit, signed):
    """Whether two cosines, read as angles, differ by more than the limit."""
    if signed < 2:
        a, b = abs(a), abs(b)
    a = np.arccos(min(max(a, np.float32(-1)), np.float32(1)))
    b = np.arccos(min(max(b, np.float32(-1)), np.float32(1)))
    return abs(a - b) > limit


@njit(inline="always")
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(inline="always")
def _angles_agree(p, q, n, m, i, j, angle, signed):
    """Whether the normals of two matches lie alike to each other and to the line between them."""
    px, py, pz = p[0, j] - p[0, i], p[1, j] - p[1, i], p[2, j] - p[2, i]
    qx, qy, qz = q[0, j] - q[0, i], q[1, j] - q[1, i], q[2, j] - q[2, i]
    a = np.sqrt(px * px + py * py + pz * pz)
    b = np.sqrt(qx * qx + qy * qy + qz * qz)
    if _differs(_dot(n[i], n[j]), _dot(m[i], m[j]), angle, signed):
        return False
    x = (n[i, 0] * px + n[i, 1] * py + n[i, 2] * pz) / a
    y = (m[i, 0] * qx + m[i, 1] * qy + m[i, 2] * qz) / b
    if _differs(x, y, angle, signed):
        return False
    x = (n[j, 0] * px + n[j, 1] * py + n[j, 2] * pz) / a
    y = (m[j, 0] * qx + m[j, 1] * qy + m[j, 2] * qz) / b
    return not _differs(x, y, angle, signed)


@njit(parallel=True, cache=True)
def _adjacency(p, q, n, m, tolerance2, noise2, shortest, angle, signed):
    """Bit rows of the compatible matches; p and q are 3 x size, a `2` marks squared lengths.

    Lengths first, without a branch, 64 matches at a time: that is the bulk of the work.
    """
    size = p.shape[1]
    words = (size + 63) // 64
    bits = np.zeros((size, words), np.uint64)
    for i in prange(size):
        near = np.empty(64, np.bool_)
        for w in range(words):
            start = 64 * w
            count = min(64, size - start)
            some = False
            for k in range(count):
                j = start + k
                px, py, pz = p[0, j] - p[0, i], p[1, j] - p[1, i], p[2, j] - p[2, i]
                qx, qy, qz = q[0, j] - q[0, i], q[1, j] - q[1, i], q[2, j] - q[2, i]
                a = np.sqrt(px * px + py * py + pz * pz)
                b = np.sqrt(qx * qx + qy * qy + qz * qz)
                alike = (a - b) * (a - b) <= tolerance2 + noise2[i] + noise2[j]
                near[k] = alike & (a >= shortest) & (b >= shortest)
                some |= near[k]
            if not some:
                continue
            for k in range(count):
                if near[k] and (
                    signed == 0 or _angles_agree(p, q, n, m, i, start + k, angle, signed)
                ):
                    bits[i, w] |= np.uint64(1) << np.uint64(k)
        bits[i, i >> 6] &= ~(np.uint64(1) << np.uint64(i & 63))
    return bits


@njit(inline="always")
def _ones(x):
    """Number of set bits."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(parallel=True, cache=True)
def _degrees(bits):
    """Edges to later matches, per match."""
    out = np.zeros(len(bits), np.int64)
    for i in prange(len(bits)):
        for j in range(i + 1, len(bits)):
            out[i] += (bits[i, j >> 6] >> np.uint64(j & 63)) & np.uint64(1)
    return out


@njit(parallel=True, cache=True)
def _fill_edges(bits, start):
    first = np.empty(start[-1], np.int64)
    second = np.empty(start[-1], np.int64)
    strength = np.empty(start[-1], np.float64)
    for i in prange(len(bits)):
        at = start[i]
        for j in range(i + 1, len(bits)):
            if (bits[i, j >> 6] >> np.uint64(j & 63)) & np.uint64(1):
                common = np.uint64(0)
                for w in range(bits.shape[1]):
                    common += _ones(bits[i, w] & bits[j, w])
                first[at] = i
                second[at] = j
                strength[at] = common
                at += 1
    return first, second, strength


def _edges(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start = np.zeros(len(bits) + 1, np.int64)
    np.cumsum(_degrees(bits), out=start[1:])
    return _fill_edges(bits, start)


@njit(cache=True)
def _best_of_each(first, second, strength, matches, per_match):
    """The strongest edges of every match, m x per_match, -1 where it has fewer."""
    best = np.full((matches, per_match), -1, np.int64)
    for e in range(len(first)):
        for end in (first[e], second[e]):
            row = best[end]
            at = per_match - 1
            if row[at] >= 0 and strength[row[at]] >= strength[e]:
                continue
            while at > 0 and (row[at - 1] < 0 or strength[row[at - 1]] < strength[e]):
                row[at] = row[at - 1]
                at -= 1
            row[at] = e
    return best


@njit(parallel=True, cache=True)
def _third(bits, first, second, strength, per_edge):
    """For each edge the common neighbours that most matches agree with, together with both ends."""
    members = np.zeros((len(first), per_edge, 3), np.int64)
    values = np.zeros((len(first), per_edge))
    words = bits.shape[1]
    for e in prange(len(first)):
        i, j = first[e], second[e]
        common = bits[i] & bits[j]
        best = np.zeros(per_edge, np.uint64)
        who = np.full(per_edge, -1, np.int64)
        for w in range(words):
            left = common[w]
            while left:
                k = 64 * w + int(_ones((left & (~left + np.uint64(1))) - np.uint64(1)))
                left &= left - np.uint64(1)
                agree = np.uint64(1)
                for v in range(words):
                    agree += _ones(common[v] & bits[k, v])
                at = per_edge - 1
                if agree > best[at]:
                    while at > 0 and agree > best[at - 1]:
                        best[at], who[at] = best[at - 1], who[at - 1]
                        at -= 1
                    best[at], who[at] = agree, k
        for s in range(per_edge):
            if who[s] >= 0:
                members[e, s, 0], members[e, s, 1], members[e, s, 2] = i, j, who[s]
                values[e, s] = strength[e]
    return members.reshape(-1, 3), values.ravel()
