"""Refiners: at one stride, small corrections of a warp and of its certainty."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corr.matchers.dense.layers import DepthwiseBlock, Pointwise, zeroed
from corr.matchers.dense.warps import own_positions, sample


class Refiner(nn.Module):
    """Compares a photo with its partner pulled back by the current warp, and corrects the warp.

    The local correlation shifts the pulled-back features over the own grid, so that its window
    turns and scales with the warp. The correction starts at zero.

    Source: DKM, CVPR 2023, section 3.3 (depth-wise refiners).
    """

    def __init__(self, stride: int, features: int, width: int, blocks: int, radius: int):
        super().__init__()
        self.stride, self.radius = stride, radius
        inputs = 2 * features + (2 * radius + 1) ** 2 + 3
        self.enter = nn.Sequential(
            Pointwise(inputs, width, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.blocks = nn.ModuleList([DepthwiseBlock(width) for _ in range(blocks)])
        self.answer = nn.Conv2d(width, 3, 1)
        zeroed(self.answer)

    def forward(
        self, own: Tensor, partner: Tensor, warp: Tensor, logit: Tensor, handed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Corrected warp N 2 h w and logit N 1 h w, and the hidden map N width h w.

        Args:
            own: Features of the photos, N C h w.
            partner: Features of their partners, N C h w.
            warp: The current warp, N 2 h w, network pixels.
            logit: The current certainty, N 1 h w.
            handed: What the coarser stage hands on, N width h w.
        """
        pulled = sample(partner, warp, self.stride).to(own.dtype)
        pulled = pulled.contiguous(memory_format=torch.channels_last)
        where = own_positions(warp.shape[-2], warp.shape[-1], self.stride, warp.device)
        evidence = [own, pulled, correlation(own, pulled, self.radius)]
        side = torch.cat([(warp - where) / (32 * self.stride), logit / 4], 1).to(own.dtype)
        x = self.enter(torch.cat([*evidence, side], 1)) + handed
        for block in self.blocks:
            x = block(x)
        answer = self.answer(x).float()
        return warp + self.stride * answer[:, :2], logit + answer[:, 2:], x


def correlation(own: Tensor, pulled: Tensor, radius: int) -> Tensor:
    """Inner products with all shifts up to `radius` cells, N (2 r + 1)^2 h w."""
    own = own * own.shape[1] ** -0.5
    if not (own.is_cuda or torch.is_grad_enabled()):
        return _compiled_correlation(own, pulled, radius)
    rows, columns = own.shape[-2:]
    padded = F.pad(pulled, [radius] * 4)
    shifts = range(2 * radius + 1)
    return torch.stack(
        [
            (own * padded[..., dy : dy + rows, dx : dx + columns]).sum(1)
            for dy in shifts
            for dx in shifts
        ],
        1,
    )


def _compiled_correlation(own: Tensor, pulled: Tensor, radius: int) -> Tensor:
    from corr.matchers.dense.correlation_kernel import correlate

    a, b = (x.permute(0, 2, 3, 1).float().contiguous() for x in (own, pulled))
    out = a.new_empty((*a.shape[:3], (2 * radius + 1) ** 2))
    correlate(a.numpy(), b.numpy(), radius, out.numpy())
    return out.permute(0, 3, 1, 2).to(own.dtype)
