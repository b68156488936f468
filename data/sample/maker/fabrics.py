"""Flat textures that grow, are woven or built: wood, brick, plaster, cloth; sRGB in [0, 1]."""

from __future__ import annotations

import numpy as np

from .noise import fractal, ramp

WALNUT = [(0.0, (0.42, 0.26, 0.15)), (0.45, (0.56, 0.37, 0.22)), (1.0, (0.74, 0.55, 0.36))]
OAK = [(0.0, (0.50, 0.38, 0.25)), (0.5, (0.68, 0.54, 0.37)), (1.0, (0.83, 0.71, 0.53))]
GREY_OAK = [(0.0, (0.30, 0.27, 0.24)), (0.5, (0.44, 0.40, 0.35)), (1.0, (0.60, 0.55, 0.48))]


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    return np.mgrid[0:rows, 0:columns].astype(np.float64)


def _add_blot(
    field: np.ndarray, at: np.ndarray, sigma: tuple[float, float], strength: float
) -> None:
    """Add a Gaussian blot at a row and column to a field, in place."""
    (top, bottom), (left, right) = (
        (max(0, int(at[k] - 4 * sigma[k])), min(field.shape[k], int(at[k] + 4 * sigma[k]) + 1))
        for k in range(2)
    )
    y, x = np.arange(top, bottom)[:, None], np.arange(left, right)[None, :]
    distance = ((y - at[0]) / sigma[0]) ** 2 + ((x - at[1]) / sigma[1]) ** 2
    field[top:bottom, left:right] += strength * np.exp(-0.5 * distance)


def plank(
    rng: np.random.Generator, rows: int, columns: int, px_per_m: float, colours: list
) -> np.ndarray:
    """Draw one plank, grain along x: slanted growth rings bent around knots, fibres, pores."""
    y, x = _grid(rows, columns)
    y, x = y / px_per_m, x / px_per_m
    bend = fractal(rng, (rows, columns), slope=2.0, stretch=(1, 6), coarsest_px=0.5 * px_per_m)
    depth = (
        (y - rng.uniform(-0.15, 0.15)) * rng.uniform(0.7, 1.3)
        + rng.uniform(-0.05, 0.05) * x
        + 0.012 * bend
    )
    knots = np.zeros_like(y)
    for _ in range(rng.poisson(1.6 * columns / px_per_m)):
        at, size = rng.uniform(0, 1, 2) * [rows, columns], rng.uniform(0.006, 0.013) * px_per_m
        _add_blot(depth, at, (2.2 * size, 4.9 * size), 0.035 * rng.choice([-1, 1]))
        _add_blot(knots, at, (0.8 * size, 1.1 * size), 1.1)
    phase = depth / rng.uniform(0.008, 0.016) + 0.25 * fractal(
        rng, (rows, columns), slope=1.4, stretch=(1, 8)
    )
    ring = (phase - np.floor(phase)) ** 2
    fibre = fractal(rng, (rows, columns), slope=0.7, stretch=(1, 14), coarsest_px=60)
    pores = np.clip(
        fractal(rng, (rows, columns), slope=0.3, stretch=(1, 7), coarsest_px=30) - 1.2, 0, 2
    )
    cloud = fractal(rng, (rows, columns), slope=1.5, coarsest_px=0.6 * px_per_m)
    tone = (
        0.72
        - 0.34 * ring
        + 0.055 * fibre
        + 0.09 * cloud
        - 0.06 * pores
        - knots
        + rng.uniform(-0.14, 0.14)
    )
    return ramp(np.clip(tone, -0.3, 1.1), [(-0.3, (0.16, 0.09, 0.05)), *colours])


def _add_ring(field: np.ndarray, rng: np.random.Generator, radius: float, width: float) -> None:
    """Add the mark of a wet cup somewhere on a field, in place."""
    size = int(radius + 4 * width)
    y, x = np.mgrid[-size : size + 1, -size : size + 1]
    share = 0.5 + 0.5 * np.sin(np.arctan2(y, x) + rng.uniform(0, 6.28))
    mark = 0.4 * share * np.exp(-0.5 * ((np.hypot(y, x) - radius) / width) ** 2)
    top, left = (int(rng.uniform(-0.5 * mark.shape[0], edge)) for edge in field.shape)
    target = field[max(top, 0) : top + len(mark), max(left, 0) : left + len(mark)]
    target += mark[max(-top, 0) :, max(-left, 0) :][: target.shape[0], : target.shape[1]]


