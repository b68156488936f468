"""Which matches can be true together: a graph over matches, and its strongest triangles."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt64
from numba import njit, prange


@dataclass(frozen=True, eq=False)
class Pairing:
    """The matched points themselves, row by row."""

    source: Float[np.ndarray, "m 3"]
    target: Float[np.ndarray, "m 3"]
    source_normals: Float[np.ndarray, "m 3"] | None = None
    target_normals: Float[np.ndarray, "m 3"] | None = None
    signed: bool = False  # the normals' signs may be compared

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class Cliques:
    """Triples of mutually compatible matches, strongest first."""

    members: Int[np.ndarray, "k 3"]
    strength: Float[np.ndarray, " k"]


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
        tolerance: Unit of the points.
        shortest: Below it distances say little about a rotation; unit of the points.
        angle: Largest difference of two angles, radians.

    Source: Chen et al., SC2-PCR, CVPR 2022, section 3.2; point-pair features: Drost et al.,
    CVPR 2010.
    """
    m = len(pairs)
    normals = pairs.source_normals is not None and pairs.target_normals is not None
    none = np.zeros((m, 3), np.float32)
    bits = _adjacency(
        _single(pairs.source), _single(pairs.target),
        _single(pairs.source_normals) if normals else none,
        _single(pairs.target_normals) if normals else none,
        np.float32(tolerance), np.float32(shortest), np.float32(angle),
        2 if normals and pairs.signed else int(normals),
    )  # fmt: skip
    first, second, strength = _edges(bits)
    support = np.bincount(first, strength, m) + np.bincount(second, strength, m)
    return Graph(bits, first, second, strength, support)


def _single(values: np.ndarray | None) -> np.ndarray:
    assert values is not None
    return np.ascontiguousarray(values, dtype=np.float32)


def strongest_cliques(graph: Graph, count: int, per_edge: int = 2) -> Cliques:
    """Triangles on the strongest edges, each with its best third matches.

    Source: pivots and three-cliques as in TurboReg (Yan et al., ICCV 2025).
    """
    pivots = np.argsort(-graph.strength, kind="stable")[:count]
    members, strength = _third(
        graph.bits, graph.first[pivots], graph.second[pivots], graph.strength[pivots],
        graph.support, per_edge,
    )  # fmt: skip
    keep = strength > 0
    return Cliques(members[keep], strength[keep])


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
def _compatible(p, q, n, m, i, j, tolerance, shortest, angle, signed):
    px, py, pz = p[j, 0] - p[i, 0], p[j, 1] - p[i, 1], p[j, 2] - p[i, 2]
    qx, qy, qz = q[j, 0] - q[i, 0], q[j, 1] - q[i, 1], q[j, 2] - q[i, 2]
    a = np.sqrt(px * px + py * py + pz * pz)
    b = np.sqrt(qx * qx + qy * qy + qz * qz)
    if abs(a - b) > tolerance or a < shortest or b < shortest:
        return False
    if signed == 0:
        return True
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
def _adjacency(p, q, n, m, tolerance, shortest, angle, signed):
    size = len(p)
    bits = np.zeros((size, (size + 63) // 64), np.uint64)
    for i in prange(size):
        for j in range(size):
            if i != j and _compatible(p, q, n, m, i, j, tolerance, shortest, angle, signed):
                bits[i, j >> 6] |= np.uint64(1) << np.uint64(j & 63)
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


@njit(parallel=True, cache=True)
def _third(bits, first, second, strength, support, per_edge):
    """The common neighbours of most support for each edge."""
    members = np.zeros((len(first), per_edge, 3), np.int64)
    values = np.zeros((len(first), per_edge))
    for e in prange(len(first)):
        i, j = first[e], second[e]
        best = np.zeros(per_edge)
        who = np.full(per_edge, -1, np.int64)
        for w in range(bits.shape[1]):
            common = bits[i, w] & bits[j, w]
            for b in range(64):
                if common >> np.uint64(b) == 0:
                    break
                if (common >> np.uint64(b)) & np.uint64(1):
                    k = 64 * w + b
                    at = per_edge - 1
                    if support[k] > best[at]:
                        while at > 0 and support[k] > best[at - 1]:
                            best[at], who[at] = best[at - 1], who[at - 1]
                            at -= 1
                        best[at], who[at] = support[k], k
        for s in range(per_edge):
            if who[s] >= 0:
                members[e, s, 0], members[e, s, 1], members[e, s, 2] = i, j, who[s]
                values[e, s] = strength[e]
    return members.reshape(-1, 3), values.ravel()
