"""Aggregated attention: few tokens look at few tokens, every cell hears of it.

Source: Wang et al., Efficient LoFTR, CVPR 2024, section 3.2; Su et al., RoFormer, 2021, for the
rotary code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 256
HEADS = 8
TOKEN = 4  # cells along a token's side
ROUNDS = 4  # of (self, cross)
ROTARY_BASE = 10000.0


class AggregatedAttention(nn.Module):
    """Attention from the tokens of one photo to those of another (or the same).

    Queries are a learnt mean over 4 x 4 cells, keys and values their maxima. The answer is
    brought back to the cells bilinearly and joined with them by a small network. The first layer
    of that network is linear, as is the bilinear upsampling, so the answers' half of it is
    applied to the tokens: the same numbers for a third less work.
    """

    def __init__(self):
        super().__init__()
        self.aggregate = nn.Conv2d(WIDTH, WIDTH, TOKEN, TOKEN, groups=WIDTH, bias=False)
        self.norm_tokens = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)
        self.value = nn.Linear(WIDTH, WIDTH, bias=False)
        self.merge = nn.Linear(WIDTH, WIDTH, bias=False)
        self.join = nn.Linear(2 * WIDTH, 2 * WIDTH, bias=False)
        self.reduce = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.norm_out = nn.LayerNorm(WIDTH)

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        usable: Tensor | None = None,
        rotary: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The cells of x after hearing of the source.

        Args:
            x: N 256 h w, the photo that asks; sides divide by 4.
            source: N 256 h' w', the photo that is asked.
            usable: h' w', bool, which cells of the source may be heard; None: all.
            rotary: Cosines and sines of `rotary_code` of both, which then have one size; None:
                without positions.
        """
        rows, columns = x.shape[2] // TOKEN, x.shape[3] // TOKEN
        asking = self.norm_tokens(self.aggregate(x).permute(0, 2, 3, 1)).flatten(1, 2)
        asked = self.norm_tokens(F.max_pool2d(source, TOKEN).permute(0, 2, 3, 1)).flatten(1, 2)
        query, key, value = self.query(asking), self.key(asked), self.value(asked)
        if rotary is not None:
            query, key = turned(query, rotary), turned(key, rotary)
        heard = F.scaled_dot_product_attention(
            _heads(query), _heads(key), _heads(value), attn_mask=_tokens(usable)
        )
        message = self.merge(heard.transpose(1, 2).flatten(2))
        of_cells, of_message = self.join.weight.split(WIDTH, 1)
        told = F.linear(message, of_message).unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
        told = F.interpolate(
            told, scale_factor=float(TOKEN), mode="bilinear", align_corners=False
        ).permute(0, 2, 3, 1)
        cells = x.permute(0, 2, 3, 1)
        joined = F.leaky_relu_(F.linear(cells, of_cells).add_(told))
        return (cells + self.norm_out(self.reduce(joined))).permute(0, 3, 1, 2)


def _heads(tokens: Tensor) -> Tensor:
    return tokens.unflatten(2, (HEADS, -1)).transpose(1, 2)


def _tokens(usable: Tensor | None) -> Tensor | None:
    """1 1 1 n, True for tokens with a usable cell; None where all have one, or none has."""
    if usable is None:
        return None
    tokens = F.max_pool2d(usable[None, None].float(), TOKEN).flatten() > 0
    return None if tokens.all() or not tokens.any() else tokens[None, None, None]


def rotary_code(
    rows: int, columns: int, *, stretch: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines for tokens in rows and columns, counted from 1; both n 256.

    Pairs of channels alternate between the row and the column; 64 wave lengths each.

    Args:
        rows: Of tokens.
        columns: Of tokens.
        stretch: What positions are multiplied by.
        device: Where the tensors go.
    """
    waves = WIDTH // 4
    frequency = ROTARY_BASE ** (-torch.arange(waves, device=device, dtype=torch.float32) / waves)
    row = torch.arange(1, rows + 1, device=device) * stretch
    column = torch.arange(1, columns + 1, device=device) * stretch
    angle = torch.stack(
        [
            (row[:, None] * frequency)[:, None].expand(rows, columns, waves),
            (column[:, None] * frequency)[None].expand(rows, columns, waves),
        ],
        -1,
    )
    angle = angle.flatten(2).flatten(0, 1).repeat_interleave(2, -1)
    return angle.cos(), angle.sin()


def turned(tokens: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Every pair of channels turned by its angle."""
    cos, sin = rotary
    first, second = tokens[..., ::2], tokens[..., 1::2]
    return tokens * cos + torch.stack([-second, first], -1).flatten(-2) * sin


class Transformer(nn.Module):
    """Four rounds of looking around in the own photo, then in the other.

    In a cross step photo a is done first and photo b then sees a's new features, as the authors'
    code has it: the answer depends a little on which photo is the first.
    """

    def __init__(self):
        super().__init__()
        self.around = nn.ModuleList(AggregatedAttention() for _ in range(ROUNDS))
        self.across = nn.ModuleList(AggregatedAttention() for _ in range(ROUNDS))

    def look_around(self, x: Tensor, level: int, usable: Tensor | None, stretch: float) -> Tensor:
        """One photo alone; level 0 does not depend on the other and is done once per photo."""
        rows, columns = x.shape[2] // TOKEN, x.shape[3] // TOKEN
        rotary = rotary_code(rows, columns, stretch=stretch, device=x.device)
        return self.around[level](x, x, usable, rotary)

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        usable: tuple[Tensor | None, Tensor | None] = (None, None),
        stretch: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[Tensor, Tensor]:
        """Both photos' cells, after `look_around` at level 0, to what is matched."""
        for level in range(ROUNDS):
            if level:
                a = self.look_around(a, level, usable[0], stretch[0])
                b = self.look_around(b, level, usable[1], stretch[1])
            a = self.across[level](a, b, usable[1])
            b = self.across[level](b, a, usable[0])
        return a, b
