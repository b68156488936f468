"""The last rung: cameras from relative poses alone, without a first pair that others join.

Rotations of verified pairs are averaged; every pair's own depths of tracks that another pair sees
from a common photo tell the length of its baseline relative to the other's; then all camera
centres follow at once from directions and lengths. It needs no point that three photos see well.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from corr.geometry import Rigid3, rotation_angle
from recon.poses.bundle import Bundle
from recon.poses.intrinsics import Group
from recon.poses.lens import Lens
from recon.poses.link import Linked
from recon.poses.two_view import Verification, centred_camera, ransac_options

log = logging.getLogger(__name__)
ROUNDS = 30  # of the reweighted averaging, at most
CORE_DEG = 2.0  # rotation residual beyond which a pair counts less and less
WRONG_DEG = 20.0  # residual of a pair that belongs to another place
MIN_ANGLE_DEG = 0.5  # between rays, below which a depth says nothing
SHARED = 8  # tracks that tie the baselines of two pairs


@dataclass(frozen=True, eq=False)
class Edge:
    """A pair's own little model, baseline of length 1."""

    b_from_a: Rigid3
    track: Int[np.ndarray, " n"]  # with a depth in both photos
    depth_a: Float[np.ndarray, " n"]
    depth_b: Float[np.ndarray, " n"]
    weight: float  # inliers

    def depth(self, second: bool) -> Float[np.ndarray, " n"]:
        """Depths in photo a, or in photo b."""
        return self.depth_b if second else self.depth_a


def map_pose_graph(
    groups: Sequence[Group], tracks: Linked, pairs: Iterable[tuple[int, int]], seed: int
) -> Bundle | None:
    """Place the largest set of photos whose pairs can be brought to one scale; None if no pair.

    Source: rotation averaging by reweighted least squares on the rotations' Lie algebra:
    Chatterjee and Govindu, ICCV 2013; scales from shared depths as in hierarchical pipelines.
    """
    lens_of = {photo: k for k, group in enumerate(groups) for photo in group.photos}
    lenses = tuple(group.lens for group in groups)
    by_photo = {photo: lenses[k] for photo, k in lens_of.items()}
    edges = relative_models(tracks, sorted(pairs), by_photo, seed)
    if not edges:
        return None
    rotations = average_rotations({p: e.b_from_a.R for p, e in edges.items()},
                                  {p: e.weight for p, e in edges.items()})  # fmt: skip
    edges = {p: e for p, e in edges.items() if _residual_deg(p, e, rotations) < WRONG_DEG}
    if not edges:
        return None
    lengths = baseline_lengths(edges)
    poses = _positions({p: edges[p] for p in lengths}, lengths, rotations)
    return Bundle.without_points(poses, lenses, lens_of)


def relative_models(
    tracks: Linked, pairs: Sequence[tuple[int, int]], lens_of: Mapping[int, Lens], seed: int
) -> dict[tuple[int, int], Edge]:
    """Pose and depths of every pair from the tracks that both photos see."""
    rows_of = {i: np.flatnonzero(tracks.photo == i) for i in sorted({i for p in pairs for i in p})}
    found = {}
    for a, b in pairs:
        _, in_a, in_b = np.intersect1d(
            tracks.track[rows_of[a]], tracks.track[rows_of[b]], return_indices=True
        )
        if len(in_a) < SHARED:
            continue
        rows = rows_of[a][in_a], rows_of[b][in_b]
        edge = _relative_model(tracks, *rows, lens_of[a], lens_of[b], seed)
        if edge is not None:
            found[a, b] = edge
    return found


def _relative_model(
    tracks: Linked, rows_a: np.ndarray, rows_b: np.ndarray, lens_a: Lens, lens_b: Lens, seed: int
) -> Edge | None:
    import poselib

    xy_a, xy_b = lens_a.undistort(tracks.uv[rows_a]), lens_b.undistort(tracks.uv[rows_b])
    cameras = [centred_camera(lens.focal_px) for lens in (lens_a, lens_b)]
    pose, info = poselib.estimate_relative_pose(
        xy_a * lens_a.focal_px, xy_b * lens_b.focal_px, *cameras,
        ransac_options(Verification(seed=seed)), {},
    )  # fmt: skip
    inlier = np.array(info["inliers"], dtype=bool)
    if inlier.sum() < SHARED:
        return None
    b_from_a = Rigid3(pose.R, pose.t / max(float(np.linalg.norm(pose.t)), 1e-12))
    depth_a, depth_b, angle = ray_depths(xy_a, xy_b, b_from_a)
    good = inlier & (depth_a > 0) & (depth_b > 0) & (angle > MIN_ANGLE_DEG)
    return Edge(
        b_from_a, tracks.track[rows_a][good], depth_a[good], depth_b[good], float(inlier.sum())
    )


