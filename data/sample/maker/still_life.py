"""The still life: a table in the corner of a room (metres, z up, table top at z = 0)."""

from __future__ import annotations

import numpy as np

from . import fabrics, foliage, press
from .shapes import Scene
from .solids import APPLE, CORK, GRANITE, LEMON, MARBLE, ORANGE, PAINTED, TERRACOTTA
from .stage import Stage, smooth_profile, turn

_FINE = 1400.0
_WALL = 750.0
_FLOOR_Z = -0.72


def _room(stage: Stage, rng: np.random.Generator) -> None:
    brick = stage.print_on(fabrics.brickwork(rng, 2.1, 3.0, _WALL))
    ground = fabrics.plaster(rng, 2.1, 3.0, _WALL, (0.74, 0.73, 0.62))
    dyes = [(0.30, 0.42, 0.33), (0.52, 0.30, 0.25), (0.50, 0.50, 0.34), (0.25, 0.34, 0.42)]
    paper = stage.print_on(foliage.leaves(rng, ground, _WALL, dyes, 95, (0.02, 0.055)))
    floor = stage.print_on(
        fabrics.boards(rng, 3.0, 3.0, 300.0, board_m=0.16, colours=fabrics.GREY_OAK)
    )
    stage.box((-0.7, 0.81, 0.33), (3.0, 0.06, 2.1), brick)
    stage.box((0.81, -0.7, 0.33), (0.06, 3.0, 2.1), paper)
    stage.box((-0.7, -0.7, _FLOOR_Z - 0.03), (3.0, 3.0, 0.06), floor)
    for x, z, w, h in ((-0.42, 0.42, 0.42, 0.32), (0.22, 0.50, 0.34, 0.46)):
        stage.box((x, 0.775, z), (w, 0.012, h), stage.print_on(press.poster(rng, w, h, 1000)))
    for y, z, w, h in ((-0.38, 0.46, 0.44, 0.34), (0.28, 0.50, 0.32, 0.42)):
        stage.box((0.775, y, z), (0.012, w, h), stage.print_on(press.poster(rng, w, h, 1000)))


def _table(stage: Stage, rng: np.random.Generator) -> None:
    top = stage.print_on(
        fabrics.boards(rng, 1.52, 1.52, 1000, board_m=0.13, colours=fabrics.WALNUT)
    )
    stage.box((0.01, 0.01, -0.02), (1.52, 1.52, 0.04), top, gloss=(0.05, 60.0))
    for x, y in ((-0.68, -0.68), (0.68, -0.68), (-0.68, 0.68)):
        stage.box((x, y, -0.38), (0.07, 0.07, 0.68), top)
    dyes = [
        (0.72, 0.66, 0.54),
        (0.52, 0.16, 0.15),
        (0.17, 0.24, 0.36),
        (0.74, 0.58, 0.30),
        (0.62, 0.60, 0.52),
    ]
    cloth = stage.print_on(fabrics.plaid(rng, 0.52, 1.0, 1200, dyes))
    stage.box((-0.12, -0.18, 0.0015), (1.0, 0.52, 0.003), cloth, turn(-47), gloss=(0.0, 1.0))
    news = stage.print_on(press.newspaper(rng, 0.36, 0.5, _FINE))
    stage.box((0.36, -0.42, 0.002), (0.36, 0.5, 0.003), news, turn(-68), gloss=(0.0, 1.0))


def _book(stage: Stage, rng: np.random.Generator, centre, size, rotation) -> None:
    """Put a book: local x across the pages (spine at -x), y along the spine, z its thickness."""
    width, length, thick = size
    front = stage.print_on(press.cover(rng, width, length, _FINE))
    back = stage.print_on(press.cover(rng, width, length, _FINE))
    spine = stage.print_on(press.spine(rng, length, thick, _FINE))
    fore = stage.print_on(fabrics.page_edges(rng, round(thick * _FINE), round(length * _FINE)))
    head = stage.print_on(fabrics.page_edges(rng, round(thick * _FINE), round(width * _FINE)))
    stage.box(centre, size, (fore, spine, head, head, front, back), rotation, gloss=(0.03, 40.0))


