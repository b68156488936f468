"""Triangle meshes of simple bodies, from which simulated rooms are put together (metres, z up)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from corr.geometry.rigid import Rigid3

_BOX_FACES = np.array([
    [0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4],
    [1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4], [3, 4, 7],
])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle soup: bodies may touch and run into each other."""

    vertices: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, "m 3"]

    def moved(self, b_from_a: Rigid3) -> "Mesh":
        """The same body in frame b."""
        return Mesh(b_from_a.apply(self.vertices), self.triangles)

    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> "Mesh":
        """Turned about the vertical by `yaw` radians, then shifted."""
        return self.moved(Rigid3(turn_z(yaw), np.array([x, y, z], np.float64)))


def join(parts: Iterable[Mesh]) -> Mesh:
    """All bodies in one mesh."""
    parts = list(parts)
    counts = [len(part.vertices) for part in parts]
    starts = np.cumsum([0, *counts[:-1]])
    triangles = [part.triangles + start for part, start in zip(parts, starts, strict=True)]
    return Mesh(np.concatenate([part.vertices for part in parts]), np.concatenate(triangles))


def turn_z(angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about z, radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def turn_x(angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about x, radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def box(width: float, depth: float, height: float) -> Mesh:
    """A box standing on z = 0, centred in x (width) and y (depth)."""
    x, y = width / 2, depth / 2
    ring = np.array([[-x, -y], [x, -y], [x, y], [-x, y]])
    low = np.column_stack([ring, np.zeros(4)])
    return Mesh(np.concatenate([low, low + np.array([0, 0, height])]), _BOX_FACES)


def grid_faces(rows: int, columns: int) -> Int[np.ndarray, "m 3"]:
    """Triangles of a rows x columns vertex grid in row-major order."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, below, across = corner + 1, corner + columns, corner + columns + 1
    return np.concatenate(
        [np.column_stack([corner, right, across]), np.column_stack([corner, across, below])]
    )


def lathe(radii: Sequence[float], heights: Sequence[float], sides: int = 20) -> Mesh:
    """A body of revolution about z through (radius, height) profile points, closed by its radii."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    circle = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(sides + 1)])
    rings = [
        radius * circle + [0, 0, height] for radius, height in zip(radii, heights, strict=True)
    ]
    return Mesh(np.concatenate(rings), grid_faces(len(radii), sides + 1))


def cylinder(radius: float, height: float, sides: int = 20) -> Mesh:
    """A closed upright cylinder standing on z = 0."""
    return lathe([0, radius, radius, 0], [0, 0, height, height], sides)


def _waves(rng: np.random.Generator, points: np.ndarray, wavelength: float, count: int = 6):
    """A smooth random field of unit variance at the points, from random plane waves."""
    directions = rng.normal(size=(count, points.shape[1]))
    directions *= rng.uniform(0.6, 1.6, (count, 1)) / np.linalg.norm(directions, axis=1)[:, None]
    phase = points @ directions.T * (2 * np.pi / wavelength) + rng.uniform(0, 2 * np.pi, count)
    return np.sin(phase).sum(1) * np.sqrt(2 / count)


def sphere_points(rows: int = 16, columns: int = 24) -> Float[np.ndarray, "n 3"]:
    """Directions on a latitude-longitude grid, row-major."""
    lat = np.linspace(0, np.pi, rows)[:, None]
    lon = np.linspace(0, 2 * np.pi, columns)[None]
    xyz = [np.sin(lat) * np.cos(lon), np.sin(lat) * np.sin(lon), np.cos(lat) + 0 * lon]
    return np.stack(xyz, -1).reshape(-1, 3)


def blob(
    rng: np.random.Generator, size: Sequence[float], rough: float = 0.12, boxy: float = 1.0
) -> Mesh:
    """A lumpy ellipsoid standing on z = 0.

    Args:
        rng: Shape of the lumps.
        size: Full extents in x, y, z.
        rough: Height of the lumps over the radius.
        boxy: 1 = ellipsoid; smaller = rounded box (a superellipsoid's exponent).
    """
    unit = sphere_points()
    shape = np.sign(unit) * np.abs(unit) ** boxy
    shape *= (1 + rough * _waves(rng, unit, 1.6))[:, None]
    xyz = shape * np.asarray(size) / 2
    return Mesh(xyz + np.array([0, 0, size[2] / 2]), grid_faces(16, 24))


def curtain(rng: np.random.Generator, width: float, height: float, folds: float) -> Mesh:
    """A hanging cloth in the xz plane, its folds `folds` metres apart along x."""
    columns, rows = max(int(width / folds * 8), 16), 7
    x = np.linspace(-width / 2, width / 2, columns)
    warp = x + 0.3 * folds * np.sin(2 * np.pi * x / (4.1 * folds) + rng.uniform(0, 6))
    wave = np.sin(2 * np.pi * warp / folds) * rng.uniform(0.02, 0.05)
    depth = np.linspace(1.2, 0.8, rows)[:, None] * wave
    z = np.broadcast_to(np.linspace(0, height, rows)[:, None], depth.shape)
    xs = np.broadcast_to(x, depth.shape)
    return Mesh(np.stack([xs, depth, z], -1).reshape(-1, 3), grid_faces(rows, columns))


def cloth(
    rng: np.random.Generator, width: float, depth: float, bump: float, wavelength: float = 0.5
) -> Mesh:
    """An uneven horizontal sheet around z = 0: blankets, rugs, heaps."""
    columns, rows = int(width / 0.06) + 2, int(depth / 0.06) + 2
    x, y = np.meshgrid(
        np.linspace(-width / 2, width / 2, columns), np.linspace(-depth / 2, depth / 2, rows)
    )
    xy = np.column_stack([x.ravel(), y.ravel()])
    z = bump * (_waves(rng, xy, wavelength) + 0.4 * _waves(rng, xy, wavelength / 3))
    return Mesh(np.column_stack([xy, z]), grid_faces(rows, columns))
