"""Where was a scan taken from? Estimated from the scan, when nobody says."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numba import njit, prange
from scipy.spatial import cKDTree

SAMPLES = 1500  # points looked at
NEIGHBOURS = 8
GRID = 9  # candidates per axis and round
ROUNDS = 3
CELLS = 30  # rows of the direction grid, 6 degrees each
MARGIN = 6.0  # voxels behind the nearest point of a cell that still count as seen
FLIP_COST = 10.0
GRAZING_COST = 0.3
RIVAL_COST = 0.25  # a rival may cost this much more
CONTRADICTION = 0.45  # how much more a stated place may cost than the inferred one
RIVAL_AGREEMENT = 0.4  # share of surfaces that it turns to the same side, at most


def infer_viewpoint(
    xyz: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], voxel: float
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"] | None]:
    """The place from which the scan's visible side is most consistent.

    From the true place, no surface is seen from both sides: neighbouring points with nearly
    parallel normals turn the same side to it. And little of the scan hides behind other parts of
    it. A coarse-to-fine grid over and around the bounding box minimises the two together.

    Args:
        xyz: Points.
        normals: Their unit normals, signs arbitrary.
        voxel: Working resolution, unit of xyz.

    Returns:
        The estimated place, and a rival on the other side of most surfaces where that is nearly
        as plausible (a wall seen from behind). Only the side of each surface that a place lies on
        is meant to be used.
    """
    scan = _Scan.of(xyz, normals, MARGIN * voxel)
    low, high = np.percentile(scan.points, [2, 98], axis=0)
    centre, half = (low + high) / 2, 0.75 * (high - low) + voxel
    rival = None
    for step in range(ROUNDS):
        axes = [np.linspace(c - h, c + h, GRID) for c, h in zip(centre, half, strict=True)]
        candidates = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        cost = scan.costs(candidates)
        best = int(np.argmin(cost))
        if step == 0:
            rival = _rival(candidates, cost, best, scan.points, scan.normals)
        centre, half = candidates[best], half * (2.0 / (GRID - 1))
    return centre, rival


def contradicted(
    xyz: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    voxel: float,
    place: Float[np.ndarray, " 3"],
) -> bool:
    """Whether the scan can hardly have been taken from a place that somebody stated.

    It is when far more surfaces than from the inferred place would be seen from both sides or
    hide behind others. The bound lies above what the true places of the 3DMatch fragments show,
    which are fused from many views (0.43 at most); a place that is wrong by less goes unnoticed.
    """
    scan = _Scan.of(xyz, normals, MARGIN * voxel)
    inferred, _ = infer_viewpoint(xyz, normals, voxel)
    costs = scan.costs(np.stack([inferred, np.asarray(place, np.float64)]))
    return bool(costs[1] - costs[0] > CONTRADICTION)


@dataclass(frozen=True, eq=False)
class _Scan:
    """A sample of a scan's points, and which of them are smooth neighbours."""

    points: np.ndarray
    normals: np.ndarray
    first: np.ndarray
    second: np.ndarray
    cosine: np.ndarray  # of the two normals
    margin: float

    @classmethod
    def of(cls, xyz: np.ndarray, normals: np.ndarray, margin: float) -> "_Scan":
        pick = np.linspace(0, len(xyz) - 1, min(SAMPLES, len(xyz))).astype(np.int64)
        points = np.ascontiguousarray(xyz[pick], dtype=np.float64)
        directions = np.ascontiguousarray(normals[pick], dtype=np.float64)
        _, index = cKDTree(points).query(points, k=min(NEIGHBOURS + 1, len(points)))
        first = np.repeat(np.arange(len(points)), index.shape[1] - 1)
        second = index[:, 1:].ravel()
        cosine = np.einsum("ni,ni->n", directions[first], directions[second])
        smooth = np.abs(cosine) > 0.6
        return cls(points, directions, first[smooth], second[smooth], cosine[smooth], margin)

    def costs(self, places: np.ndarray) -> np.ndarray:
        return _costs(
            places, self.points, self.normals, self.first, self.second, self.cosine, self.margin
        )


def _rival(candidates, cost, best: int, points, directions) -> np.ndarray | None:
    """The cheapest place that turns most surfaces round, unless it costs far more."""
    near = np.flatnonzero(cost < cost[best] + RIVAL_COST)
    near = near[np.argsort(cost[near], kind="stable")]
    side = np.einsum("ni,ni->n", candidates[best] - points, directions) > 0
    for c in near:
        other = np.einsum("ni,ni->n", candidates[c] - points, directions) > 0
        if (side == other).mean() < RIVAL_AGREEMENT:
            return candidates[c]
    return None


@njit(parallel=True, cache=True)
def _costs(candidates, points, directions, first, second, cosine, margin):
    """Share of smooth neighbours seen from opposite sides, plus the share of hidden points.

    Flips are weighted by the slant, so that surfaces seen edge-on hardly count.
    """
    out = np.empty(len(candidates))
    for c in prange(len(candidates)):
        slant = np.empty(len(points))
        distance = np.empty(len(points))
        cell = np.empty(len(points), np.int64)
        nearest = np.full(2 * CELLS * CELLS, np.inf)
        grazing = 0.0
        for i in range(len(points)):
            x = candidates[c, 0] - points[i, 0]
            y = candidates[c, 1] - points[i, 1]
            z = candidates[c, 2] - points[i, 2]
            d = max(np.sqrt(x * x + y * y + z * z), 1e-12)
            n = directions[i]
            slant[i] = (x * n[0] + y * n[1] + z * n[2]) / d
            grazing += abs(slant[i]) < 0.1
            row = min(int(np.arccos(min(max(z / d, -1.0), 1.0)) / np.pi * CELLS), CELLS - 1)
            column = int((np.arctan2(y, x) / (2 * np.pi) + 0.5) * 2 * CELLS)
            cell[i] = row * 2 * CELLS + min(column, 2 * CELLS - 1)
            distance[i] = d
            nearest[cell[i]] = min(nearest[cell[i]], d)
        hidden = 0.0
        for i in range(len(points)):
            hidden += distance[i] > nearest[cell[i]] + margin
        flips, total = 0.0, 1e-12
        for e in range(len(first)):
            a, b = slant[first[e]], slant[second[e]]
            total += abs(cosine[e])
            if a * b * cosine[e] < 0:
                flips += abs(cosine[e]) * min(abs(a), abs(b))
        out[c] = FLIP_COST * flips / total + (hidden + GRAZING_COST * grazing) / len(points)
    return out
