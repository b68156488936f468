"""A stage collects shapes and their skins and packs them into the arrays that the tracer reads."""

from __future__ import annotations

import numpy as np

from .shapes import BALL, BOX, DRUM, TURNED, Scene


def turn(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    """Return world_from_local: first roll about x, then pitch about y, then yaw about z (up)."""
    c, s = (
        np.cos(np.radians([yaw_deg, pitch_deg, roll_deg])),
        np.sin(np.radians([yaw_deg, pitch_deg, roll_deg])),
    )
    about_z = np.array([[c[0], -s[0], 0], [s[0], c[0], 0], [0, 0, 1]])
    about_y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_x = np.array([[1, 0, 0], [0, c[2], -s[2]], [0, s[2], c[2]]])
    return about_z @ about_y @ about_x


def smooth_profile(points: list[tuple[float, float]], pieces: int) -> np.ndarray:
    """Round a polyline of (r, z) by Catmull-Rom interpolation, `pieces` per section."""
    p = np.array(points, np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        curve = (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        parts.append(0.5 * curve)
    profile = np.vstack([*parts, p[-2:-1]])
    profile[:, 0] = np.maximum(profile[:, 0], 1e-4)
    return profile


class Stage:
    """Shapes in the order they were put down."""

    def __init__(self) -> None:
        """Start empty."""
        self._rows: list[tuple] = []
        self._rings: list[np.ndarray] = []
        self._textures: list[np.ndarray] = []

    def print_on(self, texture: np.ndarray) -> int:
        """Keep an sRGB texture in [0, 1]; return its number."""
        self._textures.append(np.round(np.clip(texture, 0, 1) * 255).astype(np.uint8))
        return len(self._textures) - 1

    def _put(self, kind, centre, world_from_local, size, reach, skin, gloss, span=(0, 0)) -> None:
        skin = [skin] * 6 if isinstance(skin, int) else list(skin) + [skin[-1]] * (6 - len(skin))
        self._rows.append(
            (kind, centre, np.asarray(world_from_local).T, size, reach, skin, gloss, span)
        )

    def box(self, centre, size, skin, rotation=None, gloss=(0.01, 12.0)) -> None:
        """Put a box of full `size`; `skin` is one texture or those of +x, -x, +y, -y, +z, -z."""
        half = 0.5 * np.asarray(size, np.float64)
        rotation = np.eye(3) if rotation is None else rotation
        self._put(BOX, centre, rotation, half, np.linalg.norm(half), skin, gloss)

    def ball(self, centre, radius: float, skin: int, rotation=None, gloss=(0.02, 30.0)) -> None:
        """Put a ball."""
        rotation = np.eye(3) if rotation is None else rotation
        self._put(BALL, centre, rotation, (radius, 0, 0), radius, skin, gloss)

    def drum(
        self,
        foot,
        bottom: float,
        top: float,
        height: float,
        skin,
        rotation=None,
        gloss=(0.05, 50.0),
    ) -> None:
        """Put a capped cone frustum whose foot centre is given; `skin` is side, top, bottom."""
        rotation = np.eye(3) if rotation is None else rotation
        centre = np.asarray(foot) + rotation @ [0, 0, 0.5 * height]
        reach = float(np.hypot(max(bottom, top), 0.5 * height))
        self._put(DRUM, centre, rotation, (bottom, top, 0.5 * height), reach, skin, gloss)

    def turned(
        self, foot, profile: np.ndarray, skin: int, yaw_deg: float = 0.0, gloss=(0.06, 120.0)
    ) -> None:
        """Put a vessel turned from (r, z) rows, z from the foot; it may bend down inside."""
        r, z = profile[:, 0], profile[:, 1]
        middle = 0.5 * (z.min() + z.max())
        z = np.where(np.arange(len(z)) > 0, z - middle, z[0] - middle)
        z = z + 1e-6 * np.arange(len(z))
        along = np.gradient(np.stack([r, z], 1), axis=0)
        normal = np.stack([along[:, 1], -along[:, 0]], 1) / np.linalg.norm(
            along, axis=1, keepdims=True
        )
        arc = np.concatenate([[0], np.cumsum(np.hypot(np.diff(r), np.diff(z)))])
        arc = 1.0 - arc / arc[-1]
        rows = np.column_stack(
            [z[:-1], r[:-1], z[1:], r[1:], normal[:-1], normal[1:], arc[:-1], arc[1:]]
        )
        first = sum(len(ring) for ring in self._rings)
        self._rings.append(rows)
        reach = float(np.hypot(r, z).max()) + 1e-4
        centre = np.add(foot, (0.0, 0.0, middle))
        self._put(
            TURNED,
            centre,
            turn(yaw_deg),
            (r.max(), z.max(), 0),
            reach,
            skin,
            gloss,
            (first, first + len(rows)),
        )

    def pack(self) -> Scene:
        """Return the arrays."""
        columns = list(zip(*self._rows, strict=True))
        start, table = 0, []
        for texture in self._textures:
            table.append((start, *texture.shape[:2]))
            start += texture.shape[0] * texture.shape[1]
        return Scene(
            kind=np.array(columns[0], np.int64),
            centre=np.array(columns[1], np.float64),
            local_from_world=np.ascontiguousarray(columns[2], np.float64),
            size=np.array(columns[3], np.float64),
            reach=np.array(columns[4], np.float64),
            skin=np.array(columns[5], np.int64),
            gloss=np.array(columns[6], np.float64),
            ring=np.vstack(self._rings),
            ring_span=np.array(columns[7], np.int64),
            texel=np.vstack([texture.reshape(-1, 3) for texture in self._textures]),
            texture=np.array(table, np.int64),
        )
