"""Least-squares rigid motions, one or thousands at a time."""

import numpy as np
from jaxtyping import Float


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


def robust_fit(
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "n 3"],
    R: Float[np.ndarray, "3 3"],
    t: Float[np.ndarray, " 3"],
    bound: float,
    rounds: int = 10,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"], Float[np.ndarray, " n"]]:
    """Refit a motion to the matches that agree with it, repeatedly.

    Weights fall smoothly to zero at `bound`, which starts doubled and shrinks: matches a little
    off may pull the motion in, matches far off never count (Tukey's biweight).

    Returns:
        R, t and the residuals, unit of the points.
    """
    for step in range(rounds):
        limit = bound * max(1.0, 2.0 - 2.0 * step / rounds)
        residual = np.linalg.norm(source @ R.T + t - target, axis=1)
        w = np.maximum(1 - (residual / limit) ** 2, 0) ** 2
        if (w > 0).sum() < 3:
            break
        R_new, t_new, S = kabsch(source, target, w)
        if S[1] < 1e-9 * max(S[0], 1e-300):
            break
        done = np.abs(R_new - R).max() < 1e-7 and np.abs(t_new - t).max() < 1e-6 * bound
        R, t = R_new, t_new
        if done and limit == bound:
            break
    return R, t, np.linalg.norm(source @ R.T + t - target, axis=1)