def boards(
    rng: np.random.Generator,
    height_m: float,
    width_m: float,
    px_per_m: float,
    *,
    board_m: float,
    colours: list,
) -> np.ndarray:
    """Lay planks side by side, grain along x, with gaps, scratches, ring stains and spots."""
    rows, columns = round(height_m * px_per_m), round(width_m * px_per_m)
    image = np.zeros((rows, columns, 3))
    top = 0
    while top < rows:
        bottom = min(rows, top + round(board_m * px_per_m * rng.uniform(0.8, 1.2)))
        cut = rng.integers(columns // 5, 4 * columns // 5)
        for left, right in ((0, cut), (cut, columns)):
            image[top:bottom, left:right] = plank(
                rng, bottom - top, right - left, px_per_m, colours
            )
            image[top:bottom, left : left + 2] *= 0.45
        image[top : top + 2] *= 0.4
        top = bottom
    wear = np.zeros((rows, columns))
    for _ in range(round(7 * height_m * width_m)):
        _add_ring(wear, rng, rng.uniform(0.028, 0.042) * px_per_m, 0.0022 * px_per_m)
    for _ in range(round(30 * height_m * width_m)):
        radius = rng.uniform(1.2, 4.0)
        _add_blot(
            wear, rng.uniform(0, 1, 2) * [rows, columns], (radius, radius), rng.uniform(0.15, 0.5)
        )
    scratch = fractal(rng, (rows, columns), slope=0.2, stretch=(1, 25), coarsest_px=40)
    wear -= 0.25 * np.clip(scratch - 2.3, 0, 1)
    return np.clip(image * (1.0 - np.clip(wear, -0.3, 0.8))[..., None], 0, 1)


def brickwork(
    rng: np.random.Generator, height_m: float, width_m: float, px_per_m: float
) -> np.ndarray:
    """Lay old bricks in running bond, each with its own tone, outline, chips and soot."""
    rows, columns = round(height_m * px_per_m), round(width_m * px_per_m)
    y, x = _grid(rows, columns)
    y += 0.004 * px_per_m * fractal(rng, (rows, columns), slope=1.2, coarsest_px=60)
    x += 0.004 * px_per_m * fractal(rng, (rows, columns), slope=1.2, coarsest_px=60)
    course = 0.075 * px_per_m
    length = 0.235 * px_per_m
    row = np.floor(y / course).astype(int)
    shift = rng.uniform(0, 0.25, row.max() + 2)[row] + 0.5 * (row % 2)
    column = np.floor(x / length + shift).astype(int)
    in_y, in_x = y - row * course, (x / length + shift - column) * length
    to_edge = (
        np.minimum(np.minimum(in_y, course - in_y), np.minimum(in_x, length - in_x)) / px_per_m
    )
    grit = fractal(rng, (rows, columns), slope=1.3, coarsest_px=120, finest_px=4)
    joint = 1.0 / (1.0 + np.exp((to_edge - 0.0055 - 0.0018 * grit) / 0.0008))
    tone = rng.uniform(0, 1, (row.max() + 2, column.max() + 3))[row, column]
    brick = ramp(
        tone + 0.06 * grit,
        [
            (0, (0.34, 0.19, 0.15)),
            (0.35, (0.55, 0.29, 0.20)),
            (0.75, (0.66, 0.40, 0.28)),
            (1, (0.73, 0.55, 0.42)),
        ],
    )
    brick *= (1.0 + 0.06 * grit - 0.10 * np.clip(-grit - 0.9, 0, 1))[..., None]
    chips = np.clip(fractal(rng, (rows, columns), slope=1.4, coarsest_px=60) - 1.9, 0, 0.5)[
        ..., None
    ]
    brick = brick * (1 - chips) + chips * np.array([0.80, 0.68, 0.57])
    mortar = np.array([0.66, 0.62, 0.56]) * (1.0 + 0.08 * grit)[..., None]
    image = brick * (1 - joint[..., None]) + mortar * joint[..., None]
    shade = 1.0 - 0.25 * np.exp(-(((to_edge - 0.007) / 0.0016) ** 2)) * (in_y > 0.6 * course)
    soot = fractal(rng, (rows, columns), slope=1.8, coarsest_px=0.8 * px_per_m)
    lime = np.clip(
        fractal(rng, (rows, columns), slope=1.5, coarsest_px=0.5 * px_per_m) - 1.0, 0, 0.7
    )[..., None]
    image = image * (shade * (1.0 + 0.06 * soot))[..., None]
    return np.clip(image * (1 - 0.6 * lime) + 0.6 * lime * np.array([0.84, 0.81, 0.77]), 0, 1)


def plaster(
    rng: np.random.Generator, height_m: float, width_m: float, px_per_m: float, rgb: tuple
) -> np.ndarray:
    """Trowel a wall: soft clouds, faint strokes, stains and hairline cracks."""
    shape = round(height_m * px_per_m), round(width_m * px_per_m)
    cloud = fractal(rng, shape, slope=1.5, coarsest_px=0.5 * px_per_m)
    stroke = fractal(rng, shape, slope=0.9, stretch=(1, 3), coarsest_px=70)
    line = np.abs(fractal(rng, shape, slope=1.9, coarsest_px=0.5 * px_per_m))
    crack = np.exp(-((line / 0.012) ** 2)) * np.clip(fractal(rng, shape, slope=1.6) - 0.3, 0, 1)
    stain = np.clip(fractal(rng, shape, slope=1.7, coarsest_px=0.35 * px_per_m) - 1.1, 0, 1)
    tone = 1.0 + 0.035 * cloud + 0.012 * stroke - 0.35 * crack
    image = np.array(rgb) * tone[..., None]
    return np.clip(image * (1 - stain[..., None] * np.array([0.18, 0.25, 0.35])), 0, 1)


def plaid(
    rng: np.random.Generator, height_m: float, width_m: float, px_per_m: float, dyes: list
) -> np.ndarray:
    """Weave a checked cloth from irregular coloured stripes, with slack, slubs and fading."""
    rows, columns = round(height_m * px_per_m), round(width_m * px_per_m)

    def yarn(count: int) -> np.ndarray:
        stripe, at = np.zeros((count, 3)), 0
        while at < count:
            width = (
                round(
                    px_per_m
                    * rng.choice([0.004, 0.007, 0.012, 0.025, 0.04])
                    * rng.uniform(0.8, 1.25)
                )
                + 1
            )
            stripe[at : at + width] = dyes[rng.integers(len(dyes))]
            at += width
        return stripe

    slack = 1.6 * fractal(rng, (rows, columns), slope=1.8, coarsest_px=200)
    y, x = _grid(rows, columns)
    warp = yarn(columns)[np.clip(x + slack, 0, columns - 1).astype(int)]
    weft = yarn(rows)[np.clip(y - slack, 0, rows - 1).astype(int)]
    over = (
        0.5
        + 0.07 * fractal(rng, (rows, columns), slope=0.7, coarsest_px=20, finest_px=3)[..., None]
    )
    image = warp * over + weft * (1 - over)
    slub = fractal(rng, (rows, columns), slope=0.5, stretch=(1, 12), coarsest_px=30)
    slub += fractal(rng, (rows, columns), slope=0.5, stretch=(12, 1), coarsest_px=30)
    fade = fractal(rng, (rows, columns), slope=1.6, coarsest_px=0.4 * px_per_m)
    return np.clip(image * (1.0 + 0.035 * slub + 0.05 * fade)[..., None], 0, 1)


def page_edges(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Draw the cut edge of a book block: uneven lines of paper along x."""
    line = fractal(rng, (max(rows, 8), columns), slope=0.5, stretch=(1, 30), coarsest_px=30)[:rows]
    return np.clip(np.array([0.83, 0.78, 0.67]) * (1 + 0.06 * line)[..., None], 0, 1)
