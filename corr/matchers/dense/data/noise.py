"""Seeded random numbers on a device, and tileable grey patterns of many kinds."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Draws:
    """Random numbers of one generator; every method returns a tensor on its device."""

    generator: torch.Generator

    @classmethod
    def seeded(cls, device: torch.device, *numbers: int) -> "Draws":
        """A generator whose state depends on all the numbers."""
        seed = 0x9E3779B97F4A7C15
        for number in numbers:
            seed = ((seed ^ (number + 0x7F4A7C15)) * 0xBF58476D1CE4E5B9) & (2**63 - 1)
            seed ^= seed >> 29
        return cls(torch.Generator(device).manual_seed(seed))

    @property
    def device(self) -> torch.device:
        """Where the numbers lie."""
        return self.generator.device

    def uniform(self, low: float | int, high: float | int, *shape: int) -> Tensor:
        """Evenly in [low, high)."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def log_uniform(self, low: float | int, high: float | int, *shape: int) -> Tensor:
        """Evenly in the logarithm."""
        exponent = self.uniform(0, 1, *shape)
        return low * (high / low) ** exponent

    def happens(self, chance: float, *shape: int) -> Tensor:
        """True with that probability."""
        return torch.rand(shape, generator=self.generator, device=self.device) < chance

    def integers(self, count: int, *shape: int) -> Tensor:
        """0 … count - 1."""
        return torch.randint(0, count, shape, generator=self.generator, device=self.device)

    def chosen(self, weights: list[float], *shape: int) -> Tensor:
        """Indices drawn with these weights."""
        edges = torch.tensor(weights, device=self.device).cumsum(0)
        return torch.searchsorted(edges, self.uniform(0, float(edges[-1]), *shape)).clamp(
            max=len(weights) - 1
        )


def stretched(x: Tensor) -> Tensor:
    """To [0, 1] per pattern, n h w, by mean and deviation."""
    centred = x - x.mean((1, 2), keepdim=True)
    return (0.5 + 0.22 * centred / centred.std((1, 2), keepdim=True).clamp(min=1e-6)).clamp(0, 1)


def fractal(draws: Draws, count: int, size: int) -> Tensor:
    """Noise with the spectrum f^-beta, beta 0.7 … 2.4, as photographs have; some directed."""
    fy = torch.fft.fftfreq(size, device=draws.device)[:, None]
    fx = torch.fft.rfftfreq(size, device=draws.device)[None]
    angle = draws.uniform(0, torch.pi, count, 1, 1)
    squeeze = torch.where(
        draws.happens(0.3, count, 1, 1), draws.log_uniform(2, 8, count, 1, 1), 1.0
    )
    along = fx * angle.cos() + fy * angle.sin()
    across = (fy * angle.cos() - fx * angle.sin()) * squeeze
    radius = (along.square() + across.square()).sqrt().clamp(min=1 / size)
    spectrum = radius ** -draws.uniform(0.7, 2.4, count, 1, 1)
    cut = draws.log_uniform(0.002, 0.03, count, 1, 1)
    spectrum = spectrum * (radius > cut)
    noise = torch.complex(
        draws.normal(count, size, fx.shape[1]), draws.normal(count, size, fx.shape[1])
    )
    return stretched(torch.fft.irfft2(noise * spectrum, s=(size, size)))


def posterised(draws: Draws, count: int, size: int) -> Tensor:
    """Fractal noise in a few flat levels: sharp outlines of irregular shape."""
    levels = 2 + draws.integers(5, count, 1, 1)
    x = fractal(draws, count, size)
    return ((x * levels).floor() / (levels - 1).clamp(min=1)).clamp(0, 1)


def grid_positions(device: torch.device, size: int) -> tuple[Tensor, Tensor]:
    """Pixel centres in [0, 1): y as a column, x as a row."""
    step = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
    return step[:, None], step[None]


def cells(draws: Draws, count: int, size: int) -> Tensor:
    """Voronoi cells on a torus: flat cells, their borders, or the distance to the centres."""
    y, x = grid_positions(draws.device, size)
    points = 40
    near = torch.full((count, size, size), 9.0, device=draws.device)
    second, value = near.clone(), torch.zeros_like(near)
    used = 6 + draws.integers(points - 5, count)
    for k in range(points):
        px, py, grey = (draws.uniform(0, 1, count, 1, 1) for _ in range(3))
        dx, dy = (x - px + 0.5) % 1 - 0.5, (y - py + 0.5) % 1 - 0.5
        distance = (dx.square() + dy.square()).sqrt()
        distance = torch.where((used > k)[:, None, None], distance, 9.0)
        closer = distance < near
        second = torch.where(closer, near, torch.minimum(second, distance))
        near = torch.where(closer, distance, near)
        value = torch.where(closer, grey, value)
    border = ((second - near) * 25).clamp(0, 1)
    kind = draws.integers(3, count, 1, 1)
    return torch.where(
        kind == 0,
        value,
        torch.where(kind == 1, border * (0.3 + 0.7 * value), (4 * near).clamp(0, 1)),
    )


