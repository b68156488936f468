"""Shapes a ray can meet: boxes, balls, drums (capped frusta), turned vessels (open frusta)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

BOX, BALL, DRUM, TURNED = 0, 1, 2, 3
NOTHING = 1e30
_NEAR = 1e-5


class Scene(NamedTuple):
    """All shapes and their skins, as arrays with one row per shape.

    `local_from_world` holds rotations only; `size` is half extents (box), radius (ball), bottom and
    top radius and half height (drum) or largest radius and height (turned). `skin` are texture
    numbers per face, negative for solids. `ring` rows are z, r of both ends of a frustum, then
    normals (r, z) of both ends and places along the profile (0 to 1) of both ends.
    """

    kind: np.ndarray
    centre: np.ndarray
    local_from_world: np.ndarray
    size: np.ndarray
    reach: np.ndarray
    skin: np.ndarray
    gloss: np.ndarray
    ring: np.ndarray
    ring_span: np.ndarray
    texel: np.ndarray
    texture: np.ndarray


@njit(cache=True, fastmath=True)
def _meet_box(ox, oy, oz, dx, dy, dz, hx, hy, hz):
    near, far, face = -NOTHING, NOTHING, 0
    for axis in range(3):
        o = ox if axis == 0 else (oy if axis == 1 else oz)
        d = dx if axis == 0 else (dy if axis == 1 else dz)
        h = hx if axis == 0 else (hy if axis == 1 else hz)
        if abs(d) < 1e-12:
            d = 1e-12
        enter, leave = (-h - o) / d, (h - o) / d
        if enter > leave:
            enter, leave = leave, enter
        if enter > near:
            near = enter
            face = 2 * axis + (1 if d > 0.0 else 0)
        far = min(far, leave)
    if near > far or near < _NEAR:
        return NOTHING, 0
    return near, face


@njit(cache=True, fastmath=True)
def _meet_ball(ox, oy, oz, dx, dy, dz, radius):
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - radius * radius
    inside = b * b - c
    if inside < 0.0:
        return NOTHING
    t = -b - math.sqrt(inside)
    return t if t > _NEAR else NOTHING


@njit(cache=True, fastmath=True)
def _meet_frustum(ox, oy, oz, dx, dy, dz, z0, r0, z1, r1):
    """Meet the open side of a frustum from outside or inside, whichever comes first."""
    slope = (r1 - r0) / (z1 - z0)
    radius = r0 + slope * (oz - z0)
    a = dx * dx + dy * dy - slope * slope * dz * dz
    b = ox * dx + oy * dy - slope * dz * radius
    c = ox * ox + oy * oy - radius * radius
    inside = b * b - a * c
    if inside < 0.0 or abs(a) < 1e-14:
        return NOTHING
    root = math.sqrt(inside)
    best = NOTHING
    low, high = min(z0, z1), max(z0, z1)
    for sign in (-1.0, 1.0):
        t = (-b + sign * root) / a
        z = oz + t * dz
        if _NEAR < t < best and low <= z <= high and radius + slope * t * dz >= 0.0:
            best = t
    return best


@njit(cache=True, fastmath=True)
def _meet_drum(ox, oy, oz, dx, dy, dz, bottom, top, half):
    best, face = _meet_frustum(ox, oy, oz, dx, dy, dz, -half, bottom, half, top), 0
    if abs(dz) > 1e-12:
        for cap in (1, 2):
            radius = top if cap == 1 else bottom
            t = ((half if cap == 1 else -half) - oz) / dz
            x, y = ox + t * dx, oy + t * dy
            if _NEAR < t < best and x * x + y * y <= radius * radius:
                best, face = t, cap
    return best, face


@njit(cache=True, fastmath=True)
def _meet_turned(ox, oy, oz, dx, dy, dz, ring, first, last):
    best, face = NOTHING, 0
    for row in range(first, last):
        t = _meet_frustum(
            ox, oy, oz, dx, dy, dz, ring[row, 0], ring[row, 1], ring[row, 2], ring[row, 3]
        )
        if t < best:
            best, face = t, row
    return best, face


@njit(cache=True, fastmath=True)
def meet(scene, ox, oy, oz, dx, dy, dz, farthest, any_will_do):
    """Find the first shape along a ray (unit direction).

    Returns distance (`NOTHING` if none before `farthest`), shape and face. With `any_will_do` the
    search stops at the first shape found, whichever it is.
    """
    best, shape, face = farthest, -1, 0
    for i in range(scene.kind.shape[0]):
        x, y, z = ox - scene.centre[i, 0], oy - scene.centre[i, 1], oz - scene.centre[i, 2]
        along = x * dx + y * dy + z * dz
        reach = scene.reach[i]
        if (
            x * x + y * y + z * z - along * along > reach * reach
            or -along - reach > best
            or along > reach
        ):
            continue
        m = scene.local_from_world[i]
        px, py, pz = (
            m[0, 0] * x + m[0, 1] * y + m[0, 2] * z,
            m[1, 0] * x + m[1, 1] * y + m[1, 2] * z,
            m[2, 0] * x + m[2, 1] * y + m[2, 2] * z,
        )
        qx, qy, qz = (
            m[0, 0] * dx + m[0, 1] * dy + m[0, 2] * dz,
            m[1, 0] * dx + m[1, 1] * dy + m[1, 2] * dz,
            m[2, 0] * dx + m[2, 1] * dy + m[2, 2] * dz,
        )
        kind, side = scene.kind[i], 0
        a, b, c = scene.size[i, 0], scene.size[i, 1], scene.size[i, 2]
        if kind == BOX:
            t, side = _meet_box(px, py, pz, qx, qy, qz, a, b, c)
        elif kind == BALL:
            t = _meet_ball(px, py, pz, qx, qy, qz, a)
        elif kind == DRUM:
            t, side = _meet_drum(px, py, pz, qx, qy, qz, a, b, c)
        else:
            t, side = _meet_turned(
                px, py, pz, qx, qy, qz, scene.ring, scene.ring_span[i, 0], scene.ring_span[i, 1]
            )
        if t < best:
            best, shape, face = t, i, side
            if any_will_do:
                break
    return (best if shape >= 0 else NOTHING), shape, face


@njit(cache=True, fastmath=True)
def normal_and_uv(scene, shape, face, x, y, z):
    """Return outward local normal and texture place (u right, v down, 0 to 1) of a point."""
    kind = scene.kind[shape]
    a, b, c = scene.size[shape, 0], scene.size[shape, 1], scene.size[shape, 2]
    if kind == BOX:
        axis, sign = face // 2, -1.0 if face % 2 else 1.0
        if axis == 0:
            return sign, 0.0, 0.0, 0.5 + 0.5 * sign * y / b, 0.5 - 0.5 * z / c
        if axis == 1:
            return 0.0, sign, 0.0, 0.5 - 0.5 * sign * x / a, 0.5 - 0.5 * z / c
        return 0.0, 0.0, sign, 0.5 + 0.5 * sign * x / a, 0.5 - 0.5 * y / b
    if kind == BALL:
        return x / a, y / a, z / a, 0.0, 0.0
    around = 0.5 + math.atan2(y, x) / (2.0 * math.pi)
    radius = max(math.sqrt(x * x + y * y), 1e-9)
    if kind == DRUM:
        if face > 0:
            widest = max(a, b)
            return (
                0.0,
                0.0,
                1.0 if face == 1 else -1.0,
                0.5 + 0.5 * x / widest,
                0.5 - 0.5 * y / widest,
            )
        lean = (a - b) / (2.0 * c)
        norm = math.sqrt(1.0 + lean * lean)
        return x / radius / norm, y / radius / norm, lean / norm, around, 0.5 - 0.5 * z / c
    ring = scene.ring[face]
    share = (z - ring[0]) / (ring[2] - ring[0])
    nr = ring[4] + share * (ring[6] - ring[4])
    nz = ring[5] + share * (ring[7] - ring[5])
    norm = math.sqrt(nr * nr + nz * nz)
    arc = ring[8] + share * (ring[9] - ring[8])
    return nr * x / radius / norm, nr * y / radius / norm, nz / norm, around, arc
