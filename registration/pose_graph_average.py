"""The last word on the poses: a robust mean of the links, none of which is exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix, spmatrix
from scipy.spatial.transform import Rotation

from corr.geometry.rigid import Rigid3
from registration.pose_graph import Edge

MOST_ROUNDS = 60
HELD = 1e-3  # weight of the prior that keeps the frame where it is


@dataclass(frozen=True)
class LinkError:
    """How far right links are off, in all directions alike: scans are bent by so much."""

    rotation_rad: float
    translation: float  # at the source scan's centre, data's unit


@dataclass(frozen=True, eq=False)
class _Links:
    source: Int[np.ndarray, " e"]
    target: Int[np.ndarray, " e"]
    R: Float[np.ndarray, "e 3 3"]  # target_from_source
    t: Float[np.ndarray, "e 3"]
    centre: Float[np.ndarray, "e 3"]  # of the source scan


def averaged(
    poses: Mapping[int, Rigid3],
    edges: Sequence[Edge],
    centres: Mapping[int, np.ndarray],
    size: LinkError,
) -> dict[int, Rigid3]:
    """Poses that are least in the sum of the links' errors, beginning at given ones.

    A link between bent scans errs alike in all directions, however well its points fix it, and
    some err far more than others: errors are measured in `size` and count by their square near
    zero and by their length beyond one (the rotation and the shift of a link together).

    Args:
        poses: `world_from_scan` to begin at.
        edges: Links among them.
        centres: A point in the middle of each scan, its frame.
        size: Of a usual error.

    Returns:
        `world_from_scan`; the first scan's pose is as it was.
    """
    names = sorted(poses)
    if len(names) < 2 or not edges:
        return dict(poses)
    number = {n: k for k, n in enumerate(names)}
    links = _Links(
        np.array([number[e.source] for e in edges]), np.array([number[e.target] for e in edges]),
        np.stack([e.target_from_source.R for e in edges]),
        np.stack([e.target_from_source.t for e in edges]),
        np.stack([centres[e.source] for e in edges]),
    )  # fmt: skip
    R0, t0 = np.stack([poses[n].R for n in names]), np.stack([poses[n].t for n in names])

    def moved(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        step = x.reshape(-1, 6)
        shift = size.translation * step[:, 3:]
        return R0 @ Rotation.from_rotvec(size.rotation_rad * step[:, :3]).as_matrix(), t0 + shift

    def errors(x: np.ndarray) -> np.ndarray:
        return np.concatenate([_errors(*moved(x), links, size).ravel(), HELD * x[:6]])

    start = np.zeros(6 * len(names))
    pattern = _pattern(links, len(names))
    found = least_squares(errors, start, jac_sparsity=pattern, max_nfev=MOST_ROUNDS).x
    R, t = moved(found)
    free = {n: Rigid3(R[k], t[k]) for n, k in number.items()}
    back = poses[names[0]] @ free[names[0]].inverse()
    return {n: back @ pose for n, pose in free.items()}


def _errors(R: np.ndarray, t: np.ndarray, links: _Links, size: LinkError) -> np.ndarray:
    """Rotation and shift of each link in units of `size` (e x 6), their length softened."""
    turn = np.swapaxes(R[links.target], 1, 2)
    fitted = turn @ R[links.source]
    shift = np.einsum("eij,ej->ei", turn, t[links.source] - t[links.target])
    rotation = Rotation.from_matrix(np.swapaxes(links.R, 1, 2) @ fitted).as_rotvec()
    apart = np.einsum("eij,ej->ei", fitted - links.R, links.centre) + shift - links.t
    error = np.hstack([rotation / size.rotation_rad, apart / size.translation])
    length = np.maximum(np.linalg.norm(error, axis=1, keepdims=True), 1e-9)
    # Squared and summed this is 2 (sqrt(1 + length^2) - 1).
    return error * np.sqrt(2 * (np.sqrt(1 + length**2) - 1)) / length


def _pattern(links: _Links, scans: int) -> spmatrix:
    """Which unknowns each error depends on."""
    pattern = lil_matrix((6 * len(links.source) + 6, 6 * scans), dtype=np.int8)
    for k, ends in enumerate(zip(links.source, links.target, strict=True)):
        for end in ends:
            pattern[6 * k : 6 * k + 6, 6 * end : 6 * end + 6] = 1
    pattern[-6:, :6] = np.eye(6, dtype=np.int8)
    return pattern
