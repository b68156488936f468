"""Pairs of flat pictures: a homography and a smooth flow between two crops of a canvas."""

import torch
import torch.nn.functional as F
from torch import Tensor

from corr.matchers.dense.data.noise import Draws
from corr.matchers.dense.losses import Truth
from corr.matchers.dense.warps import own_positions

BUMPS = 10
ROUNDS = 14  # of the fixed-point inversion
STRIDES = (2, 4, 8, 16)


class FlatMap:
    """From pixels of b to pixels of a: a = H(b + flow(b)), n pairs.

    The flow is a sum of Gaussian bumps whose slope stays below 0.6 in total, so b + flow(b) can
    be inverted by fixed-point iteration.
    """

    def __init__(self, draws: Draws, count: int, width: int, height: int):
        self.width, self.height = width, height
        self.forward_h = _homographies(draws, count, width, height)
        self.inverse_h = torch.linalg.inv(self.forward_h)
        size = torch.tensor([width, height], device=draws.device, dtype=torch.float32)
        self.centre = draws.uniform(-0.1, 1.1, count, BUMPS, 2) * size
        self.radius = draws.log_uniform(0.08, 0.5, count, BUMPS) * max(width, height)
        slope = draws.normal(count, BUMPS, 2) * draws.log_uniform(0.005, 0.12, count, 1, 1)
        slope = slope * draws.happens(0.6, count, 1, 1)
        limit = 0.6 / (slope.norm(dim=-1).sum(1) * 0.61).clamp(min=0.6)
        self.height_px = slope * limit[:, None, None] * self.radius[..., None]

    def flow(self, b: Tensor) -> Tensor:
        """Displacements n p 2 at pixels n p 2 of b."""
        total = torch.zeros_like(b)
        for k in range(BUMPS):
            square = (b - self.centre[:, k : k + 1]).square().sum(-1, keepdim=True)
            bump = torch.exp(-0.5 * square / self.radius[:, k, None, None].square())
            total = total + bump * self.height_px[:, k : k + 1]
        return total

    def a_from_b(self, b: Tensor) -> Tensor:
        """Pixels n p 2 of a."""
        return _mapped(self.forward_h, b + self.flow(b))[0]

    def b_from_a(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels n p 2 of b, and where the inversion has converged to 0.01 px, n p."""
        goal, ahead = _mapped(self.inverse_h, a)
        b = goal
        for _ in range(ROUNDS):
            b = goal - self.flow(b)
        return b, ((b + self.flow(b) - goal).norm(dim=-1) < 0.01) & ahead


def flat_pairs(
    draws: Draws, canvases: Tensor, count: int, width: int, height: int
) -> tuple[Tensor, Truth]:
    """Pictures 2n 3 H W before any camera effect, and their exact warps.

    Args:
        draws: Decides everything.
        canvases: Pictures to take crops of, k 3 h w.
        count: Pairs.
        width: Of the pictures, px.
        height: Of the pictures, px.
    """
    device = draws.device
    maps = FlatMap(draws, count, width, height)
    crop = _crops(draws, canvases, count, width, height)
    which = draws.integers(len(canvases), count)
    full = own_positions(height, width, 1, device).flatten(1).T.expand(count, -1, 2)
    pictures = [
        _read(canvases, which, crop, place, height, width) for place in (full, maps.a_from_b(full))
    ]
    warp, visible = {}, {}
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        own = own_positions(rows, columns, stride, device).flatten(1).T.expand(count, -1, 2)
        in_b, good = maps.b_from_a(own)
        in_a = maps.a_from_b(own)
        both = torch.cat([in_b, in_a])
        good = torch.cat([good, torch.ones_like(good)])
        good = good & inside(both.transpose(1, 2), width, height)
        warp[stride] = both.transpose(1, 2).unflatten(2, (rows, columns))
        visible[stride] = good.unflatten(1, (rows, columns))
    return torch.cat(pictures), Truth(warp, visible)


def inside(xy: Tensor, width: int, height: int) -> Tensor:
    """Which positions N 2 … lie in the picture: N …."""
    x, y = xy[:, 0], xy[:, 1]
    return (x > 0) & (x < width) & (y > 0) & (y < height)


def _homographies(draws: Draws, n: int, width: int, height: int) -> Tensor:
    """Turn, scale, shear, shift and perspective about the centre; n 3 3, a from b."""
    turn = torch.where(draws.happens(0.25, n), draws.uniform(-0.8, 0.8, n), draws.normal(n) * 0.15)
    scale = (draws.normal(n) * 0.35).exp().clamp(0.4, 2.5)
    stretch = (draws.normal(n) * 0.15).exp().clamp(0.6, 1.6)
    shear = draws.normal(n) * 0.15
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    h = torch.zeros(n, 3, 3, device=draws.device)
    h[:, 0, 0], h[:, 0, 1] = cosine * stretch, cosine * shear - sine / stretch
    h[:, 1, 0], h[:, 1, 1] = sine * stretch, sine * shear + cosine / stretch
    h[:, :2, 2] = draws.normal(n, 2) * 0.22
    h[:, 2, :2] = (draws.normal(n, 2) * 0.2).clamp(-0.45, 0.45)
    h[:, 2, 2] = 1
    size = max(width, height) / 2
    to_unit = torch.tensor(
        [[1 / size, 0, -width / 2 / size], [0, 1 / size, -height / 2 / size], [0, 0, 1]],
        device=draws.device,
    )
    return torch.linalg.inv(to_unit) @ h @ to_unit


def _mapped(h: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Positions n p 2 through n homographies, and which lie before the horizon."""
    z = torch.cat([xy, torch.ones_like(xy[..., :1])], -1) @ h.transpose(1, 2)
    ahead = z[..., 2] * h[:, 2, 2:3].sign() > 0.1
    return z[..., :2] / torch.where(z[..., 2:].abs() < 1e-3, 1e-3, z[..., 2:]), ahead


def _crops(draws: Draws, canvases: Tensor, n: int, width: int, height: int) -> Tensor:
    """Affine maps from pixels of a to canvas coordinates in [-1, 1], n 2 3."""
    rows, columns = canvases.shape[-2:]
    largest = min(columns / width, rows / height)
    zoom = largest * draws.uniform(0.55, 0.95, n)
    half = torch.stack([zoom * width / columns, zoom * height / rows], -1)
    middle = draws.uniform(-1, 1, n, 2) * (1 - half)
    flip = torch.where(draws.happens(0.5, n), -1.0, 1.0)
    affine = torch.zeros(n, 2, 3, device=draws.device)
    affine[:, 0, 0] = flip * half[:, 0] * 2 / width
    affine[:, 1, 1] = half[:, 1] * 2 / height
    affine[:, 0, 2] = middle[:, 0] - flip * half[:, 0]
    affine[:, 1, 2] = middle[:, 1] - half[:, 1]
    return affine


def _read(
    canvases: Tensor, which: Tensor, crop: Tensor, xy: Tensor, height: int, width: int
) -> Tensor:
    grid = xy @ crop[:, :, :2].transpose(1, 2) + crop[:, None, :, 2]
    grid = grid.unflatten(1, (height, width))
    return F.grid_sample(
        canvases[which].float(), grid, padding_mode="reflection", align_corners=False
    )