def ray_depths(
    xy_a: Float[np.ndarray, "n 2"], xy_b: Float[np.ndarray, "n 2"], b_from_a: Rigid3
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Depths (z) in both cameras where the two rays pass nearest, and their angle in degrees."""
    one = np.ones((len(xy_a), 1))
    p = np.concatenate([xy_a, one], -1) @ b_from_a.R.T  # ray of a in b's axes
    q = np.concatenate([xy_b, one], -1)
    pp, qq, pq = (p * p).sum(-1), (q * q).sum(-1), (p * q).sum(-1)
    pt, qt = p @ b_from_a.t, q @ b_from_a.t
    across = np.maximum(pp * qq - pq**2, 1e-15)
    depth_a, depth_b = (pq * qt - qq * pt) / across, (pp * qt - pq * pt) / across
    angle = np.degrees(np.arctan2(np.sqrt(across), np.abs(pq)))
    return depth_a, depth_b, angle


def average_rotations(
    relative: Mapping[tuple[int, int], Float[np.ndarray, "3 3"]],
    weights: Mapping[tuple[int, int], float],
) -> dict[int, Float[np.ndarray, "3 3"]]:
    """cam_from_world rotations of all photos that pairs connect to the best-connected part.

    Starts from the spanning tree of the heaviest pairs, then reweighted least squares in which a
    pair counts less the more it disagrees.

    Args:
        relative: Rotation b_from_a by pair (a, b).
        weights: Of the pairs.
    """
    rotations = _spanning_tree(relative, weights)
    photos = sorted(rotations)
    column = {photo: k for k, photo in enumerate(photos)}
    pairs = [p for p in relative if p[0] in column and p[1] in column]
    root = np.sqrt([weights[p] for p in pairs])
    for _ in range(ROUNDS if len(photos) > 1 else 0):
        residual = np.stack([_log(_cycle(p, relative[p], rotations)) for p in pairs])
        size = np.degrees(np.linalg.norm(residual, axis=-1))
        w = root * np.sqrt(CORE_DEG / np.maximum(size, CORE_DEG))
        A = np.zeros((len(pairs) + 1, len(photos)))
        for row, (a, b) in enumerate(pairs):
            A[row, column[b]], A[row, column[a]] = w[row], -w[row]
        A[-1, 0] = root.max()  # the first photo stays
        step = np.linalg.lstsq(A, np.vstack([w[:, None] * residual, np.zeros(3)]), rcond=None)[0]
        for photo, turn in zip(photos, step, strict=True):
            rotations[photo] = rotations[photo] @ _exp(turn)
        if np.abs(step).max() < 1e-10:
            break
    return rotations


def _cycle(pair: tuple[int, int], b_from_a: np.ndarray, rotations: Mapping) -> np.ndarray:
    """What is left of a pair's rotation, in world axes."""
    return rotations[pair[1]].T @ b_from_a @ rotations[pair[0]]


def _residual_deg(pair: tuple[int, int], edge: Edge, rotations: Mapping) -> float:
    if not set(pair) <= rotations.keys():
        return 180.0
    return float(np.degrees(rotation_angle(_cycle(pair, edge.b_from_a.R, rotations))))


def _log(R: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(R).as_rotvec()


def _exp(turn: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(turn).as_matrix()


def _spanning_tree(relative: Mapping, weights: Mapping) -> dict[int, np.ndarray]:
    """Rotations along the heaviest pairs, of the largest connected part."""
    trees: dict[int, dict[int, np.ndarray]] = {i: {i: np.eye(3)} for p in relative for i in p}
    for a, b in sorted(relative, key=lambda p: (-weights[p], p)):
        left, right = trees[a], trees[b]
        if left is right:
            continue
        turn = right[b].T @ relative[a, b] @ left[a]  # right's world from left's
        left.update({i: R @ turn for i, R in right.items()})
        trees.update(dict.fromkeys(right, left))
    largest = max(trees, key=lambda i: (len(trees[i]), -min(trees[i])))
    return dict(trees[largest])


def baseline_lengths(edges: Mapping[tuple[int, int], Edge]) -> dict[tuple[int, int], float]:
    """Lengths of the baselines of the largest set of pairs that common tracks bring to one scale.

    Two pairs that share a photo measure the depth of the same tracks in it, each in units of its
    own baseline; the median ratio is the ratio of the baselines.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = sorted(edges)
    ties = [
        (i, j, *tie)
        for i, j in combinations(range(len(pairs)), 2)
        if (tie := _tie(pairs[i], pairs[j], edges)) is not None
    ]
    rows, columns = [t[0] for t in ties], [t[1] for t in ties]
    graph = coo_array((np.ones(len(ties)), (rows, columns)), shape=(len(pairs), len(pairs)))
    _, part = connected_components(graph, directed=False)

    def photos(k: int) -> tuple[int, float]:
        mine = [p for p, q in zip(pairs, part, strict=True) if q == k]
        return len({i for p in mine for i in p}), sum(edges[p].weight for p in mine)

    best = max(range(part.max() + 1), key=lambda k: (photos(k), -k))
    chosen = [i for i in range(len(pairs)) if part[i] == best]
    place = {i: k for k, i in enumerate(chosen)}
    inside = [t for t in ties if t[0] in place]
    A = np.zeros((len(inside) + 1, len(chosen)))
    y, w = np.zeros(len(inside) + 1), np.ones(len(inside) + 1)
    for row, (i, j, ratio, count) in enumerate(inside):
        A[row, place[j]], A[row, place[i]], y[row] = 1.0, -1.0, np.log(ratio)
        w[row] = np.sqrt(count)
    A[-1, 0] = 1.0
    base = w.copy()
    for _ in range(ROUNDS):
        logs = np.linalg.lstsq(A * w[:, None], y * w, rcond=None)[0]
        w = base * np.sqrt(0.1 / np.maximum(np.abs(A @ logs - y), 0.1))
    return {pairs[i]: float(np.exp(logs[place[i]])) for i in chosen}


def _tie(
    one: tuple[int, int], two: tuple[int, int], edges: Mapping[tuple[int, int], Edge]
) -> tuple[float, int] | None:
    """Baseline of `two` over that of `one`, and the tracks that say so; None where none do."""
    ratios = []
    for photo in set(one) & set(two):
        e, f = edges[one], edges[two]
        _, k, m = np.intersect1d(e.track, f.track, return_indices=True)
        ratios.append(e.depth(photo == one[1])[k] / f.depth(photo == two[1])[m])
    found = np.concatenate(ratios) if ratios else np.zeros(0)
    return (float(np.median(found)), len(found)) if len(found) >= SHARED else None


def _positions(
    edges: Mapping[tuple[int, int], Edge],
    lengths: Mapping[tuple[int, int], float],
    rotations: Mapping[int, np.ndarray],
) -> dict[int, Rigid3]:
    """Poses whose differences of centres fit the pairs' baselines, pairs that disagree less."""
    photos = sorted({i for p in edges for i in p})
    column = {photo: k for k, photo in enumerate(photos)}
    A, y = np.zeros((len(edges) + 1, len(photos))), np.zeros((len(edges) + 1, 3))
    base = np.ones(len(edges) + 1)
    for row, ((a, b), edge) in enumerate(edges.items()):
        A[row, column[b]], A[row, column[a]] = 1.0, -1.0
        y[row] = -rotations[b].T @ edge.b_from_a.t * lengths[a, b]
        base[row] = np.sqrt(edge.weight)
    A[-1, 0], w = 1.0, base.copy()
    core = 0.05 * float(np.median(list(lengths.values())))
    for _ in range(ROUNDS):
        centres = np.linalg.lstsq(A * w[:, None], y * w[:, None], rcond=None)[0]
        error = np.linalg.norm(A @ centres - y, axis=-1)
        w = base * np.sqrt(core / np.maximum(error, core))
    return {
        photo: Rigid3(rotations[photo], -rotations[photo] @ centres[column[photo]])
        for photo in photos
    }