def _books(stage: Stage, rng: np.random.Generator) -> None:
    z = 0.003
    for size, yaw, dx, dy in (
        ((0.20, 0.28, 0.036), 20, 0, 0),
        ((0.17, 0.24, 0.028), 48, 0.012, -0.01),
        ((0.15, 0.21, 0.042), 8, -0.01, 0.012),
        ((0.12, 0.18, 0.022), -26, 0.0, 0.0),
    ):
        _book(stage, rng, (-0.36 + dx, -0.02 + dy, z + size[2] / 2), size, turn(yaw))
        z += size[2]
    stage.drum((-0.37, 0.0, z), 0.033, 0.033, 0.085, _tin(stage, rng, 0.033, 0.085))
    x = -0.30
    for thick, tall, deep in (
        (0.034, 0.25, 0.18),
        (0.026, 0.22, 0.16),
        (0.045, 0.27, 0.19),
        (0.03, 0.23, 0.17),
        (0.022, 0.2, 0.14),
        (0.04, 0.26, 0.18),
        (0.028, 0.24, 0.17),
    ):
        upright = np.array([[0, 0, 1.0], [1.0, 0, 0], [0, 1.0, 0]])
        _book(
            stage,
            rng,
            (x + thick / 2, 0.70 - deep / 2 - 0.006 * np.sin(90 * x), tall / 2),
            (deep, tall, thick),
            upright,
        )
        x += thick + 0.0015
    lean = turn(0, 12) @ np.array([[0, 0, 1.0], [1.0, 0, 0], [0, 1.0, 0]])
    _book(stage, rng, (x + 0.046, 0.61, 0.127), (0.16, 0.25, 0.03), lean)


def _tin(stage: Stage, rng: np.random.Generator, radius: float, height: float) -> tuple[int, int]:
    side = stage.print_on(press.label(rng, 2 * np.pi * radius, height, _FINE))
    lid = stage.print_on(fabrics.plaster(rng, 2 * radius, 2 * radius, _FINE, (0.62, 0.61, 0.58)))
    return side, lid


def _carton(stage: Stage, rng: np.random.Generator, centre, size, rotation) -> None:
    x, y, z = size
    pairs = [(y, z), (y, z), (x, z), (x, z), (x, y), (x, y)]
    skins = [stage.print_on(press.cover(rng, w, h, _FINE)) for w, h in pairs]
    stage.box(centre, size, skins, rotation, gloss=(0.02, 20.0))


def _boxes(stage: Stage, rng: np.random.Generator) -> None:
    _carton(stage, rng, (0.30, 0.36, 0.14), (0.19, 0.065, 0.28), turn(-38))
    _carton(stage, rng, (0.50, 0.12, 0.085), (0.13, 0.11, 0.17), turn(24))
    _carton(stage, rng, (0.05, -0.42, 0.021), (0.12, 0.08, 0.036), turn(33))
    _carton(stage, rng, (0.04, -0.42, 0.049), (0.075, 0.055, 0.02), turn(-12))
    oak = [
        stage.print_on(fabrics.boards(rng, 0.08, 0.08, 2500, board_m=0.2, colours=fabrics.OAK))
        for _ in range(3)
    ]
    for x, y, z, yaw, k in (
        (-0.14, -0.42, 0.028, 15, 0),
        (-0.085, -0.385, 0.028, 52, 1),
        (-0.115, -0.405, 0.078, -20, 2),
    ):
        skins = [
            oak[k],
            oak[(k + 1) % 3],
            _letter(stage, rng),
            _letter(stage, rng),
            _letter(stage, rng),
            oak[k],
        ]
        stage.box((x, y, z), (0.05, 0.05, 0.05), skins, turn(yaw))
    stage.box((0.12, 0.62, 0.06), (0.12, 0.09, 0.12), GRANITE, turn(14), gloss=(0.03, 30.0))
    slab = stage.print_on(fabrics.boards(rng, 0.2, 0.34, _FINE, board_m=0.3, colours=fabrics.OAK))
    stage.box((-0.02, 0.24, 0.011), (0.34, 0.2, 0.022), slab, turn(12))


def _letter(stage: Stage, rng: np.random.Generator) -> int:
    sheet = press.Sheet(rng, 0.05, 0.05, 2200, (206, 170, 120))
    colour = [(170, 50, 40), (40, 80, 130), (50, 110, 70)][rng.integers(3)]
    sheet.block(0, 0, 0.05, 0.004, colour)
    sheet.block(0, 0.046, 0.05, 0.004, colour)
    sheet.word(0.014, 0.009, 0.036, 1, colour, bold=0.2)
    return stage.print_on(sheet.finish(ageing=0.08))


