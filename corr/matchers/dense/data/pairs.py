"""Batches of training pairs: rendered scenes and flat pictures, with exact truth at all strides."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from corr.matchers.dense.data.cameras import Cameras, draw_pair
from corr.matchers.dense.data.casting import Hit, Solids, cast
from corr.matchers.dense.data.flat import STRIDES, flat_pairs, inside
from corr.matchers.dense.data.noise import Draws
from corr.matchers.dense.data.photometric import photographed
from corr.matchers.dense.data.scenes import SOLIDS, draw_scenes, without_blockers
from corr.matchers.dense.data.shading import Light, Looks, draw_light, draw_looks, shade
from corr.matchers.dense.data.textures import Atlas, coloured, make_atlas
from corr.matchers.dense.losses import Truth
from corr.matchers.dense.warps import own_positions

SEEN_TOLERANCE = 2e-3  # of the distance: a nearer hit hides a point


@dataclass(frozen=True)
class PairOptions:
    """How the data are made."""

    flat_share: float = 0.25  # of the pairs
    textures: int = 384  # in the atlas
    texture_size: int = 256  # texels per side
    canvases: int = 12  # procedural pictures for flat pairs
    renew: int = 40  # batches between new atlases
    compiled: bool = False  # fuse the ray casting by torch.compile


class PairSource:
    """Batch number k of a seed is always the same; no state but a cache of the textures."""

    def __init__(
        self, options: PairOptions, seed: int, device: torch.device, photos: Tensor | None
    ):
        self.options, self.seed, self.device = options, seed, device
        self.photos = photos
        self._atlas: tuple[int, Atlas, Tensor] | None = None

    def batch(self, index: int, count: int, width: int, height: int) -> tuple[Tensor, Truth]:
        """Photos 2n 3 H W in [0, 1], the second half being partners, and their truth.

        Args:
            index: Number of the batch.
            count: Pairs n.
            width: Of the photos, px; a multiple of 32.
            height: The same.
        """
        draws = Draws.seeded(self.device, self.seed, index)
        host = random.Random(f"{self.seed} {index}")
        atlas, canvases = self._textures(index // self.options.renew)
        flat = (
            min(count - 1, round(count * self.options.flat_share))
            if count > 1
            else int(host.random() < self.options.flat_share)
        )
        parts = []
        if count - flat:
            parts.append(self._scenes(draws, host, atlas, count - flat, width, height))
        if flat:
            pool = canvases if self.photos is None or host.random() < 0.3 else self.photos
            parts.append(flat_pairs(draws, pool, flat, width, height))
        images, truth = _joined(parts)
        return photographed(draws, images), truth

    def _textures(self, epoch: int) -> tuple[Atlas, Tensor]:
        if self._atlas is None or self._atlas[0] != epoch:
            draws = Draws.seeded(self.device, self.seed, 7_000_000 + epoch)
            o = self.options
            atlas = make_atlas(draws, o.textures, o.texture_size, self.photos)
            canvases = coloured(draws, o.canvases, 2 * o.texture_size)
            self._atlas = (epoch, atlas, canvases)
        return self._atlas[1:]

    def _scenes(
        self, draws: Draws, host: random.Random, atlas: Atlas, n: int, width: int, height: int
    ) -> tuple[Tensor, Truth]:
        scene = draw_scenes(draws, host, n)
        cameras = draw_pair(draws, scene.stage, width, height)
        solids = without_blockers(scene.solids, cameras.centre.unflatten(0, (2, n)))
        looks = draw_looks(draws, atlas, scene.kind, SOLIDS)
        light = draw_light(draws, solids.room_low, solids.room_high)
        twice = [*range(n), *range(n)]
        views = solids.picked(twice)
        images = self._render(views, Looks(looks.surface[twice]), light, cameras, atlas)
        return images, scene_truth(views, cameras, compiled=self.options.compiled)

    def _render(
        self, views: Solids, looks: Looks, light: Light, cameras: Cameras, atlas: Atlas
    ) -> Tensor:
        """Pictures N 3 H W, in chunks of views: the shading holds some 60 numbers per pixel."""
        width, height = cameras.width, cameras.height
        pixels = own_positions(height, width, 1, self.device).flatten(1).T
        chunk = 16 if self.device.type == "cuda" else 2
        parts = []
        for start in range(0, len(cameras.centre), chunk):
            index = list(range(start, min(start + chunk, len(cameras.centre))))
            some, scenes = cameras.picked(index), views.picked(index)
            rays = some.rays(pixels)
            hit = cast(scenes, some.centre, rays, compiled=self.options.compiled)
            lights = Light(*(value[index] for value in vars(light).values()))
            colour = shade(scenes, Looks(looks.surface[index]), lights, some, atlas, rays, hit)
            parts.append(colour.transpose(1, 2).unflatten(2, (height, width)))
        return torch.cat(parts)


def scene_truth(views: Solids, cameras: Cameras, *, compiled: bool = False) -> Truth:
    """Exact warps of 2n views, each onto its partner, and what both see.

    Rays through the cell centres of every stride are cast, what they hit is projected into the
    partner, and a second ray from the partner tells whether it sees the same point.
    """
    n, width, height = len(cameras.centre) // 2, cameras.width, cameras.height
    device = cameras.centre.device
    shapes = [(height // s, width // s) for s in STRIDES]
    places = [
        own_positions(r, c, s, device).flatten(1).T
        for (r, c), s in zip(shapes, STRIDES, strict=True)
    ]
    rays = cameras.rays(torch.cat(places))
    hit: Hit = cast(views, cameras.centre, rays, compiled=compiled)
    point = cameras.centre[..., None] + hit.t[:, None] * rays
    other = cameras.picked([*range(n, 2 * n), *range(n)])
    uv, depth = other.project(point)
    back = cast(views, other.centre, point - other.centre[..., None], compiled=compiled)
    seen = (depth > 0) & inside(uv, width, height) & (back.t > 1 - SEEN_TOLERANCE)
    warp, visible, start = {}, {}, 0
    for stride, (rows, columns) in zip(STRIDES, shapes, strict=True):
        part = slice(start, start + rows * columns)
        # Far outside (a point behind the partner, say) there is nothing to learn; no infinities.
        warp[stride] = uv[:, :, part].clamp(-1e5, 1e5).unflatten(2, (rows, columns))
        visible[stride] = seen[:, part].unflatten(1, (rows, columns))
        start += rows * columns
    return Truth(warp, visible)


def _joined(parts: list[tuple[Tensor, Truth]]) -> tuple[Tensor, Truth]:
    """Batches behind one another; first halves stay before second halves."""

    def halves(tensors: list[Tensor]) -> Tensor:
        split = [t.chunk(2) for t in tensors]
        return torch.cat([s[0] for s in split] + [s[1] for s in split])

    images = halves([images for images, _ in parts])
    truths = [truth for _, truth in parts]
    return images, Truth(
        {s: halves([t.warp[s] for t in truths]) for s in STRIDES},
        {s: halves([t.visible[s] for t in truths]) for s in STRIDES},
    )
