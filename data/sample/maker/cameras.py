"""The photographer's walk: twelve hand-held places on an arc around the table."""

from __future__ import annotations

import numpy as np

WIDTH, HEIGHT = 640, 480
FOCAL_PX = 590.0
COUNT = 12
HELD_OUT = (3, 7, 10)
NAMES = [f"photo_{k:02d}.jpg" for k in range(1, COUNT + 1)]
_ARC_DEG = 126.0
_MIDDLE_DEG = 225.0
_TARGET = np.array([0.05, 0.05, 0.075])


def walk(rng: np.random.Generator) -> list[np.ndarray]:
    """Return world_from_cam (3 x 4, OpenCV axes, world z up, metres) of every photo."""
    poses = []
    for share in np.linspace(-0.5, 0.5, COUNT):
        angle = np.radians(_MIDDLE_DEG + _ARC_DEG * share + rng.uniform(-0.7, 0.7))
        away, up = rng.uniform(1.02, 1.2), rng.uniform(0.44, 0.68)
        eye = np.array([away * np.cos(angle), away * np.sin(angle), up]) + _TARGET * [1, 1, 0]
        forward = _TARGET + rng.uniform(-0.05, 0.05, 3) * [1, 1, 0.6] - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        roll = np.radians(rng.normal(0, 2.2))
        right, down = (
            np.cos(roll) * right + np.sin(roll) * down,
            np.cos(roll) * down - np.sin(roll) * right,
        )
        poses.append(np.column_stack([right, down, forward, eye]))
    return poses
