"""What a camera does to a picture: exposure, colour, vignette, blur, noise, compression."""

import torch
import torch.nn.functional as F
from torch import Tensor

from corr.matchers.dense.data.noise import Draws


def photographed(draws: Draws, images: Tensor) -> Tensor:
    """Every picture N 3 H W (linear, about 0 … 1) through its own random camera; [0, 1]."""
    n = len(images)
    mean = images.mean((1, 2, 3), keepdim=True).clamp(min=0.02)
    exposure = (0.42 / mean) * draws.log_uniform(0.5, 1.7, n, 1, 1, 1)
    images = images * exposure.clamp(0.4, 6)
    images = images * (1 + 0.06 * draws.normal(n, 3, 1, 1))
    images = images * _vignette(draws, images)
    images = _blurred(draws, images)
    images = images / (1 + 0.25 * images)  # a shoulder: highlights are compressed
    images = images.clamp(1e-4, 1) ** draws.log_uniform(0.55, 1.3, n, 1, 1, 1)
    images = _saturated(draws, images)
    level = draws.log_uniform(0.001, 0.035, n, 1, 1, 1)
    noise = draws.normal(*images.shape) * level * (0.3 + images).sqrt()
    images = (images + noise).clamp(0, 1)
    images = compressed(images, draws.log_uniform(0.004, 0.06, n, 1, 1), draws.happens(0.6, n))
    return ((images.clamp(0, 1) * 255).round()) / 255


def _vignette(draws: Draws, images: Tensor) -> Tensor:
    n, _, height, width = images.shape
    y = torch.linspace(-1, 1, height, device=images.device)[:, None]
    x = torch.linspace(-1, 1, width, device=images.device)[None]
    strength = draws.uniform(0, 0.35, n, 1, 1, 1) * draws.happens(0.5, n, 1, 1, 1)
    # A slow gradient as uneven lighting gives.
    tilt = draws.normal(n, 2, 1, 1) * 0.12
    return (1 - strength * (x * x + y * y) / 2) * (1 + tilt[:, :1] * x + tilt[:, 1:] * y).clamp(0.3)


def _saturated(draws: Draws, images: Tensor) -> Tensor:
    n = len(images)
    grey = images.mean(1, keepdim=True)
    amount = torch.where(draws.happens(0.1, n, 1, 1, 1), 0.0, draws.uniform(0.5, 1.4, n, 1, 1, 1))
    return (grey + (images - grey) * amount).clamp(0, 1)


def _blurred(draws: Draws, images: Tensor) -> Tensor:
    """A Gaussian of up to 1.6 px, and in one picture of eight up to 5 px of straight motion."""
    n, channels, height, width = images.shape
    step = torch.arange(-3, 4, device=images.device, dtype=torch.float32)
    sigma = torch.where(
        draws.happens(0.35, n, 1), draws.uniform(0.5, 1.6, n, 1), draws.uniform(0.2, 0.55, n, 1)
    )
    one = torch.exp(-0.5 * (step / sigma) ** 2)
    kernel = one[:, :, None] * one[:, None]
    angle, reach = draws.uniform(0, torch.pi, n, 1, 1), draws.uniform(0.5, 2.5, n, 1, 1)
    along = step * angle.cos() + step[:, None] * angle.sin()
    across = step[:, None] * angle.cos() - step * angle.sin()
    motion = (along.abs() < reach) * torch.exp(-0.5 * (across / 0.6) ** 2)
    kernel = torch.where(draws.happens(0.12, n, 1, 1), motion, kernel)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    flat = F.pad(images, [3] * 4, mode="replicate").reshape(1, n * channels, height + 6, width + 6)
    weight = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(flat, weight, groups=n * channels).view_as(images)


def compressed(images: Tensor, step: Tensor, which: Tensor) -> Tensor:
    """Block compression: 8 x 8 cosine transform, coefficients rounded, coarser the finer they are.

    Args:
        images: N 3 H W with H and W multiples of 8.
        step: Rounding step of the lowest frequency, N 1 1, intensities.
        which: The pictures that are compressed, N.
    """
    n, channels, height, width = images.shape
    k = torch.arange(8, device=images.device, dtype=torch.float32)
    basis = torch.cos(torch.pi / 8 * (k + 0.5) * k[:, None]) * 0.5
    basis[0] *= 0.5**0.5
    blocks = images.reshape(n, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
    spectrum = basis @ blocks @ basis.T
    coarse = (step[:, None, None, None] * (1 + 0.9 * (k + k[:, None]))).to(spectrum.dtype)
    blocks = basis.T @ ((spectrum / coarse).round() * coarse) @ basis
    restored = blocks.permute(0, 1, 2, 4, 3, 5).reshape_as(images)
    return torch.where(which[:, None, None, None], restored, images)
