"""The vision transformer of DINO, DINOv2 and DINOv3, under their official parameter names.

    x_0 = [class, registers, patches (+ positions)]
    x   = x + gamma_1 * attention(norm(x));  x = x + gamma_2 * mlp(norm(x))

DINO and DINOv2 add learned positions, interpolated to the photo's grid; DINOv3 rotates queries and
keys of patches by their place instead. All shapes are read off the checkpoint.

Sources: Dosovitskiy et al., ICLR 2021; Caron et al. (DINO), ICCV 2021; Oquab et al. (DINOv2), 2023;
Darcet et al. (registers), ICLR 2024; Siméoni et al. (DINOv3), 2025.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FACETS = ("token", "query", "key", "value")
_ROPE_BASE = 100.0


@dataclass(frozen=True)
class ViTShape:
    """Everything that decides the network's parameters, and how positions are interpolated."""

    width: int
    depth: int
    heads: int
    patch: int
    hidden: int  # of the MLP
    registers: int = 0
    positions: int = 0  # learned positions of the class and a square of patches; 0 = rotary
    gated: str = ""  # "" = GELU; w12, w1w2 = the two spellings of SwiGLU
    scaled: bool = False  # residuals have a learned scale
    masked_bias: bool = False  # qkv's bias comes with a mask
    mask_token: bool = False
    register_name: str = "register_tokens"
    eps: float = 1e-6
    # DINO and DINOv2 without registers were released with positions scaled by (n + 0.1) / m.
    offset: float = 0.1
    antialias: bool = False


