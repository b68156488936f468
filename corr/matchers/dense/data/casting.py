"""Exact ray casting of batched scenes: boxes, ellipsoids, a room around them, a wavy ground.

Every solid is a unit cube or a unit sphere under an affine map, so one routine serves both. A ray
is o + t d with d as given: t is a depth along the optical axis if d has z = 1 in the camera.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 1e-3
WAVES = 5
MARCH = 14  # samples of a ray through the slab of the wavy ground
BISECT = 7


@dataclass
class Solids:
    """The geometry of n scenes with m solids each; world axes, z up."""

    centre: Tensor  # n m 3
    rotation: Tensor  # n m 3 3, world from local
    half: Tensor  # n m 3, half extents or half axes
    round: Tensor  # n m, bool: ellipsoid
    room_low: Tensor  # n 3, corner of the room
    room_high: Tensor  # n 3
    wave: Tensor  # n WAVES 4: amplitude, wave numbers along x and y, phase
    wavy: list[bool]  # n, on the host: there is a wavy ground around z = 0

    @property
    def unit_from_world(self) -> Tensor:
        """N m 3 3: the linear part of the map onto the unit solid."""
        return self.rotation.transpose(-1, -2) / self.half[..., None]

    def picked(self, index: list[int]) -> "Solids":
        """Scenes at these indices, repeated as they come."""
        values = {k: v[index] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return Solids(**values, wavy=[self.wavy[i] for i in index])


@dataclass
class Hit:
    """Where rays end; all rays end somewhere, at the latest on the room."""

    t: Tensor  # n p
    solid: Tensor  # n p: index of the solid; m = room, m + 1 = ground


def cast(solids: Solids, origin: Tensor, direction: Tensor, *, compiled: bool = False) -> Hit:
    """First hits of rays.

    Args:
        solids: n scenes.
        origin: n 3, one per scene.
        direction: n 3 p, any length.
        compiled: Fuse the test of one solid into one kernel by `torch.compile`.
    """
    step = _compiled_closer() if compiled else closer
    matrix = solids.unit_from_world
    offset = (matrix @ (origin[:, None] - solids.centre)[..., None])[..., 0]
    dx, dy, dz = direction.unbind(1)
    count = solids.centre.shape[1]
    t = _leaves_room(solids, origin, direction)
    solid = torch.full_like(t, count, dtype=torch.int32)
    for m in range(count):
        index = torch.full((len(t), 1), m, dtype=torch.int32, device=t.device)
        t, solid = step(
            t, solid, index, dx, dy, dz, matrix[:, m].flatten(1), offset[:, m], solids.round[:, m]
        )
    some = [i for i, wavy in enumerate(solids.wavy) if wavy]
    if some:
        ground = _ground(solids.wave[some], origin[some], direction[some], t[some])
        hit = ground < t[some]
        t[some] = torch.where(hit, ground, t[some])
        solid[some] = torch.where(hit, count + 1, solid[some])
    return Hit(t, solid)


def closer(
    t: Tensor,
    solid: Tensor,
    index: Tensor,
    dx: Tensor,
    dy: Tensor,
    dz: Tensor,
    matrix: Tensor,
    offset: Tensor,
    round_: Tensor,
) -> tuple[Tensor, Tensor]:
    """The nearer of what was hit so far and one solid per scene; t and solid n p."""
    a = matrix[:, 0:1] * dx + matrix[:, 1:2] * dy + matrix[:, 2:3] * dz
    b = matrix[:, 3:4] * dx + matrix[:, 4:5] * dy + matrix[:, 5:6] * dz
    c = matrix[:, 6:7] * dx + matrix[:, 7:8] * dy + matrix[:, 8:9] * dz
    x, y, z = offset[:, 0:1], offset[:, 1:2], offset[:, 2:3]
    # Cube: the last entry and the first exit of three slabs.
    ia, ib, ic = 1 / _nonzero(a), 1 / _nonzero(b), 1 / _nonzero(c)
    enter = torch.maximum(torch.maximum(-x * ia - ia.abs(), -y * ib - ib.abs()), -z * ic - ic.abs())
    leave = torch.minimum(torch.minimum(-x * ia + ia.abs(), -y * ib + ib.abs()), -z * ic + ic.abs())
    cube = torch.where(enter < leave, enter, torch.inf)
    # Sphere: the smaller root.
    square, half = a * a + b * b + c * c, a * x + b * y + c * z
    discriminant = half * half - square * (x * x + y * y + z * z - 1)
    sphere = torch.where(
        discriminant > 0, (-half - discriminant.clamp(min=0).sqrt()) / square, torch.inf
    )
    new = torch.where(round_[:, None], sphere, cube)
    better = (new > NEAR) & (new < t)
    return torch.where(better, new, t), torch.where(better, index, solid)


_CACHE: list = []


def _compiled_closer():
    if not _CACHE:
        _CACHE.append(torch.compile(closer, dynamic=True))
    return _CACHE[0]


def _nonzero(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1e-9, 1e-9, x)


def _leaves_room(solids: Solids, origin: Tensor, direction: Tensor) -> Tensor:
    """Where a ray from inside meets the room's walls, n p."""
    inverse = 1 / _nonzero(direction)
    ahead = torch.where(inverse > 0, solids.room_high[..., None], solids.room_low[..., None])
    return ((ahead - origin[..., None]) * inverse).amin(1)


def ground_height(wave: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Height of the wavy ground, n p."""
    height = torch.zeros_like(x)
    for k in range(WAVES):
        a, fx, fy, phase = (wave[:, k, i : i + 1] for i in range(4))
        height = height + a * (fx * x + fy * y + phase).sin()
    return height


def ground_normal(wave: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Upward unit normals, n p 3."""
    gx, gy = torch.zeros_like(x), torch.zeros_like(x)
    for k in range(WAVES):
        a, fx, fy, phase = (wave[:, k, i : i + 1] for i in range(4))
        slope = a * (fx * x + fy * y + phase).cos()
        gx, gy = gx + fx * slope, gy + fy * slope
    return torch.nn.functional.normalize(torch.stack([-gx, -gy, torch.ones_like(x)], -1), dim=-1)


def _ground(wave: Tensor, origin: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
    """First crossing of the wavy ground before `reach`: a march, then bisection; n p."""
    top = wave[:, :, 0].abs().sum(1, keepdim=True) + 1e-3
    dx, dy, dz = direction.unbind(1)
    ox, oy, oz = (origin[:, i : i + 1] for i in range(3))
    down = dz < -1e-4
    slope = torch.where(down, dz, -1.0)
    start = ((top - oz) / slope).clamp(min=NEAR)
    end = torch.minimum((-top - oz) / slope, reach)
    fair = down & (end > start)
    end = torch.where(fair, end, start)

    def above(t: Tensor) -> Tensor:
        return oz + t * dz > ground_height(wave, ox + t * dx, oy + t * dy)

    low, high = start, torch.full_like(start, torch.inf)
    step = (end - start) / MARCH
    for k in range(1, MARCH + 1):
        t = start + k * step
        found = torch.isinf(high)
        over = above(t)
        high = torch.where(found & ~over, t, high)
        low = torch.where(found & over, t, low)
    hit = fair & torch.isfinite(high)
    high = torch.where(hit, high, end)
    for _ in range(BISECT):
        middle = 0.5 * (low + high)
        over = above(middle)
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return torch.where(hit, 0.5 * (low + high), torch.inf)
