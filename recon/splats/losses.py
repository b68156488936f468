"""The photometric loss (1 - lambda) L1 + lambda (1 - SSIM): fused on the CPU, stacked on CUDA."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

SSIM_SHARE = 0.2
C1, C2 = 0.01**2, 0.03**2  # of SSIM, for values in [0, 1]
HALF, SIGMA_PX = 5, 1.5  # of its Gaussian window


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
    if render.dtype == torch.float32:
        return StackedLoss.apply(render, target)
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
    tap = _window(x)

    def blur(image: Tensor) -> Tensor:
        image = image.permute(2, 0, 1)[:, None]
        image = torch.nn.functional.conv2d(image, tap[None, None, :, None], padding=(5, 0))
        image = torch.nn.functional.conv2d(image, tap[None, None, None, :], padding=(0, 5))
        return image[:, 0].permute(1, 2, 0)

    mx, my = blur(x), blur(y)
    sxx, syy, sxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    return ((2 * mx * my + C1) * (2 * sxy + C2)) / ((mx * mx + my * my + C1) * (sxx + syy + C2))


def _window(like: Tensor) -> Tensor:
    offset = torch.arange(-HALF, HALF + 1, dtype=like.dtype, device=like.device)
    tap = torch.exp(-0.5 * (offset / SIGMA_PX) ** 2)
    return tap / tap.sum()


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
        kernels.ssim_partials(x, y, mean_y, square_y, weight, d_mean, d_square, d_cross, row_ssim)
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


class StackedLoss(torch.autograd.Function):
    """Value and gradient in plain torch with two blurs of nine planes, nothing waiting for the GPU.

    The derivatives are those of `ssim_kernels`, which states the equations.
    """

    @staticmethod
    def forward(ctx, render: Tensor, target: Target) -> Tensor:
        """The loss of a picture h w 3; its gradient is kept for `backward`."""
        x = render.detach().permute(2, 0, 1)
        y, my, variance_y, weight, total, tap = _photo_stack(target, render)
        mx, xx, xy = _blur(torch.stack([x, x * x, x * y]), tap)
        cross = mx * my
        a1, a2 = 2 * cross + C1, 2 * (xy - cross) + C2
        square = mx * mx
        b1, b2 = square + my * my + C1, xx - square + variance_y + C2
        inverse = 1.0 / (b1 * b2)
        s = a1 * a2 * inverse
        by_cross = 2 * a1 * inverse
        by_square = -s / b2
        by_mean = 2 * my * a2 * inverse - my * by_cross - 2 * mx * (s / b1 + by_square)
        partials = torch.stack([by_mean, by_square, by_cross])
        difference = x - y
        sign, l1 = difference.sign(), difference.abs()
        if weight is not None:
            partials, sign, l1, s = partials * weight, sign * weight, l1 * weight, s * weight
        gm, gs, gc = _blur(partials, tap)
        ssim_part = gm + 2 * x * gs + y * gc
        gradient = ((1 - SSIM_SHARE) / total) * sign - (SSIM_SHARE / total) * ssim_part
        ctx.save_for_backward(gradient.permute(1, 2, 0).contiguous())
        # 1 - s is summed, not s: of a good picture it is small, and float32 keeps its digits.
        ones = 1.0 if weight is None else weight
        return ((1 - SSIM_SHARE) * l1.sum() + SSIM_SHARE * (ones - s).sum()) / total

    @staticmethod
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor, None]:
        """The kept gradient times what comes from behind."""
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output, None


def _blur(stack: Tensor, tap: Tensor) -> Tensor:
    """Every plane of k c h w blurred along both axes, zero-padded."""
    planes = stack.shape[0] * stack.shape[1]
    image = stack.reshape(1, planes, *stack.shape[2:])
    down = tap[None, None, :, None].expand(planes, 1, -1, 1).contiguous()
    image = torch.nn.functional.conv2d(image, down, padding=(HALF, 0), groups=planes)
    image = torch.nn.functional.conv2d(image, down.mT, padding=(0, HALF), groups=planes)
    return image.view(stack.shape)


def _photo_stack(target: Target, like: Tensor) -> tuple:
    """What of the stacked loss depends on the photo alone: planes 3 h w, weights, their sum."""
    if "stack" not in target.cache:
        y, tap = target.rgb.to(like).permute(2, 0, 1).contiguous(), _window(like)
        mean, square = _blur(torch.stack([y, y * y]), tap)
        weight, total = None, float(y.numel())
        if target.weight is not None:
            weight = target.weight.to(like)[None].expand(3, -1, -1).contiguous()
            total = max(1.0, float(weight.sum(dtype=torch.float64)))  # 1: nothing is used
        target.cache["stack"] = (y, mean, square - mean * mean, weight, total, tap)
    return target.cache["stack"]