def _vessels(stage: Stage, rng: np.random.Generator) -> None:
    outside = [
        (0.045, 0),
        (0.062, 0.03),
        (0.088, 0.10),
        (0.080, 0.17),
        (0.042, 0.235),
        (0.030, 0.28),
        (0.046, 0.325),
    ]
    inside = [(0.041, 0.323), (0.026, 0.282), (0.03, 0.235)]
    glaze = foliage.leaves(
        rng,
        fabrics.plaster(rng, 0.5, 0.5, 1100, (0.80, 0.79, 0.74)),
        1100,
        [(0.14, 0.24, 0.46), (0.25, 0.4, 0.6)],
        280,
    )
    stage.turned((0.42, 0.56, 0), smooth_profile(outside + inside, 5), stage.print_on(glaze), 70)
    bowl = [(0.05, 0), (0.052, 0.012), (0.09, 0.03), (0.118, 0.07), (0.123, 0.085)]
    bowl += [(0.118, 0.084), (0.112, 0.07), (0.085, 0.036), (0.03, 0.022), (0.001, 0.02)]
    dyes = [(0.62, 0.30, 0.18), (0.20, 0.36, 0.36), (0.72, 0.60, 0.36)]
    ware = foliage.leaves(
        rng, fabrics.plaster(rng, 0.3, 0.75, 1100, (0.70, 0.66, 0.56)), 1100, dyes, 350
    )
    stage.turned((0.17, 0.02, 0.0), smooth_profile(bowl, 4), stage.print_on(ware))
    for x, y, z, radius, skin in (
        (0.125, 0.0, 0.066, 0.038, ORANGE),
        (0.205, -0.015, 0.066, 0.040, ORANGE),
        (0.17, 0.065, 0.064, 0.036, LEMON),
        (0.168, 0.012, 0.116, 0.037, APPLE),
    ):
        stage.ball((x, y, z), radius, skin, turn(40 * x * 100, 30), gloss=(0.04, 40.0))
    mug = [(0.036, 0), (0.040, 0.01), (0.041, 0.05), (0.042, 0.094), (0.040, 0.096)]
    mug += [(0.0375, 0.09), (0.037, 0.05), (0.035, 0.012), (0.001, 0.009)]
    dyes = [(0.75, 0.55, 0.25), (0.70, 0.25, 0.2), (0.8, 0.78, 0.7)]
    clay = foliage.leaves(
        rng,
        fabrics.plaster(rng, 0.2, 0.26, 1400, (0.25, 0.36, 0.40)),
        1400,
        dyes,
        900,
        (0.012, 0.03),
    )
    stage.turned((-0.20, -0.26, 0.003), smooth_profile(mug, 4), stage.print_on(clay))
    pot = [
        (0.05, 0),
        (0.068, 0.09),
        (0.076, 0.092),
        (0.077, 0.12),
        (0.072, 0.121),
        (0.064, 0.09),
        (0.05, 0.07),
    ]
    pot += [(0.001, 0.068)]
    stage.turned((-0.52, 0.46, 0.0), np.array(pot, float), TERRACOTTA, gloss=(0.0, 1.0))
    stage.ball((-0.52, 0.46, 0.12), 0.055, CORK, gloss=(0.0, 1.0))


def _small_things(stage: Stage, rng: np.random.Generator) -> None:
    stage.drum((0.30, -0.16, 0.0), 0.042, 0.042, 0.115, _tin(stage, rng, 0.042, 0.115), turn(30))
    stage.drum((0.40, -0.04, 0.0), 0.037, 0.037, 0.07, _tin(stage, rng, 0.037, 0.07), turn(150))
    stage.drum((-0.02, 0.25, 0.022), 0.05, 0.028, 0.13, _tin(stage, rng, 0.05, 0.13), turn(-100))
    stage.ball((0.04, -0.21, 0.058), 0.055, MARBLE, gloss=(0.06, 90.0))
    stage.ball((-0.03, -0.06, 0.043), 0.040, PAINTED, turn(20, 35), gloss=(0.03, 30.0))
    stage.ball((0.56, -0.20, 0.048), 0.048, GRANITE)
    stage.ball((-0.42, -0.26, 0.033), 0.030, LEMON)
    stage.ball((-0.35, -0.31, 0.036), 0.033, ORANGE)
    stage.ball((-0.10, 0.10, 0.028), 0.028, PAINTED, turn(80, 70))
    stage.drum((-0.16, 0.42, 0.0), 0.055, 0.012, 0.15, (CORK,), gloss=(0.02, 20.0))
    yellow = fabrics.plank(rng, 60, 300, 2500, [(0, (0.62, 0.45, 0.12)), (1, (0.86, 0.68, 0.22))])
    red = fabrics.plank(rng, 60, 300, 2500, [(0, (0.42, 0.10, 0.10)), (1, (0.66, 0.22, 0.18))])
    for x, y, yaw, paint in (
        (0.30, -0.44, 40, yellow),
        (0.34, -0.36, -15, red),
        (-0.05, -0.31, 75, red),
    ):
        stage.drum(
            (x, y, 0.009),
            0.005,
            0.005,
            0.15,
            stage.print_on(paint),
            turn(yaw, 90),
            gloss=(0.05, 50.0),
        )


def still_life(rng: np.random.Generator) -> Scene:
    """Set the whole scene."""
    stage = Stage()
    for setting in (_room, _table, _books, _boxes, _vessels, _small_things):
        setting(stage, rng)
    return stage.pack()