def tiles(draws: Draws, count: int, size: int) -> Tensor:
    """Bricks, tiles and windows: a lattice of rectangles with joints, each of its own grey."""
    y, x = grid_positions(draws.device, size)
    rows = 2 ** (1 + draws.integers(4, count, 1, 1))
    columns = 2 ** (1 + draws.integers(4, count, 1, 1))
    row = (y * rows).floor()
    offset = torch.where(draws.happens(0.5, count, 1, 1), 0.5, 0.0) * (row % 2)
    across = (x * columns + offset) % columns
    u, v = across % 1, (y * rows) % 1
    joint = draws.uniform(0.02, 0.3, count, 1, 1)
    inside = (u > joint) & (u < 1 - joint / 3) & (v > joint) & (v < 1 - joint / 3)
    spread = draws.uniform(0, 0.6, count, 1, 1)
    tone = _hashed(row.expand(count, size, size), across.floor(), draws.uniform(0, 99, count, 1, 1))
    bevel = draws.uniform(-0.3, 0.3, count, 1, 1) * (u - 0.5)
    return torch.where(
        inside, 0.7 + spread * (tone - 0.5) + bevel, draws.uniform(0, 0.5, count, 1, 1)
    ).clamp(0, 1)


def _hashed(a: Tensor, b: Tensor, seed: Tensor) -> Tensor:
    return ((a * 12.9898 + b * 78.233 + seed).sin() * 43758.547) % 1


def lettering(draws: Draws, count: int, size: int) -> Tensor:
    """Lines of small random glyphs on a plain ground: dense fine detail, as print has."""
    glyph = torch.rand(
        (count, 1, size // 4, size // 4), generator=draws.generator, device=draws.device
    )
    y, x = grid_positions(draws.device, size // 4)
    lines = 4 + draws.integers(12, count, 1, 1)
    gap = ((y * lines) % 1 < 0.6) & ((x * lines * draws.uniform(1, 3, count, 1, 1)) % 1 < 0.8)
    words = (
        F.interpolate(draws.uniform(0, 1, count, 1, 16, 16), size // 4, mode="nearest")[:, 0] < 0.8
    )
    ink = (glyph[:, 0] < 0.5) & gap & words
    x = F.interpolate(ink.float()[:, None], size, mode="nearest")[:, 0]
    return torch.where(draws.happens(0.5, count, 1, 1), x, 1 - x)


def strokes(draws: Draws, count: int, size: int) -> Tensor:
    """Overlapping straight strokes and discs of random grey."""
    y, x = grid_positions(draws.device, size)
    value = draws.uniform(0, 1, count, 1, 1).expand(count, size, size)
    for _ in range(24):
        px, py, turn = (draws.uniform(0, 1, count, 1, 1) for _ in range(3))
        dx, dy = (x - px + 0.5) % 1 - 0.5, (y - py + 0.5) % 1 - 0.5
        turn = turn * torch.pi
        along, across = dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()
        length = draws.log_uniform(0.03, 0.45, count, 1, 1)
        width = torch.minimum(length, draws.log_uniform(0.006, 0.15, count, 1, 1))
        round_ = draws.happens(0.3, count, 1, 1)
        inside = torch.where(
            round_,
            (along / length).square() + (across / width).square() < 1,
            (along.abs() < length) & (across.abs() < width),
        )
        value = torch.where(inside, draws.uniform(0, 1, count, 1, 1), value)
    return value


def stripes(draws: Draws, count: int, size: int) -> Tensor:
    """Stripes and checks of whole periods, hard or soft."""
    y, x = grid_positions(draws.device, size)
    waves = [1 + draws.integers(12, count, 1, 1) for _ in range(2)]
    first = (2 * torch.pi * (waves[0] * x + draws.integers(3, count, 1, 1) * y)).sin()
    second = (2 * torch.pi * waves[1] * y).sin()
    value = torch.where(draws.happens(0.5, count, 1, 1), first * second, first)
    hard = draws.log_uniform(1, 30, count, 1, 1)
    return 0.5 + 0.5 * (hard * value).tanh()


KINDS = (fractal, posterised, cells, tiles, lettering, strokes, stripes)
SHARES = (0.3, 0.15, 0.13, 0.14, 0.06, 0.16, 0.06)


def patterns(draws: Draws, count: int, size: int) -> Tensor:
    """Grey patterns count size size in [0, 1], of all kinds in fixed shares, shuffled."""
    parts: list[Tensor] = []
    for kind, share in zip(KINDS[1:], SHARES[1:], strict=True):
        number = min(int(share * count), count - sum(map(len, parts)))
        if number:
            parts.append(kind(draws, number, size))
    parts.append(fractal(draws, count - sum(map(len, parts)), size))
    order = torch.randperm(count, generator=draws.generator, device=draws.device)
    return torch.cat(parts)[order]
