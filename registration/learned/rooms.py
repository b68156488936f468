"""Random furnished rooms as triangle meshes: worlds to scan with a simulated depth camera."""

from dataclasses import dataclass

import numpy as np

from registration.learned import furniture
from registration.learned.shapes import Mesh, blob, box, cloth, curtain, cylinder, join


@dataclass(frozen=True, eq=False)
class Room:
    """A mesh with the free floor rectangle 0..width, 0..depth and its height; metres, z up."""

    mesh: Mesh
    width: float
    depth: float
    height: float


def room(rng: np.random.Generator) -> Room:
    """One random room, fully determined by the generator's state."""
    width, depth, height = rng.uniform(2.8, 5.5), rng.uniform(2.6, 4.8), rng.uniform(2.3, 2.9)
    parts = [_floor(rng, width, depth), box(width, depth, 0.1).at(width / 2, depth / 2, height)]
    for x, y, yaw, length in _walls(width, depth):
        wall = [_wall(rng, length, height), *_wall_furniture(rng, length, height)]
        parts.append(join(wall).at(x, y, 0, yaw))
    for _ in range(rng.integers(2, 6)):
        piece = _choice(rng, furniture.FREE_STANDING)
        x, y = width * rng.uniform(0.25, 0.75), depth * rng.uniform(0.25, 0.75)
        parts.append(piece(rng).at(x, y, 0, rng.uniform(-np.pi, np.pi)))
    if rng.random() < 0.3:
        x, y = width * rng.uniform(0.1, 0.9), depth * rng.uniform(0.1, 0.9)
        parts.append(cylinder(rng.uniform(0.1, 0.25), height).at(x, y))
    return Room(join(parts), width, depth, height)


def _walls(width: float, depth: float) -> list[tuple[float, float, float, float]]:
    """Middle of each wall's foot, the yaw that turns y towards the wall, and its length."""
    return [
        (width / 2, depth, 0.0, width),
        (0.0, depth / 2, np.pi / 2, depth),
        (width / 2, 0.0, np.pi, width),
        (width, depth / 2, -np.pi / 2, depth),
    ]


def _floor(rng: np.random.Generator, width: float, depth: float) -> Mesh:
    parts = [box(width + 1, depth + 1, 0.1).at(width / 2, depth / 2, -0.1)]
    if rng.random() < 0.5:
        rug = cloth(rng, rng.uniform(1, 2), rng.uniform(0.8, 1.5), 0.008)
        parts.append(rug.at(width / 2, depth / 2, 0.025, rng.uniform(-0.3, 0.3)))
    return join(parts)


def _wall(rng: np.random.Generator, length: float, height: float) -> Mesh:
    """A wall in the xz plane facing -y, with a door or window recess cut between its pieces."""
    kind = rng.choice(["plain", "door", "window", "step"], p=[0.3, 0.25, 0.3, 0.15])
    wide = min(rng.uniform(0.8, 1.8), length * 0.6)
    middle = rng.uniform(-0.5, 0.5) * (length - wide)
    low, high, deep = 0.0, height, rng.uniform(0.08, 0.35)
    if kind == "door":
        low, high, wide = 0.0, 2.05, 0.9
    elif kind == "window":
        low, high = rng.uniform(0.5, 1.1), rng.uniform(1.7, 2.2)
    if kind == "plain":
        return box(length, 0.4, height).at(0, 0.2)
    left, right = middle - wide / 2, middle + wide / 2
    parts = [box(length, 0.4, height).at(0, 0.2 + deep)]
    for a, b in ((-length / 2, left), (right, length / 2)):
        if b - a > 0.02:
            parts.append(box(b - a, deep, height).at((a + b) / 2, deep / 2))
    for a, b in ((0.0, low), (high, height)):
        if b - a > 0.02:
            parts.append(box(wide, deep, b - a).at(middle, deep / 2, a))
    return join([*parts, *_frame(rng, kind, middle, wide, low, high, deep)])


def _frame(
    rng: np.random.Generator, kind: str, middle: float, wide: float, low: float, high: float,
    deep: float,
) -> list[Mesh]:  # fmt: skip
    """What sits in and before a recess: frames, window bars, sills, curtains."""
    if kind == "step":
        return []
    parts = []
    for sx in (-1, 1):
        side = box(0.08, 0.1, high - low).at(middle + sx * (wide / 2 + 0.03), -0.03, low)
        parts.append(side)
    parts.append(box(wide + 0.16, 0.1, 0.08).at(middle, -0.03, high))
    if kind == "window":
        parts.append(box(wide + 0.1, 0.2, 0.03).at(middle, -0.05, low))
        parts.append(box(0.05, 0.05, high - low).at(middle, deep - 0.03, low))
        for sx in (-1, 1):
            if rng.random() < 0.5:
                cover = curtain(
                    rng, wide * rng.uniform(0.3, 0.6), high + 0.1, rng.uniform(0.1, 0.25)
                )
                parts.append(cover.at(middle + sx * wide * 0.45, -0.12, 0.05))
        parts.append(furniture.small_thing(rng, 0.2).at(middle, -0.06, low + 0.03))
    return parts


def _wall_furniture(rng: np.random.Generator, length: float, height: float) -> list[Mesh]:
    """Pieces side by side along one wall, and what hangs over them."""
    parts, x = [], -length / 2 + rng.uniform(0, 0.4)
    while x < length / 2 - 0.5:
        piece = _choice(rng, furniture.ALONG_WALL)(rng)
        low, high = piece.vertices.min(0), piece.vertices.max(0)
        span = high[0] - low[0]
        if x + span > length / 2:
            break
        if rng.random() < 0.92:
            gap = rng.uniform(0, 0.08)
            parts.append(piece.at(x - low[0], -gap, 0, rng.normal(0, 0.03)))
            if high[2] < 1.2 and rng.random() < 0.65:
                hanging = _hanging(rng, span)
                parts.append(hanging.at(x + span / 2, 0, rng.uniform(1.3, 1.7)))
        x += span + rng.uniform(0, 0.35)
    if rng.random() < 0.15:
        sheet = curtain(rng, length * rng.uniform(0.3, 0.8), height - 0.1, rng.uniform(0.1, 0.3))
        parts.append(sheet.at(rng.uniform(-0.1, 0.1) * length, -rng.uniform(0.1, 0.25), 0.05))
    return parts


def _hanging(rng: np.random.Generator, span: float) -> Mesh:
    """A picture, a board with books, or a jacket on a hook, against the wall."""
    kind = rng.integers(3)
    if kind == 0:
        return box(rng.uniform(0.3, 0.9), 0.04, rng.uniform(0.3, 0.7)).at(0, -0.02)
    if kind == 1:
        width = max(min(span, 1.2), 0.4)
        row = furniture.books(rng, width * 0.9, 0.28, 0.2)
        return join([box(width, 0.22, 0.03).at(0, -0.11), row.at(0, 0, 0.03)])
    return blob(rng, (0.45, 0.2, 0.8), 0.15, 0.7).at(0, -0.1, -0.5)


def _choice(rng: np.random.Generator, makers: list[furniture.Maker]) -> furniture.Maker:
    return makers[rng.integers(len(makers))]
