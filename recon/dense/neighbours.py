"""Which photos help to measure depth in which: by covisible tracks and viewing angle."""

import numpy as np
from jaxtyping import Float

from recon.scene import Reconstruction

LEAST_ANGLE_DEG = 0.1  # below: photos from one place, in which any depth fits
BEST_ANGLE_DEG = 12.0  # enough parallax for depth, little enough for patches to look alike


def covisibility(reconstruction: Reconstruction) -> Float[np.ndarray, "v v"]:
    """How well view j measures the depths seen in view i.

    The sum, over the tracks that both see, of a weight of the triangulation angle: rising to 1 at
    12 degrees, falling slowly beyond. Zero on the diagonal.
    """
    num = len(reconstruction.views)
    centres = np.array([v.cam_from_world.centre for v in reconstruction.views])
    tracks = reconstruction.tracks
    seen = np.zeros((tracks.num_tracks, num), bool)
    seen[tracks.track, tracks.image] = True
    rays = reconstruction.xyz_world[:, None] - centres
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    score = np.zeros((num, num))
    for i in range(num):
        for j in range(i + 1, num):
            both = seen[:, i] & seen[:, j]
            cosine = np.clip((rays[both, i] * rays[both, j]).sum(-1), -1, 1)
            score[i, j] = score[j, i] = angle_weight(np.arccos(cosine)).sum()
    return score


def angle_weight(angle_rad: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 at the best angle, linear below down to photos from one place, a wide Gaussian above."""
    angle = np.degrees(angle_rad)
    beyond = np.exp(-0.5 * ((angle - BEST_ANGLE_DEG) / 18.0) ** 2)
    weight = np.where(angle < BEST_ANGLE_DEG, angle / BEST_ANGLE_DEG, beyond)
    return np.where(angle < LEAST_ANGLE_DEG, 0.0, weight)


def choose_neighbours(score: Float[np.ndarray, "v v"], count: int) -> list[list[int]]:
    """Per view, at most `count` others with the highest positive score, best first.

    Never the view itself, also when fewer than `count` others exist.
    """
    chosen = []
    for i, row in enumerate(score):
        order = [int(j) for j in np.argsort(-row, kind="stable") if j != i and row[j] > 0]
        chosen.append(order[:count])
    return chosen
