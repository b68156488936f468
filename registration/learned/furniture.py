"""Random furniture: each function returns a mesh that stands on z = 0, its back at y = 0.

Pieces stand along a wall: they fill y <= 0 seen from the wall's foot, so that `mesh.at(x, y, 0,
yaw)` pushes them against it. Metres.
"""

from collections.abc import Callable

import numpy as np

from corr.geometry.rigid import Rigid3
from registration.learned.shapes import Mesh, blob, box, cloth, cylinder, join, lathe, turn_x

Maker = Callable[[np.random.Generator], Mesh]


def books(rng: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """A row of books along x, some leaning, some missing, with a box or a vase between."""
    parts, x = [], -width / 2
    while x < width / 2 - 0.03:
        step = rng.uniform(0.02, 0.07)
        if rng.random() < 0.12:
            step = min(rng.uniform(0.08, 0.25), width / 2 - x)
            if rng.random() < 0.6 and step > 0.1:
                item = small_thing(rng, step * 0.8)
                parts.append(item.at(x + step / 2, -depth / 2))
        else:
            tall = height * rng.uniform(0.5, 0.92)
            deep = depth * rng.uniform(0.6, 0.95)
            parts.append(box(step * 0.95, deep, tall).at(x + step / 2, -deep / 2))
        x += step
    return join(parts) if parts else box(0.1, 0.1, 0.1)


def small_thing(rng: np.random.Generator, size: float = 0.25) -> Mesh:
    """Clutter for a shelf or a table top, about `size` wide."""
    s = size * rng.uniform(0.5, 1.0)
    kind = rng.integers(6)
    if kind == 0:
        return box(s, s * rng.uniform(0.4, 1), s * rng.uniform(0.3, 1.2)).at(0, 0, 0, _yaw(rng))
    if kind == 1:
        return cylinder(s * 0.35, s * rng.uniform(0.5, 1.6), 14)
    if kind == 2:
        return blob(rng, (s * rng.uniform(0.5, 1, 3)).tolist(), 0.15)
    if kind == 3:
        profile = s * rng.uniform(0.12, 0.5, 5)
        return lathe([0, *profile, 0], [0, *np.linspace(0, s * 1.4, 5), s * 1.4])
    if kind == 4:
        stack = [box(s, s * 0.7, 0.03).at(0, 0, 0.03 * k, 0.3 * _yaw(rng)) for k in range(4)]
        return join(stack)
    bowl = lathe([0, s * 0.3, s * 0.55, s * 0.5, 0.0], [0, 0, s * 0.4, s * 0.4, s * 0.08])
    return join([bowl, blob(rng, (s * 0.5, s * 0.5, s * 0.5), 0.3)])


def shelf(rng: np.random.Generator) -> Mesh:
    """A bookcase with boards, a back and full or half-empty rows."""
    width, depth, height = rng.uniform(0.6, 1.4), rng.uniform(0.25, 0.4), rng.uniform(0.8, 2.1)
    rows = max(int(height / rng.uniform(0.28, 0.42)), 2)
    parts = [box(width, 0.02, height).at(0, -0.01)]
    parts += [box(0.03, depth, height).at(sx * width / 2, -depth / 2) for sx in (-1, 1)]
    for row in range(rows + 1):
        parts.append(box(width, depth, 0.025).at(0, -depth / 2, row * height / rows))
        if row < rows and rng.random() < 0.8:
            filled = books(rng, width * rng.uniform(0.5, 0.95), height / rows - 0.03, depth)
            parts.append(filled.at(0, 0, row * height / rows + 0.025))
    return join([*parts, *_clutter(rng, width, depth, height + 0.025, 2)])


def cabinet(rng: np.random.Generator) -> Mesh:
    """A closed cupboard or chest with door gaps, handles and things on top."""
    width, depth, height = rng.uniform(0.5, 1.6), rng.uniform(0.35, 0.65), rng.uniform(0.5, 1.9)
    columns, rows = rng.integers(1, 4), rng.integers(1, 5)
    parts = [box(width, depth, height).at(0, -depth / 2)]
    cell_w, cell_h = width / columns, (height - 0.1) / rows
    for c in range(columns):
        for r in range(rows):
            x, z = -width / 2 + (c + 0.5) * cell_w, 0.08 + r * cell_h
            parts.append(box(cell_w - 0.03, 0.03, cell_h - 0.03).at(x, -depth - 0.01, z))
            parts.append(box(0.12, 0.04, 0.02).at(x, -depth - 0.04, z + cell_h * 0.6))
    return join([*parts, *_clutter(rng, width, depth, height, rng.integers(0, 7))])


def table(rng: np.random.Generator) -> Mesh:
    """A desk or table with legs or sides, clutter, perhaps a monitor."""
    width, depth, height = rng.uniform(0.8, 1.9), rng.uniform(0.5, 0.9), rng.uniform(0.45, 0.8)
    parts = [box(width, depth, 0.04).at(0, -depth / 2, height)]
    for sx in (-1, 1):
        if rng.random() < 0.3:
            parts.append(box(0.04, depth * 0.9, height).at(sx * width * 0.45, -depth / 2))
            continue
        for y in (-0.08, -depth + 0.08):
            parts.append(box(0.06, 0.06, height).at(sx * (width / 2 - 0.06), y))
    if rng.random() < 0.5:
        parts.append(monitor(rng).at(rng.uniform(-0.3, 0.3) * width, -0.15, height + 0.04))
    return join([*parts, *_clutter(rng, width, depth, height + 0.04, rng.integers(2, 14))])


def monitor(rng: np.random.Generator) -> Mesh:
    """A screen on a foot."""
    width, height = rng.uniform(0.35, 0.65), rng.uniform(0.25, 0.4)
    screen = box(width, rng.uniform(0.03, 0.3), height).at(0, -0.1, 0.12)
    return join([screen, box(0.06, 0.05, 0.15).at(0, -0.06), box(0.25, 0.2, 0.02).at(0, -0.1)])


def chair(rng: np.random.Generator) -> Mesh:
    """A kitchen chair, an office chair on a star foot, or a stool."""
    seat, width = rng.uniform(0.4, 0.5), rng.uniform(0.4, 0.5)
    parts = [blob(rng, (width, width, 0.09), 0.03, 0.4).at(0, -0.3, seat - 0.06)]
    if rng.random() < 0.5:
        legs = [(sx * 0.18, -0.3 + sy * 0.18) for sx in (-1, 1) for sy in (-1, 1)]
        parts += [box(0.04, 0.04, seat).at(x, y) for x, y in legs]
    else:
        parts.append(cylinder(0.03, seat, 10).at(0, -0.3))
        spoke = box(0.3, 0.05, 0.05)
        angles = np.arange(5) * 2 * np.pi / 5 + _yaw(rng)
        parts += [spoke.at(0.15 * np.cos(a), -0.3 + 0.15 * np.sin(a), 0.05, a) for a in angles]
    if rng.random() < 0.8:
        back = blob(rng, (width, 0.08, rng.uniform(0.3, 0.55)), 0.03, 0.4)
        parts.append(_leaning(back, -0.15).at(0, -0.08, seat + rng.uniform(0, 0.15)))
    return join(parts).at(0, 0.0)


def sofa(rng: np.random.Generator) -> Mesh:
    """A sofa or armchair with arms, seat cushions and pillows."""
    width, depth, seat = rng.uniform(0.8, 2.1), rng.uniform(0.75, 0.95), rng.uniform(0.35, 0.45)
    high = rng.uniform(0.7, 0.95)
    parts = [box(width, depth, seat - 0.1).at(0, -depth / 2)]
    parts.append(_leaning(blob(rng, (width, 0.28, high - 0.1), 0.03, 0.35), -0.12).at(0, -0.2, 0.1))
    for sx in (-1, 1):
        arm = blob(rng, (0.22, depth, seat + 0.2), 0.02, 0.35)
        parts.append(arm.at(sx * width / 2, -depth / 2))
    places = max(round(width / 0.65), 1)
    for k in range(places):
        x = (k + 0.5) / places * (width - 0.2) - (width - 0.2) / 2
        cushion = blob(rng, ((width - 0.2) / places, depth - 0.3, 0.2), 0.04, 0.4)
        parts.append(cushion.at(x, -depth / 2 - 0.1, seat - 0.15))
        if rng.random() < 0.5:
            pillow = _leaning(blob(rng, (0.42, 0.16, 0.4), 0.06, 0.6), -0.35)
            parts.append(pillow.at(x, -0.42, seat, rng.uniform(-0.5, 0.5)))
    return join(parts)


def bed(rng: np.random.Generator) -> Mesh:
    """A bed, its head at the wall, with pillows and a rumpled blanket."""
    width, length, height = rng.uniform(0.9, 1.7), rng.uniform(1.9, 2.1), rng.uniform(0.4, 0.65)
    parts = [blob(rng, (width, length, height), 0.01, 0.2).at(0, -length / 2)]
    parts.append(box(width, 0.06, height + rng.uniform(0.1, 0.6)).at(0, -0.03))
    blanket = cloth(rng, width * 1.02, length * 0.7, rng.uniform(0.01, 0.035))
    parts.append(blanket.at(0, -length * 0.62, height + 0.03))
    for x in np.linspace(-0.3, 0.3, max(round(width / 0.7), 1)) * (width - 0.3):
        pillow = blob(rng, (0.6, 0.4, 0.18), 0.06, 0.6)
        parts.append(pillow.at(x, -0.35, height - 0.02, rng.uniform(-0.3, 0.3)))
    return join(parts)


def counter(rng: np.random.Generator) -> Mesh:
    """A kitchen line: floor cupboards, worktop, things, wall cupboards."""
    width, depth = rng.uniform(1.2, 2.6), rng.uniform(0.55, 0.65)
    parts = [box(width, depth - 0.05, 0.86).at(0, -depth / 2 + 0.02)]
    parts.append(box(width, depth, 0.04).at(0, -depth / 2, 0.86))
    doors = int(width / 0.5)
    for k in range(doors):
        x = (k + 0.5) / doors * width - width / 2
        parts.append(box(width / doors - 0.02, 0.02, 0.7).at(x, -depth + 0.02, 0.1))
        parts.append(box(0.15, 0.03, 0.02).at(x, -depth - 0.01, 0.72))
        if rng.random() < 0.7:
            high = rng.uniform(0.4, 0.8)
            parts.append(box(width / doors - 0.01, 0.33, high).at(x, -0.165, 1.4))
    return join([*parts, *_clutter(rng, width, depth, 0.9, rng.integers(4, 14))])


def plant(rng: np.random.Generator) -> Mesh:
    """A pot with leaves."""
    parts = [lathe([0, 0.12, 0.17, 0.15, 0], [0, 0, 0.3, 0.3, 0.25]).at(0, -0.3)]
    parts.append(cylinder(0.02, 0.7, 8).at(0, -0.3, 0.25))
    for _ in range(rng.integers(8, 22)):
        leaf = blob(rng, (0.1, 0.35, 0.03), 0.1).moved(Rigid3(turn_x(_tilt(rng)), np.zeros(3)))
        reach, around = rng.uniform(0.05, 0.28), _yaw(rng)
        x, y = reach * np.cos(around), -0.3 + reach * np.sin(around)
        parts.append(leaf.at(x, y, rng.uniform(0.4, 1.1), around + np.pi / 2))
    return join(parts)


def lamp(rng: np.random.Generator) -> Mesh:
    """A standing lamp."""
    high, shade = rng.uniform(1.2, 1.7), rng.uniform(0.15, 0.25)
    parts = [cylinder(0.15, 0.03), cylinder(0.02, high, 8)]
    parts.append(lathe([shade, shade * 0.6, 0], [high, high + 0.28, high + 0.28]))
    return join(parts).at(0, -0.3)


def heap(rng: np.random.Generator) -> Mesh:
    """Boxes, bags and balls on the floor."""
    parts = []
    for _ in range(rng.integers(3, 8)):
        x, y = rng.uniform(-0.4, 0.4), rng.uniform(-0.7, -0.2)
        size = rng.uniform(0.15, 0.5, 3).tolist()
        body = box(*size) if rng.random() < 0.5 else blob(rng, size, 0.1, rng.uniform(0.4, 1))
        parts.append(body.at(x, y, 0, _yaw(rng)))
    return join(parts)


def radiator(rng: np.random.Generator) -> Mesh:
    """A ribbed heater."""
    count = int(rng.integers(6, 16))
    ribs = [box(0.05, 0.12, 0.55).at(0.08 * k, -0.1, 0.12) for k in range(count)]
    return join(ribs).at(-0.04 * count, 0)


ALONG_WALL: list[Maker] = [
    shelf, shelf, cabinet, cabinet, table, table, sofa, bed, counter, chair, plant, lamp, heap,
    radiator,
]  # fmt: skip
FREE_STANDING: list[Maker] = [table, chair, chair, chair, sofa, heap, plant, cabinet]


def _clutter(
    rng: np.random.Generator, width: float, depth: float, height: float, count: int | np.integer
) -> list[Mesh]:
    """Things scattered on a top of that size at that height."""
    things = []
    for _ in range(count):
        x = rng.uniform(-0.42, 0.42) * width
        y = -depth / 2 + rng.uniform(-0.35, 0.35) * depth
        things.append(small_thing(rng, rng.uniform(0.1, 0.35)).at(x, y, height, _yaw(rng)))
    return things


def _leaning(mesh: Mesh, angle: float) -> Mesh:
    """Tilted about its lower edge, radians; negative leans towards the wall."""
    return mesh.moved(Rigid3(turn_x(angle), np.zeros(3)))


def _yaw(rng: np.random.Generator) -> float:
    return float(rng.uniform(-np.pi, np.pi))


def _tilt(rng: np.random.Generator) -> float:
    return float(rng.uniform(-0.9, 0.9))
