"""Two pinhole cameras per scene, looking at one place from different sides."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from corr.matchers.dense.data.noise import Draws


@dataclass
class Cameras:
    """Pinholes of one size; OpenCV axes, pixel centres at +0.5."""

    centre: Tensor  # N 3, world
    rotation: Tensor  # N 3 3, world from camera
    focal: Tensor  # N, px
    width: int
    height: int

    def rays(self, uv: Tensor) -> Tensor:
        """World directions N 3 p of pixels p 2, of unit depth along the optical axis."""
        middle = torch.tensor([self.width / 2, self.height / 2], device=uv.device)
        xy = (uv - middle)[None] / self.focal[:, None, None]
        local = torch.cat([xy, torch.ones_like(xy[..., :1])], -1)
        return self.rotation @ local.transpose(1, 2)

    def project(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        """World points N 3 p to pixels N 2 p and depths N p."""
        local = self.rotation.transpose(1, 2) @ (xyz - self.centre[..., None])
        depth = local[:, 2]
        safe = torch.where(depth.abs() < 1e-6, 1e-6, depth)[:, None]
        middle = torch.tensor([[self.width / 2], [self.height / 2]], device=xyz.device)
        return local[:, :2] / safe * self.focal[:, None, None] + middle, depth

    def picked(self, index: list[int]) -> "Cameras":
        """Cameras at these indices."""
        return Cameras(
            self.centre[index], self.rotation[index], self.focal[index], self.width, self.height
        )


@dataclass
class Stage:
    """Where the cameras of n scenes may stand and look; metres."""

    target: Tensor  # n 3
    azimuth: Tensor  # n, of the first camera as seen from the target
    elevation: Tensor  # n
    distance: Tensor  # n
    low: Tensor  # n 3: the box that cameras stay in
    high: Tensor  # n 3


def draw_pair(draws: Draws, stage: Stage, width: int, height: int) -> Cameras:
    """2n cameras, the second half being the first half's partners.

    The angle between the two views is half-normal (about 20 degrees, 65 at most), distances
    differ by up to a factor of 2.5, one camera in four is rolled by up to 45 degrees, and focal
    lengths agree in one pair of two.
    """
    n = len(stage.azimuth)
    angle = (draws.normal(n).abs() * 0.38 + 0.03).clamp(max=1.15)
    turn = draws.uniform(0, 2 * torch.pi, n)
    azimuth = torch.cat([stage.azimuth, stage.azimuth + angle * turn.cos()])
    elevation = torch.cat([stage.elevation, stage.elevation + 0.6 * angle * turn.sin()])
    elevation = elevation.clamp(-0.3, 1.3)
    ratio = (draws.normal(n) * 0.3).exp().clamp(0.4, 2.5)
    distance = torch.cat([stage.distance, stage.distance * ratio])
    away = torch.stack(
        [
            elevation.cos() * azimuth.cos(),
            elevation.cos() * azimuth.sin(),
            elevation.sin(),
        ],
        -1,
    )
    target = stage.target.repeat(2, 1)
    centre = target + away * distance[:, None]
    centre = torch.maximum(torch.minimum(centre, stage.high.repeat(2, 1)), stage.low.repeat(2, 1))
    reach = (target - centre).norm(dim=-1, keepdim=True)
    aim = target + draws.normal(2 * n, 3) * 0.14 * reach
    roll = draws.normal(2 * n) * 0.12
    roll = torch.where(draws.happens(0.12, 2 * n), draws.uniform(-0.8, 0.8, 2 * n), roll)
    focal = draws.log_uniform(0.65, 1.7, 2 * n) * max(width, height)
    focal[n:] = torch.where(draws.happens(0.5, n), focal[:n], focal[n:])
    return Cameras(centre, looking(centre, aim, roll), focal, width, height)


def looking(centre: Tensor, target: Tensor, roll: Tensor) -> Tensor:
    """World-from-camera rotations N 3 3 of upright cameras, then rolled about the axis."""
    forward = normalize(target - centre, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], device=centre.device).expand_as(forward)
    side = torch.cross(forward, up, dim=-1)
    fallback = torch.tensor([1.0, 0.0, 0.0], device=centre.device).expand_as(side)
    side = torch.where(side.norm(dim=-1, keepdim=True) < 1e-3, fallback, side)
    right = normalize(side, dim=-1)
    down = torch.cross(forward, right, dim=-1)
    cosine, sine = roll.cos()[:, None], roll.sin()[:, None]
    x = cosine * right + sine * down
    y = cosine * down - sine * right
    return torch.stack([x, y, forward], -1)
