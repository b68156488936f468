"""Noise that the covariances of observations do not tell of, found from the residuals.

A patch is aligned to a few hundredths of a pixel by its texture, but lenses are not quite what the
model says, shutters roll, surfaces bend. Taken at their word such observations outvote all others.
The same noise added to all of them, as much as makes the reduced chi squared 1, is an estimate of
a variance component (Foerstner and Wrobel, Photogrammetric Computer Vision, 2016, section 4.2.4).
"""

import numpy as np
from jaxtyping import Float

from recon.poses.bundle import Bundle
from recon.poses.whitened import (
    Model,
    counted_share,
    layout,
    num_known,
    residuals_px,
    slope_of_loss,
)

HALVINGS = 40
MOST_PX = 10.0
FEWEST = 4  # photos


def hidden_noise_px(bundle: Bundle, cov_px: Float[np.ndarray, "m 2 2"], model: Model) -> float:
    """Standard deviation of either coordinate that the residuals show beyond the covariances.

    Args:
        bundle: Adjusted; its active observations count.
        cov_px: Covariance of every observation of the table.
        model: What is free and known.

    Returns:
        Pixels; 0 when observations are as accurate as was said, or better, and for two or three
        photos: most of their points are seen twice, so residuals lie across epipolar lines only,
        and with noise added the priors of the lens outweigh them (temple-ring's pairs, mAA@30: 63
        with it, 69 without; three photos: 99.6 and 100).
    """
    if len(bundle.poses) < FEWEST:
        return 0.0
    rows = np.flatnonzero(bundle.active)
    redundancy = redundancy_of(bundle, model)
    if redundancy <= 0:
        return 0.0
    expected = redundancy * counted_share(model)
    error = residuals_px(bundle, rows)
    wide, axes = np.linalg.eigh(cov_px[rows])
    along = np.einsum("nji,nj->ni", axes, error) ** 2

    def chi2(noise: float) -> float:
        squared = (along / (wide + noise**2)).sum(-1)
        return float((squared * slope_of_loss(squared, model)).sum()) / expected

    low, high = 0.0, MOST_PX
    if chi2(low) <= 1.0:
        return 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if chi2(middle) > 1.0 else (low, middle)
    return high


def redundancy_of(bundle: Bundle, model: Model) -> int:
    """Observed numbers and priors less unknowns, of which the choice of the world is none."""
    rows = np.flatnonzero(bundle.active)
    points = len(np.unique(bundle.tracks.track[rows]))
    held = len(model.fixed & bundle.poses.keys())
    gauge = 0 if model.priors or held > 1 else 1 if held else 7  # one known pose leaves the size
    size = layout(bundle, model)[2]
    return 2 * len(rows) + num_known(bundle, model) - (size + 3 * points - gauge)
