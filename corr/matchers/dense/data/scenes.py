"""Random scenes: rooms, façades, single objects and open ground, all with clutter."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from corr.matchers.dense.data.cameras import Stage
from corr.matchers.dense.data.casting import WAVES, Solids
from corr.matchers.dense.data.noise import Draws

SOLIDS = 28
KINDS = ("room", "facade", "object", "field")
SHARES = (0.35, 0.25, 0.25, 0.15)
# Per kind: lowest and highest of what is drawn evenly. Metres and radians.
RANGES = {
    "half_x": ((2.2, 5), (6, 14), (4, 12), (15, 40)),
    "half_y": ((2.2, 5), (6, 14), (4, 12), (15, 40)),
    "height": ((2.3, 3.6), (5, 12), (5, 10), (10, 30)),
    "spread_x": ((1.2, 3.5), (1.5, 3.5), (0.25, 0.7), (2, 5)),
    "spread_y": ((1.2, 3.5), (0, 0.1), (0.25, 0.7), (2, 5)),
    "spread_z": ((0.5, 1.6), (1.2, 2.5), (0.25, 0.7), (0.2, 1.5)),
    "middle_z": ((0.2, 1.0), (1.2, 2.5), (0.5, 1.2), (0.0, 0.5)),
    "distance": ((1.0, 3.5), (2.0, 5.5), (1.3, 3.0), (2.0, 6.0)),
    "elevation": ((-0.1, 0.6), (-0.25, 0.35), (-0.1, 0.9), (0.15, 0.8)),
    "size": ((0.25, 0.5), (0.2, 0.5), (0.12, 0.3), (0.25, 0.7)),
}


@dataclass
class Scene:
    """Geometry of n scenes and where their cameras may be."""

    solids: Solids
    stage: Stage
    kind: list[str]


def draw_scenes(draws: Draws, host: random.Random, count: int) -> Scene:
    """Random scenes; `host` decides the kinds, `draws` all the rest."""
    kinds = host.choices(range(len(KINDS)), SHARES, k=count)
    value = {name: _per_kind(draws, bounds, kinds) for name, bounds in RANGES.items()}
    facade = torch.tensor([KINDS[k] == "facade" for k in kinds], device=draws.device)
    wavy = [KINDS[k] == "field" or host.random() < 0.08 for k in kinds]
    wave = _waves(draws, torch.tensor(wavy, device=draws.device))
    depth = wave[:, :, 0].abs().sum(1)
    zero = torch.zeros(count, device=draws.device)
    # A façade is the room's wall at y = 0; everything else is centred.
    low = torch.stack([-value["half_x"], torch.where(facade, -2, -1) * value["half_y"], -depth], -1)
    low[:, 2] -= torch.where(depth > 0, 0.05, 0.0)
    high = torch.stack(
        [value["half_x"], torch.where(facade, zero, value["half_y"]), value["height"]], -1
    )
    centre, rotation, half, round_ = _clutter(draws, value, facade)
    solids = Solids(centre, rotation, half, round_, low, high, wave, wavy)
    return Scene(solids, _stage(draws, value, facade, solids, depth), [KINDS[k] for k in kinds])


def _per_kind(draws: Draws, bounds: tuple, kinds: list[int]) -> Tensor:
    table = torch.tensor(bounds, device=draws.device, dtype=torch.float32)[kinds]
    return table[:, 0] + (table[:, 1] - table[:, 0]) * draws.uniform(0, 1, len(kinds))


def _waves(draws: Draws, wavy: Tensor) -> Tensor:
    n = len(wavy)
    length = draws.log_uniform(0.7, 8, n, WAVES)
    amplitude = length * draws.log_uniform(0.008, 0.06, n, WAVES) * wavy[:, None]
    turn = draws.uniform(0, torch.pi, n, WAVES)
    number = 2 * torch.pi / length
    phase = draws.uniform(0, 2 * torch.pi, n, WAVES)
    return torch.stack([amplitude, number * turn.cos(), number * turn.sin(), phase], -1)


def _clutter(
    draws: Draws, value: dict[str, Tensor], facade: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres, rotations, half sizes and roundness of the solids."""
    n, m = len(facade), SOLIDS
    half = value["size"][:, None, None] * draws.log_uniform(0.15, 1.6, n, m, 1)
    half = half * draws.log_uniform(0.45, 2.2, n, m, 3)
    shape = draws.chosen([0.55, 0.17, 0.13, 0.15], n, m)[..., None]  # block, pole, panel, ball
    axis = torch.nn.functional.one_hot(draws.integers(3, n, m), 3).bool()
    thin = draws.log_uniform(0.008, 0.05, n, m, 1)
    pole = torch.where(axis, draws.log_uniform(0.3, 2.0, n, m, 1), thin)
    panel = torch.where(axis, thin, half)
    half = torch.where(shape == 1, pole, torch.where(shape == 2, panel, half))
    round_ = (shape[..., 0] == 3) | ((shape[..., 0] == 0) & draws.happens(0.15, n, m))
    spread = torch.stack([value["spread_x"], value["spread_y"], value["spread_z"]], -1)
    place = draws.uniform(-1, 1, n, m, 3) * spread[:, None]
    # Most things stand on the ground, on the wall or on each other; some float.
    place[..., 2] += value["middle_z"][:, None]
    standing = draws.happens(0.55, n, m) & ~facade[:, None]
    place[..., 2] = torch.where(
        standing, half[..., 2] * draws.uniform(0.5, 1.0, n, m), place[..., 2]
    )
    wall = facade[:, None] & draws.happens(0.85, n, m)
    half[..., 1] = torch.where(wall, half[..., 1].clamp(max=0.35), half[..., 1])
    place[..., 1] = torch.where(
        wall,
        -half[..., 1] * draws.uniform(-0.3, 1.0, n, m),
        torch.where(facade[:, None], -draws.uniform(0.2, 2.0, n, m), place[..., 1]),
    )
    return place, _rotations(draws, facade), half, round_