class _Scale(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Rope(nn.Module):
    """Angles of patches: their place in [-1, 1] along y and x, at a quarter of a head's periods."""

    periods: Tensor

    def __init__(self, head: int):
        super().__init__()
        exponent = 2 * torch.arange(head // 4) / (head // 2)
        self.register_buffer("periods", _ROPE_BASE**exponent)

    def forward(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        y, x = (
            2 * (torch.arange(n, device=self.periods.device) + 0.5) / n - 1 for n in (rows, columns)
        )
        place = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2, 1)
        angle = (2 * math.pi * place / self.periods.to(place.dtype)).flatten(1).tile(2)
        return angle.cos(), angle.sin()


def _rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the patches' part of queries or keys, b heads n d; leading tokens stay."""
    cos, sin = turn
    lead = x.shape[-2] - len(cos)
    first, second = x[..., lead:, :].chunk(2, -1)
    turned = x[..., lead:, :] * cos + torch.cat([-second, first], -1) * sin
    return torch.cat([x[..., :lead, :], turned], -2)


class _Qkv(nn.Linear):
    """Queries, keys and values; a masked bias counts as zero where the mask is."""

    bias_mask: Tensor

    def __init__(self, width: int, masked: bool):
        super().__init__(width, 3 * width)
        if masked:
            self.register_buffer("bias_mask", torch.ones(3 * width))
        self.masked = masked

    def forward(self, x: Tensor) -> Tensor:
        if not self.masked:
            return super().forward(x)
        bias = torch.where(self.bias_mask > 0, self.bias, torch.zeros_like(self.bias))
        return F.linear(x, self.weight, bias)


class _Attention(nn.Module):
    def __init__(self, shape: ViTShape):
        super().__init__()
        self.heads = shape.heads
        self.qkv = _Qkv(shape.width, shape.masked_bias)
        self.proj = nn.Linear(shape.width, shape.width)

    def facets(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values before rotation, each b heads n d."""
        b, n, width = x.shape
        qkv = self.qkv(x).view(b, n, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return q, k, v

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        q, k, v = self.facets(x)
        if turn is not None:
            q, k = _rotate(q, turn), _rotate(k, turn)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, shape: ViTShape):
        super().__init__()
        self.gated = shape.gated
        if shape.gated == "w12":
            self.w12 = nn.Linear(shape.width, 2 * shape.hidden)
            self.w3 = nn.Linear(shape.hidden, shape.width)
        elif shape.gated:
            self.w1, self.w2 = (nn.Linear(shape.width, shape.hidden) for _ in range(2))
            self.w3 = nn.Linear(shape.hidden, shape.width)
        else:
            self.fc1 = nn.Linear(shape.width, shape.hidden)
            self.fc2 = nn.Linear(shape.hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        if self.gated == "w12":
            gate, value = self.w12(x).chunk(2, -1)
            return self.w3(F.silu(gate) * value)
        if self.gated:
            return self.w3(F.silu(self.w1(x)) * self.w2(x))
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, shape: ViTShape):
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.eps)
        self.attn = _Attention(shape)
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.eps)
        self.mlp = _Mlp(shape)
        self.ls1 = _Scale(shape.width) if shape.scaled else nn.Identity()
        self.ls2 = _Scale(shape.width) if shape.scaled else nn.Identity()

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), turn))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _PatchEmbed(nn.Module):
    def __init__(self, shape: ViTShape):
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, shape.patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class VisionTransformer(nn.Module):
    """The network; `forward` gives all tokens after the last norm, `patches` one layer's map."""

    def __init__(self, shape: ViTShape):
        super().__init__()
        self.shape = shape
        self.patch_embed = _PatchEmbed(shape)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        if shape.mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, shape.width))
        if shape.registers:
            tokens = nn.Parameter(torch.zeros(1, shape.registers, shape.width))
            self.register_parameter(shape.register_name, tokens)
        if shape.positions:
            self.pos_embed = nn.Parameter(torch.zeros(1, shape.positions, shape.width))
        else:
            self.rope_embed = _Rope(shape.width // shape.heads)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n width"]:
        """Tokens of the class, the registers and the patches, row by row.

        Raises:
            ValueError: The size is not a multiple of the patch.
        """
        tokens, turn = self._tokens(x)
        for block in self.blocks:
            tokens = block(tokens, turn)
        return self.norm(tokens)

    def patches(
        self, x: Float[Tensor, "b 3 h w"], *, layer: int, facet: str = "token", norm: bool = False
    ) -> Float[Tensor, "b width rows columns"]:
        """The map of a layer, 0 … depth - 1: its output tokens, or a facet of its attention.

        Args:
            x: Normalised pixels.
            layer: Counted from 0; negative from the end.
            facet: token, query, key or value.
            norm: Apply the network's last norm to the tokens.
        """
        rows, columns = x.shape[-2] // self.shape.patch, x.shape[-1] // self.shape.patch
        tokens, turn = self._tokens(x)
        layer %= self.shape.depth
        for block in self.blocks[:layer]:
            tokens = block(tokens, turn)
        last: Any = self.blocks[layer]
        if facet == "token":
            tokens = last(tokens, turn)
            tokens = self.norm(tokens) if norm else tokens
        else:
            which = FACETS.index(facet) - 1
            tokens = last.attn.facets(last.norm1(tokens))[which].transpose(1, 2).flatten(2)
        patches = tokens[:, 1 + self.shape.registers :]
        return patches.transpose(1, 2).unflatten(2, (rows, columns))

    def _tokens(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        patch = self.shape.patch
        if x.shape[-1] % patch or x.shape[-2] % patch:
            raise ValueError(
                f"height and width must be multiples of {patch}, got {tuple(x.shape[-2:])}"
            )
        grid = self.patch_embed(x)
        rows, columns = grid.shape[-2:]
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), grid.flatten(2).mT], 1)
        turn = None
        if self.shape.positions:
            tokens = tokens + self._positions(rows, columns)
        else:
            turn = self.rope_embed(rows, columns)
        if self.shape.registers:
            more = getattr(self, self.shape.register_name).expand(len(x), -1, -1)
            tokens = torch.cat([tokens[:, :1], more, tokens[:, 1:]], 1)
        return tokens, turn

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Learned positions on this grid: bicubic, from their square."""
        side = math.isqrt(self.shape.positions - 1)
        if (rows, columns) == (side, side):
            return self.pos_embed
        square = self.pos_embed[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        how: dict[str, Any] = {"size": (rows, columns)}
        if self.shape.offset:
            o = self.shape.offset
            how = {"scale_factor": ((rows + o) / side, (columns + o) / side)}
        grid = F.interpolate(square, mode="bicubic", antialias=self.shape.antialias, **how)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).mT], 1)
