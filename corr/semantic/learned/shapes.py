"""A teacher from 3-D data: surfaces of objects, aligned by the votes of their frames' matches.

Depth lifts the cells of every frame into its sequence's world. Frames of two objects that look
alike, because they show the same side, are matched by frozen features; about half of these matches
are wrong, but they are wrong in many ways and right in one: the map between the two worlds that
most of them agree on (a similarity without reflection, then an affine map) is used for all
surface points, whatever side shows them. No annotation is used.

Sources: consensus: Fischler and Bolles, 1981; closed form: Umeyama, PAMI 1991; shapes that resolve
what features confuse: SemAlign3D, 2025.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from corr.semantic.datasets.frames import DepthFrame
from corr.semantic.features.grid import FeatureGrid

NEAREST = 3  # frames of the other object that look most alike are matched
BACK = 0.06  # of the object's size: a match must lead back so near to its origin
OFF = 0.08  # of the size: a match that disagrees by this counts a quarter
DRAWS = 2000  # of four matches each
REFITS = 10  # of the similarity, and of the affine map
ZOOM = 2.0  # objects may differ in size by this
STRETCH = 1.6  # the affine map may stretch any direction by this, compared to the similarity
LEAST_SHARE = 0.3  # of the matches must agree


@dataclass(frozen=True, eq=False)
class Seen:
    """What one frame shows of its object: cells with known depth.

    Args:
        frame: The frame, not flipped.
        uv: Centres of the cells, original pixels.
        xyz: Their surface points, the sequence's world.
        descriptor: Of the cells.
    """

    frame: DepthFrame
    uv: Float[np.ndarray, "n 2"]
    xyz: Float[np.ndarray, "n 3"]
    descriptor: Float[np.ndarray, "n d"]


def lifted(frame: DepthFrame, grid: FeatureGrid) -> Seen:
    """The object's cells of a frame, in its world."""
    uv = grid.centres()
    depth = depth_at(frame, uv)
    known = depth > 0
    xyz = frame.camera.unproject(uv[known], depth[known])
    return Seen(frame, uv[known], frame.cam_from_world.inverse().apply(xyz), grid.flat[known])


def depth_at(frame: DepthFrame, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Depth of the pixels that hold these places; 0 outside."""
    height, width = frame.depth.shape
    at = np.floor(uv).astype(int)
    inside = np.all((at >= 0) & (at < [width, height]), axis=1)
    at = np.clip(at, 0, [width - 1, height - 1])
    return np.where(inside, frame.depth[at[:, 1], at[:, 0]], 0.0)


def size_of(views: Sequence[Seen]) -> float:
    """An object's extent: the longest side of the box that holds 96 % of its points."""
    low, high = np.percentile(np.concatenate([v.xyz for v in views]), [2, 98], axis=0)
    return float((high - low).max())


def shown(
    frame: DepthFrame, xyz: Float[np.ndarray, "n 3"], off: float
) -> tuple[Float[np.ndarray, "n 2"], np.ndarray]:
    """Where points lie in a frame, and whether its surface is within `off` of their depth there."""
    uv, depth = frame.camera.project(frame.cam_from_world.apply(xyz))
    seen = depth_at(frame, np.where(np.isfinite(uv), uv, -1.0))
    return uv, (depth > 0) & (seen > 0) & (np.abs(seen - depth) < off)


def aligned(
    a: Sequence[Seen], b: Sequence[Seen], rng: np.random.Generator
) -> Float[np.ndarray, "4 3"] | None:
    """The affine map from one object's world to another's: [x 1] @ map; None = no agreement.

    Args:
        a: Frames of the one.
        b: Frames of the other.
        rng: Of the draws.
    """
    x, y = _matched(a, b)
    if len(x) < 50:
        return None
    size = size_of(b)
    first = _drawn(x, y, rng, zoom=size / size_of(a), off=OFF * size)
    if first is None:
        return None
    found = _refitted(x, y, first, OFF * size)
    agree = np.linalg.norm(_moved(x, found) - y, axis=1) < OFF * size
    return found if agree.mean() >= LEAST_SHARE else None


def _matched(a: Sequence[Seen], b: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray]:
    """Surface points that frozen features match, from frames that look alike."""
    near, xs, ys = BACK * size_of(a), [], []
    for view in a:
        cosines = [view.descriptor @ other.descriptor.T for other in b]
        alike = np.argsort([-c.max(1).mean() for c in cosines], kind="stable")[:NEAREST]
        for k in alike:
            best = cosines[k].argmax(1)
            back = view.xyz[cosines[k].argmax(0)[best]]
            kept = np.linalg.norm(back - view.xyz, axis=1) < near
            xs.append(view.xyz[kept])
            ys.append(b[k].xyz[best[kept]])
    return np.concatenate(xs), np.concatenate(ys)


def _drawn(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, zoom: float, off: float
) -> np.ndarray | None:
    """The similarity through four matches that most others agree with."""
    best, found = 0.0, None
    for _ in range(DRAWS):
        four = rng.choice(len(x), 4, replace=False)
        tried, scale = _similarity(x[four], y[four], np.ones(4))
        if not zoom / ZOOM < scale < zoom * ZOOM:
            continue
        miss = np.linalg.norm(_moved(x, tried) - y, axis=1)
        votes = float(np.maximum(0, 1 - (miss / (2 * off)) ** 2).sum())
        if votes > best:
            best, found = votes, tried
    return found


def _refitted(x: np.ndarray, y: np.ndarray, start: np.ndarray, off: float) -> np.ndarray:
    """Reweighted fits: of similarities, then of affine maps as long as they distort little."""

    def weights(m: np.ndarray) -> np.ndarray:
        return (1 + (np.linalg.norm(_moved(x, m) - y, axis=1) / off) ** 2) ** -2.0

    plain = start
    for _ in range(REFITS):
        plain, _ = _similarity(x, y, weights(plain))
    ones, full = np.c_[x, np.ones(len(x))], plain
    for _ in range(REFITS):
        root = np.sqrt(weights(full))[:, None]
        full = np.linalg.lstsq(ones * root, y * root, rcond=None)[0]
        change = np.linalg.solve(plain[:3], full[:3])
        stretch = np.linalg.svd(change, compute_uv=False)
        if np.linalg.det(change) <= 0 or stretch[0] > STRETCH or stretch[-1] < 1 / STRETCH:
            return plain
    return full


def _similarity(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares of y = s R x + t, as [x 1] @ map, and s."""
    w = weight / weight.sum()
    mx, my = w @ x, w @ y
    U, S, Vt = np.linalg.svd(((y - my) * w[:, None]).T @ (x - mx))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    R = (U * sign) @ Vt
    scale = float((S * sign).sum() / max(w @ ((x - mx) ** 2).sum(1), 1e-12))
    return np.vstack([(scale * R).T, my - scale * R @ mx]), scale


def _moved(x: np.ndarray, m: np.ndarray) -> np.ndarray:
    return x @ m[:3] + m[3]
