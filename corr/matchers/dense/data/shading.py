"""Colours of ray hits: textures, light, gloss."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from corr.matchers.dense.data.cameras import Cameras
from corr.matchers.dense.data.casting import Hit, Solids, ground_normal
from corr.matchers.dense.data.noise import Draws
from corr.matchers.dense.data.textures import Atlas

FACES = 6
NUMBERS = 14  # per surface


@dataclass
class Looks:
    """How n scenes look: one row per solid, per face of the room, and for the ground.

    Columns: texture, second texture, their periods per metre, contrast, share of the second,
    tint (3), gloss, shininess, offset (2), turn of the texture.
    """

    surface: Tensor  # n (m + 7) NUMBERS


def draw_looks(draws: Draws, atlas: Atlas, kind: list[str], solids: int) -> Looks:
    """Random surfaces; every sixth is almost plain, some backgrounds are dark and empty."""
    n, rows = len(kind), solids + FACES + 1
    table = torch.zeros(n, rows, NUMBERS, device=draws.device)
    table[..., 0] = draws.integers(atlas.count, n, rows)
    table[..., 1] = draws.integers(atlas.count, n, rows)
    table[..., 2] = draws.log_uniform(0.35, 5.0, n, rows)
    table[..., 3] = table[..., 2] * draws.log_uniform(1.5, 8, n, rows)
    contrast = draws.uniform(0.7, 1.7, n, rows)
    plain = draws.happens(0.16, n, rows)
    table[..., 4] = torch.where(plain, draws.log_uniform(0.01, 0.2, n, rows), contrast)
    table[..., 5] = draws.uniform(0, 0.9, n, rows) * table[..., 4].clamp(max=1)
    light = draws.log_uniform(0.25, 1.3, n, rows, 1)
    table[..., 6:9] = (light * (1 + 0.15 * draws.normal(n, rows, 3))).clamp(0.02, 1.5)
    glossy = draws.happens(0.25, n, rows)
    table[..., 9] = torch.where(glossy, draws.uniform(0.05, 0.7, n, rows), 0)
    table[..., 10] = draws.log_uniform(4, 80, n, rows)
    table[..., 11:13] = draws.uniform(0, 1, n, rows, 2)
    table[..., 13] = draws.uniform(0, 2 * torch.pi, n, rows) * draws.happens(0.4, n, rows)
    # Objects close up need finer textures, wide scenes coarser ones.
    scale = torch.tensor(
        [{"object": 2.5, "field": 0.6}.get(k, 1.0) for k in kind], device=draws.device
    )
    table[..., 2:4] *= scale[:, None, None]
    empty = torch.tensor([k == "object" for k in kind], device=draws.device)
    empty = (empty & draws.happens(0.5, n))[:, None]
    walls = slice(solids, solids + FACES)
    table[:, walls, 4:6] = torch.where(empty[..., None], 0.02, table[:, walls, 4:6])
    dark = torch.where(draws.happens(0.5, n, 1), 0.04, 1.0)
    table[:, walls, 6:9] *= torch.where(empty, dark, 1.0)[..., None]
    return Looks(table)


@dataclass
class Light:
    """A sun and a lamp per view."""

    sun: Tensor  # N 3, unit, towards the sun
    lamp: Tensor  # N 3, position
    ambient: Tensor  # N
    lamp_share: Tensor  # N


def draw_light(draws: Draws, stage_low: Tensor, stage_high: Tensor) -> Light:
    """Lights of 2n views; one pair in four is lit differently in its two views."""
    n = len(stage_low)
    sun = normalize(draws.normal(2 * n, 3) + torch.tensor([0, 0, 0.8], device=draws.device), dim=-1)
    place = draws.uniform(0, 1, 2 * n, 3)
    lamp = stage_low.repeat(2, 1) + (stage_high - stage_low).repeat(2, 1) * place
    ambient, share = draws.uniform(0.25, 0.8, 2 * n), draws.uniform(0, 1, 2 * n)
    same = ~draws.happens(0.25, n)
    for value in (sun, lamp, ambient, share):
        value[n:] = torch.where(same.view(-1, *[1] * (value.dim() - 1)), value[:n], value[n:])
    return Light(sun, lamp, ambient, share)


def shade(
    solids: Solids,
    looks: Looks,
    light: Light,
    cameras: Cameras,
    atlas: Atlas,
    rays: Tensor,
    hit: Hit,
) -> Tensor:
    """Colours N p 3 of hits; scenes, lights and cameras one per view.

    Args:
        solids: The scenes, one per view.
        looks: Their surfaces, one per view.
        light: Their lights.
        cameras: N cameras.
        atlas: The textures.
        rays: Directions N 3 p.
        hit: Where they end.
    """
    direction = rays.transpose(1, 2)
    point = cameras.centre[:, None] + hit.t[..., None] * direction
    local, half, normal, axis, positive = _surface(solids, point, hit)
    toward = -normalize(direction, dim=-1)
    facing = (normal * toward).sum(-1, keepdim=True)
    normal = torch.where(facing < 0, -normal, normal)
    facing = facing[..., 0].abs().clamp(min=0.05)
    m = solids.centre.shape[1]
    wall = m + 2 * axis + positive
    row = torch.where(hit.solid < m, hit.solid, torch.where(hit.solid == m, wall, m + FACES))
    n, rows = looks.surface.shape[:2]
    first = torch.arange(n, device=row.device)[:, None] * rows
    s = looks.surface.flatten(0, 1).index_select(0, (row + first).flatten()).view(*row.shape, -1)
    metric = local * half
    uv = torch.stack(
        [
            torch.where(axis == 0, metric[..., 1], metric[..., 0]),
            torch.where(axis == 2, metric[..., 1], metric[..., 2]),
        ],
        -1,
    )
    cosine, sine = s[..., 13].cos(), s[..., 13].sin()
    uv = torch.stack(
        [cosine * uv[..., 0] - sine * uv[..., 1], sine * uv[..., 0] + cosine * uv[..., 1]], -1
    )
    uv = uv + (axis * 2 + positive)[..., None] * 0.37
    footprint = hit.t / cameras.focal[:, None] / facing.sqrt() * atlas.size
    base = atlas.read(
        s[..., 0].long(), uv * s[..., 2:3] + s[..., 11:13], (footprint * s[..., 2]).log2()
    )
    fine = atlas.read(
        s[..., 1].long(), uv * s[..., 3:4] + s[..., 12:13], (footprint * s[..., 3]).log2()
    ).mean(-1, keepdim=True)
    albedo = (0.5 + s[..., 4:5] * (base - 0.5)) * (1 + 1.4 * s[..., 5:6] * (fine - 0.5))
    albedo = (albedo * s[..., 6:9]).clamp(min=0)
    return _lit(albedo, normal, toward, point, light, s)


def _lit(
    albedo: Tensor, normal: Tensor, toward: Tensor, point: Tensor, light: Light, s: Tensor
) -> Tensor:
    sun = light.sun[:, None]
    to_lamp = light.lamp[:, None] - point
    distance = to_lamp.norm(dim=-1, keepdim=True).clamp(min=0.3)
    to_lamp = to_lamp / distance
    share = light.lamp_share[:, None, None]
    fall = share * (2.0 / distance).clamp(max=1.6)
    diffuse = (normal * sun).sum(-1, keepdim=True).clamp(min=0) * (1 - share)
    diffuse = diffuse + (normal * to_lamp).sum(-1, keepdim=True).clamp(min=0) * fall
    middle = normalize(toward + torch.where(share > 0.5, to_lamp, sun), dim=-1)
    lobe = (normal * middle).sum(-1).clamp(min=0) ** s[..., 10] * s[..., 9]
    ambient = light.ambient[:, None, None]
    return albedo * (ambient + (1.2 - ambient) * diffuse) + lobe[..., None]


def _surface(
    solids: Solids, point: Tensor, hit: Hit
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Place in the unit solid, half extents, outward normal, face axis and its side."""
    n, m = solids.centre.shape[:2]
    matrix = solids.unit_from_world
    middle = 0.5 * (solids.room_low + solids.room_high)
    half_room = 0.5 * (solids.room_high - solids.room_low)
    eye = torch.eye(3, device=point.device).expand(n, 1, 3, 3)
    matrix = torch.cat([matrix, eye / half_room[:, None, :, None], eye], 1)
    centre = torch.cat([solids.centre, middle[:, None], torch.zeros_like(middle)[:, None]], 1)
    half = torch.cat([solids.half, half_room[:, None], torch.ones_like(middle)[:, None]], 1)
    no = torch.zeros(n, 2, device=point.device)
    table = torch.cat(
        [matrix.flatten(2), centre, half, torch.cat([solids.round, no], 1)[..., None]], -1
    )
    first = torch.arange(n, device=point.device)[:, None] * (m + 2)
    g = table.flatten(0, 1).index_select(0, (hit.solid + first).flatten())
    g = g.view(*hit.solid.shape, -1)
    matrix = g[..., :9].unflatten(-1, (3, 3))
    local = (matrix * (point - g[..., 9:12])[..., None, :]).sum(-1)
    axis = local.abs().argmax(-1)
    ground = hit.solid == m + 1
    axis = torch.where(ground, 2, axis)
    onehot = one_hot(axis, 3).to(local.dtype)
    positive = (local * onehot).sum(-1) > 0
    slope = torch.where(
        g[..., 15:16] > 0, local, onehot * torch.where(positive, 1.0, -1.0)[..., None]
    )
    normal = normalize((slope[..., None] * matrix).sum(-2), dim=-1)
    if any(solids.wavy):
        some = [i for i, wavy in enumerate(solids.wavy) if wavy]
        waves = ground_normal(solids.wave[some], point[some, :, 0], point[some, :, 1])
        normal[some] = torch.where(ground[some][..., None], waves, normal[some])
    return local, g[..., 12:15], normal, axis, positive.long()
