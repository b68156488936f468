"""The photometric loss (1 - lambda) L1 + lambda (1 - SSIM), fused on the CPU, plain on CUDA."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

SSIM_SHARE = 0.2


@dataclass
class Target:
    """A photo prepared for the loss: h w 3 in [0, 1] with per-pixel weights h w."""

    rgb: Tensor
    weight: Tensor | None = None  # 1 = use, 0 = ignore; None = everything
    cache: dict = field(default_factory=dict)  # what depends on the photo alone


def photometric_loss(render: Tensor, target: Target) -> Tensor:
    """Mean over the used pixels of 0.8 |x - y| + 0.2 (1 - SSIM)."""
    if render.device.type == "cpu" and render.dtype == torch.float32:
        return _FusedLoss.apply(render, target)
    return photometric_loss_reference(render, target)


def photometric_loss_reference(render: Tensor, target: Target) -> Tensor:
    """The same loss in plain torch, any device and dtype."""
    photo = target.rgb.to(render)
    weight = torch.ones_like(render) if target.weight is None else _wide(target.weight.to(render))
    share = weight / weight.sum().clamp_min(1.0)
    l1 = ((render - photo).abs() * share).sum()
    structure = ((1.0 - ssim_map(render, photo)) * share).sum()
    return (1.0 - SSIM_SHARE) * l1 + SSIM_SHARE * structure


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """SSIM per pixel and channel, h w 3; 11 x 11 Gaussian of sigma 1.5, zero-padded."""
    from recon.splats.ssim_kernels import C1, C2

    tap = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=x.dtype, device=x.device) / 1.5) ** 2)
    tap = tap / tap.sum()

    def blur(image: Tensor) -> Tensor:
        image = image.permute(2, 0, 1)[:, None]
        image = torch.nn.functional.conv2d(image, tap[None, None, :, None], padding=(5, 0))
        image = torch.nn.functional.conv2d(image, tap[None, None, None, :], padding=(0, 5))
        return image[:, 0].permute(1, 2, 0)

    mx, my = blur(x), blur(y)
    sxx, syy, sxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    return ((2 * mx * my + C1) * (2 * sxy + C2)) / ((mx * mx + my * my + C1) * (sxx + syy + C2))


def _wide(weight: Tensor) -> Tensor:
    return weight[..., None].expand(*weight.shape, 3).contiguous()


class _FusedLoss(torch.autograd.Function):
    """Value and gradient in one go; the gradient is kept until backward asks for it."""

    @staticmethod
    def forward(ctx, render: Tensor, target: Target) -> Tensor:
        from recon.splats import ssim_kernels as kernels

        height, width, _ = render.shape
        x = render.detach().contiguous().numpy().reshape(height, width * 3)
        y, mean_y, square_y, weight, total = _photo_side(target, height, width)
        d_mean, d_square, d_cross = (np.empty_like(x) for _ in range(3))
        out = np.empty_like(x)
        row_ssim, row_l1 = np.empty(height, np.float32), np.empty(height, np.float32)
        kernels.ssim_partials(
            x, y, mean_y, square_y, weight, d_mean, d_square, d_cross, row_ssim
        )
        kernels.gradient(
            x, y, weight, d_mean, d_square, d_cross,
            np.float32((1.0 - SSIM_SHARE) / total), np.float32(SSIM_SHARE / total), out, row_l1,
        )  # fmt: skip
        ctx.save_for_backward(torch.from_numpy(out).view(height, width, 3))
        l1 = float(row_l1.sum(dtype=np.float64))
        unlike = float(weight.sum(dtype=np.float64)) - float(row_ssim.sum(dtype=np.float64))
        return render.new_tensor(((1.0 - SSIM_SHARE) * l1 + SSIM_SHARE * unlike) / total)

    @staticmethod
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output, None


def _photo_side(target: Target, height: int, width: int) -> tuple:
    from recon.splats import ssim_kernels as kernels

    if "photo" not in target.cache:
        y = np.ascontiguousarray(target.rgb.numpy().reshape(height, width * 3), np.float32)
        mean, square = np.empty_like(y), np.empty_like(y)
        kernels.blur_photo(y, mean, square)
        if target.weight is None:
            weight = np.ones_like(y)
        else:
            weight = _wide(target.weight).numpy().reshape(height, width * 3).astype(np.float32)
        total = max(1.0, float(weight.sum(dtype=np.float64)))  # 1: nothing is used
        target.cache["photo"] = (y, mean, square, weight, total)
    return target.cache["photo"]
