"""Least-squares motions, one or thousands at a time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numba import njit


def kabsch(
    source: Float[np.ndarray, "*k n 3"],
    target: Float[np.ndarray, "*k n 3"],
    weights: Float[np.ndarray, "*k n"] | None = None,
    source_directions: Float[np.ndarray, "*k d 3"] | None = None,
    target_directions: Float[np.ndarray, "*k d 3"] | None = None,
    *,
    direction_weight: float = 0.0,
) -> tuple[Float[np.ndarray, "*k 3 3"], Float[np.ndarray, "*k 3"], Float[np.ndarray, "*k 3"]]:
    """Rotations and translations that best map source to target, `target = R @ source + t`.

    Args:
        source: Points.
        target: Their partners.
        weights: One per pair, not negative; None = all alike.
        source_directions: Unit vectors (normals) that rotate along.
        target_directions: Their partners.
        direction_weight: Weight of a direction, squared unit of the points.

    Returns:
        R, t and the singular values of the correlation (squared unit of the points), descending:
        the second says how well the rotation is conditioned.

    Source: Kabsch, Acta Crystallographica 1976; Umeyama, TPAMI 1991.
    """
    w = np.ones(source.shape[:-1]) if weights is None else weights
    total = np.maximum(w.sum(-1), 1e-300)[..., None]
    mean_s = (w[..., None] * source).sum(-2) / total
    mean_t = (w[..., None] * target).sum(-2) / total
    s, t = source - mean_s[..., None, :], target - mean_t[..., None, :]
    H = np.swapaxes(w[..., None] * t, -1, -2) @ s
    if source_directions is not None and target_directions is not None:
        H = H + direction_weight * (np.swapaxes(target_directions, -1, -2) @ source_directions)
    U, S, Vt = np.linalg.svd(H)
    sign = np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    U[..., :, 2] *= sign[..., None]
    R = U @ Vt
    return R, mean_t - (R @ mean_s[..., None])[..., 0], S


@dataclass(frozen=True, eq=False)
class RobustFit:
    """A motion refitted to the matches that agree with it, `target = scale * R @ source + t`."""

    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]
    scale: float
    residual: Float[np.ndarray, " n"]  # unit of the points


def robust_fit(
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "n 3"],
    R: Float[np.ndarray, "3 3"],
    t: Float[np.ndarray, " 3"],
    bound: float | Float[np.ndarray, " n"],
    rounds: int = 10,
    *,
    scale: float | None = None,
) -> RobustFit:
    """Refit a motion to the matches that agree with it, repeatedly.

    Weights fall smoothly to zero at `bound`, which starts doubled and shrinks: matches a little
    off may pull the motion in, matches far off never count (Tukey's biweight). Matches of wider
    bounds are the less exact ones and weigh less, as the squared bound.

    Args:
        source: Points.
        target: Their partners.
        R: Rotation to start from.
        t: Translation to start from.
        bound: Largest residual of a true match, one for all or one each, unit of the points.
        rounds: Refits at most.
        scale: To start from; None = rigid, the scale is one.
    """
    bounds = np.broadcast_to(np.asarray(bound, np.float64), len(source))
    return RobustFit(*_robust(
        np.ascontiguousarray(source), np.ascontiguousarray(target),
        np.ascontiguousarray(R), np.ascontiguousarray(t), np.ascontiguousarray(bounds), rounds,
        1.0 if scale is None else float(scale), scale is not None,
    ))  # fmt: skip


@njit(cache=True, nogil=True)
def _residuals(source, target, R, t, scale):
    out = np.empty(len(source))
    for n in range(len(source)):
        square = 0.0
        for i in range(3):
            d = t[i] - target[n, i]
            for j in range(3):
                d += scale * R[i, j] * source[n, j]
            square += d * d
        out[n] = np.sqrt(square)
    return out


@njit(cache=True, nogil=True)
def _weighted_fit(source, target, w, scaled):
    """Umeyama of one weighted set: R, t, scale and whether the rotation is determined."""
    mean_s, mean_t, total = np.zeros(3), np.zeros(3), 0.0
    for n in range(len(w)):
        if w[n] > 0:
            total += w[n]
            for i in range(3):
                mean_s[i] += w[n] * source[n, i]
                mean_t[i] += w[n] * target[n, i]
    mean_s /= total
    mean_t /= total
    H = np.zeros((3, 3))
    spread = 0.0
    for n in range(len(w)):
        if w[n] > 0:
            for i in range(3):
                spread += w[n] * (source[n, i] - mean_s[i]) ** 2
                for j in range(3):
                    H[i, j] += w[n] * (target[n, i] - mean_t[i]) * (source[n, j] - mean_s[j])
    U, S, Vt = np.linalg.svd(H)
    if np.linalg.det(U) * np.linalg.det(Vt) < 0:
        U[:, 2] *= -1.0
        S[2] *= -1.0
    R = U @ Vt
    scale = max(S.sum(), 1e-300) / max(spread, 1e-300) if scaled else 1.0
    return R, mean_t - scale * (R @ mean_s), scale, S[1] >= 1e-9 * max(S[0], 1e-300)


@njit(cache=True, nogil=True)
def _robust(source, target, R, t, bounds, rounds, scale, scaled):
    exact = (bounds.min() / bounds) ** 2 if len(bounds) else bounds
    for step in range(rounds):
        widened = max(1.0, 2.0 - 2.0 * step / rounds)
        residual = _residuals(source, target, R, t, scale)
        w = exact * np.maximum(1 - (residual / (widened * bounds)) ** 2, 0.0) ** 2
        if (w > 0).sum() < 3:
            break
        R_new, t_new, scale_new, determined = _weighted_fit(source, target, w, scaled)
        if not determined:
            break
        same = (
            np.abs(R_new - R).max() < 1e-7
            and np.abs(t_new - t).max() < 1e-6 * bounds.min()
            and abs(scale_new - scale) < 1e-7 * scale
        )
        R, t, scale = R_new, t_new, scale_new
        if same and widened == 1.0:
            break
    return R, t, scale, _residuals(source, target, R, t, scale)