def _rotations(draws: Draws, facade: Tensor) -> Tensor:
    """A third aligned with the walls, a third turned about the vertical, the rest any way."""
    n, m = len(facade), SOLIDS
    how = draws.chosen([0.4, 0.35, 0.25], n, m)
    how = torch.where(facade[:, None] & draws.happens(0.7, n, m), 0, how)
    turn = draws.uniform(0, torch.pi, n, m)
    quaternion = torch.zeros(n, m, 4, device=draws.device)
    quaternion[..., 0], quaternion[..., 3] = (turn / 2).cos(), (turn / 2).sin()
    any_way = normalize(draws.normal(n, m, 4), dim=-1)
    straight = torch.zeros_like(quaternion)
    straight[..., 0] = 1
    how = how[..., None]
    q = torch.where(how == 0, straight, torch.where(how == 1, quaternion, any_way))
    w, x, y, z = q.unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def _stage(
    draws: Draws, value: dict[str, Tensor], facade: Tensor, solids: Solids, depth: Tensor
) -> Stage:
    n = len(facade)
    pick = draws.integers(SOLIDS, n)
    chosen = solids.centre[torch.arange(n, device=draws.device), pick]
    middle = torch.zeros_like(chosen)
    middle[:, 2] = value["middle_z"]
    target = middle + (chosen - middle) * draws.uniform(0.2, 0.9, n, 1)
    target[:, 2] = target[:, 2].clamp(min=0.05)
    any_side = draws.uniform(0, 2 * torch.pi, n)
    before_wall = -torch.pi / 2 + draws.uniform(-0.7, 0.7, n)
    low, high = solids.room_low + 0.15, solids.room_high - 0.15
    low[:, 2] = torch.maximum(low[:, 2], depth + 0.12)
    return Stage(
        target,
        torch.where(facade, before_wall, any_side),
        value["elevation"],
        value["distance"],
        low,
        high,
    )


def without_blockers(solids: Solids, centres: Tensor, margin: float = 0.2) -> Solids:
    """The same scenes without the solids that a camera stands in or almost touches.

    Args:
        solids: n scenes.
        centres: Camera centres, c n 3.
        margin: Metres around a solid.
    """
    local = solids.rotation.transpose(-1, -2) @ (centres[:, :, None] - solids.centre)[..., None]
    near = (local[..., 0].abs() < solids.half + margin).all(-1).any(0)
    centre = torch.where(near[..., None], torch.tensor(1e4, device=near.device), solids.centre)
    half = torch.where(near[..., None], 1e-3, solids.half)
    return Solids(**{**vars(solids), "centre": centre, "half": half})
