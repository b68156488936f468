"""Painted foliage, for wallpaper and earthenware."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .noise import fractal


def leaves(
    rng: np.random.Generator,
    ground: np.ndarray,
    px_per_m: float,
    dyes: list,
    per_m2: float,
    sizes_m: tuple[float, float] = (0.014, 0.04),
) -> np.ndarray:
    """Scatter leaves, stems and berries over a ground; return the printed ground."""
    rows, columns = ground.shape[:2]
    picture = Image.fromarray((ground * 255).astype(np.uint8)).resize((2 * columns, 2 * rows))
    draw, scale = ImageDraw.Draw(picture), 2 * px_per_m
    turn = np.linspace(0, 2 * np.pi, 24)
    for _ in range(round(per_m2 * rows * columns / px_per_m**2)):
        at, heading = rng.uniform(0, 1, 2) * [2 * columns, 2 * rows], rng.uniform(0, 2 * np.pi)
        colour = tuple(int(255 * c * rng.uniform(0.75, 1.2)) for c in dyes[rng.integers(len(dyes))])
        size = rng.uniform(*sizes_m) * scale
        outline = np.stack(
            [size * np.cos(turn), 0.42 * size * np.sin(turn) * (1.2 - np.cos(turn)) / 1.6], 1
        )
        spin = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
        if rng.uniform() < 0.2:
            draw.ellipse([*(at - 0.3 * size), *(at + 0.3 * size)], fill=colour)
            continue
        draw.polygon([tuple(p) for p in outline @ spin + at], fill=colour)
        vein = np.array([[-1.6 * size, 0.0], [0.8 * size, 0.0]]) @ spin + at
        dark = tuple(c // 2 for c in colour)
        draw.line([tuple(p) for p in vein], fill=dark, width=max(1, int(0.05 * size)))
    small = np.asarray(picture, np.float64).reshape(rows, 2, columns, 2, 3).mean((1, 3)) / 255
    return np.clip(
        small * (1 + 0.025 * fractal(rng, (rows, columns), slope=1.4, coarsest_px=80))[..., None],
        0,
        1,
    )
