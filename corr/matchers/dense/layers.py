"""Building blocks of the dense matcher: convolutions, attention with rotary positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU; the extent is kept up to the stride."""
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def zeroed(layer: nn.Conv2d | nn.Linear) -> None:
    """Let a layer with a bias answer nothing at first."""
    assert layer.bias is not None
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution; on the processor it is a matrix product over the last axis.

    The library's 1 x 1 convolution leaves the channels-last layout there, and everything behind
    it pays for that.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True):
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """N C h w to N D h w."""
        if x.is_cuda or torch.is_grad_enabled():
            return super().forward(x)
        return F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(
            0, 3, 1, 2
        )


def folded(network: nn.Module) -> nn.Module:
    """Batch norms that follow convolutions become part of them; for evaluation only."""
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for k in range(len(module) - 1):
                first, second = module[k], module[k + 1]
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[k] = nn.utils.fusion.fuse_conv_bn_eval(first, second)
                    module[k + 1] = nn.Identity()
    return network


class DepthwiseBlock(nn.Module):
    """Residual block: depth-wise 5 x 5, batch norm, ReLU, 1 x 1.

    Without gradients it may overwrite what it is given.
    """

    def __init__(self, width: int, size: int = 5):
        super().__init__()
        self.spatial = conv(width, width, size, groups=width)
        self.mix = Pointwise(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """N C h w to N C h w."""
        inner = self.spatial(x)
        lasting = torch.is_grad_enabled() or x.is_cuda
        if lasting or not x.is_contiguous(memory_format=torch.channels_last):
            return x + self.mix(inner)
        # On the processor, where memory is what costs: the product is added in place.
        width = x.shape[1]
        flat = x.permute(0, 2, 3, 1).view(-1, width)
        flat.addmm_(inner.permute(0, 2, 3, 1).reshape(-1, width), self.mix.weight[:, :, 0, 0].T)
        assert self.mix.bias is not None
        flat.add_(self.mix.bias)
        return x


class Attention(nn.Module):
    """Multi-head attention followed by a small perceptron; both residual, both start at zero.

    Queries and keys are rotated by the tokens' positions (rotary embedding, one half of each
    head's channels per axis) where positions are given, so that only differences matter and any
    extent works.
    """

    def __init__(self, width: int, heads: int, expand: int = 2):
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_kv, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        last = nn.Linear(expand * width, width)
        self.mlp = nn.Sequential(nn.Linear(width, expand * width), nn.GELU(), last)
        for layer in (self.out, last):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Tensor, source: Tensor, usable: Tensor | None, turn: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Tokens n q C that look at tokens n k C.

        Args:
            x: The tokens that ask.
            source: The tokens that answer.
            usable: Which tokens of `source` may be looked at, n k; None = all.
            turn: Cosine and sine of the rotary angles, k d each, for `x` and `source` alike.
        """
        n, count, width = x.shape
        q = self.q(self.norm_q(x)).view(n, count, self.heads, -1).transpose(1, 2)
        k, v = (
            t.view(n, -1, self.heads, width // self.heads).transpose(1, 2)
            for t in self.kv(self.norm_kv(source)).chunk(2, -1)
        )
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        mask = None if usable is None else usable[:, None, None, :]
        answer = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(answer.transpose(1, 2).reshape(n, count, width))
        return x + self.mlp(self.norm_mlp(x))


def rotary(rows: int, columns: int, dims: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles of a token grid, (rows * columns) dims each.

    Wavelengths run from 4 to about 100 tokens.
    """
    quarter = dims // 4
    steps = torch.arange(quarter, device=device, dtype=torch.float32) / max(quarter - 1, 1)
    frequency = 2 * torch.pi / 4.0 * (4.0 / 100.0) ** steps
    y, x = torch.meshgrid(
        torch.arange(rows, device=device, dtype=torch.float32),
        torch.arange(columns, device=device, dtype=torch.float32),
        indexing="ij",
    )
    angle = torch.cat([x.reshape(-1, 1) * frequency, y.reshape(-1, 1) * frequency], 1)
    angle = torch.cat([angle, angle], 1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Channel i and channel i + d/2 form a plane that is turned by the position's angle."""
    cosine, sine = (t.to(x.dtype) for t in turn)
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, whole extent onto whole extent."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
