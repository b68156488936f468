"""Which matches near their epipolar line are there by chance: judged by where on the line they lie.

A wrong match falls into the band around its line now and then, and no threshold tells it from a
right one. Along the line it lies anywhere, though, and right ones lie where the scene has depth.
Both are weighed together with the distance from the line, as far as there are wrong matches at all:
those outside the band say how many are inside.
"""

import numpy as np
from jaxtyping import Bool, Float

from corr.geometry import Rigid3

SAMPLES = 4000  # random pairings that show where wrong matches lie
CELLS = 50  # of the position along the line, each as probable for a wrong match as the next
LONELY = 0.003  # share of the right matches that may lie at any depth, alone
WEIGHT = 30.0  # a wrong match that stays costs as much as so many right ones that go
LEAST_SIGMA = 0.05  # of the band: right matches are never more exact than that


def by_chance(
    xy_a: Float[np.ndarray, "n 2"],
    xy_b: Float[np.ndarray, "n 2"],
    b_from_a: Rigid3,
    error_px: Float[np.ndarray, " n"],
    max_error_px: float,
    band_share: float,
    seed: int,
) -> Bool[np.ndarray, " n"]:
    """Matches within the band that are wrong with more than even odds.

    Args:
        xy_a: Undistorted points of all matches over the focal length, first photo.
        xy_b: The same of the second.
        b_from_a: The pair's geometry.
        error_px: Distance from the epipolar line of every match.
        max_error_px: Half width of the band.
        band_share: Of the photo: how often a wrong match falls into the band.
        seed: Of the random pairings.
    """
    inside = error_px <= max_error_px
    wrong = (~inside).sum() * band_share / max(1 - band_share, 0.1)
    right = inside.sum() - wrong
    if right <= 0 or wrong <= 0:
        return np.zeros(len(xy_a), dtype=bool)
    rng = np.random.default_rng(seed)
    pairing = rng.integers(0, len(xy_a), (2, SAMPLES))
    edges = np.quantile(
        _inverse_depth(xy_a[pairing[0]], xy_b[pairing[1]], b_from_a), np.linspace(0, 1, CELLS + 1)
    )
    cell = np.searchsorted(edges[1:-1], _inverse_depth(xy_a, xy_b, b_from_a))
    count = np.bincount(cell[inside], minlength=CELLS)
    smooth = np.convolve(np.pad(count, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    others = np.maximum(smooth[cell] - 0.5, 0)  # without the match itself
    depth_odds = (1 - LONELY) * others * CELLS / inside.sum() + LONELY
    sigma = max(1.4826 * float(np.median(error_px[inside])), LEAST_SIGMA * max_error_px)
    gauss = np.sqrt(2 / np.pi) / sigma * np.exp(-0.5 * (error_px / sigma) ** 2)
    return inside & (right * depth_odds * gauss < WEIGHT * wrong / max_error_px)


def _inverse_depth(
    xy_a: Float[np.ndarray, "n 2"], xy_b: Float[np.ndarray, "n 2"], b_from_a: Rigid3
) -> Float[np.ndarray, " n"]:
    """Signed inverse depth in a at which its ray passes nearest to b's, unit 1 / baseline.

    The point a + t of the ray lies on b's ray when b x (R a + rho t) = 0, solved for rho.
    """
    one = np.ones((len(xy_a), 1))
    ray_a = np.concatenate([xy_a, one], -1) @ b_from_a.R.T
    ray_b = np.concatenate([xy_b, one], -1)
    turned, moved = np.cross(ray_b, ray_a), np.cross(ray_b, b_from_a.t)
    return -(turned * moved).sum(-1) / np.maximum((moved**2).sum(-1), 1e-15)
