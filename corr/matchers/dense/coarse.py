"""The global matcher at stride 16: attention, Gaussian process, decoder."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corr.matchers.dense.gaussian_process import PositionEmbedding, kernel, posterior_mean
from corr.matchers.dense.layers import Attention, DepthwiseBlock, rotary, zeroed
from corr.matchers.dense.warps import own_positions, sample, to_unit

STRIDE = 16
HEADS = 4
REACH = 2  # tokens on each side of the likeliest one whose mean is the answer


@dataclass
class Coarse:
    """What the global matcher says, for N = 2n photos, each against its partner."""

    warp: Tensor  # N 2 h w, position in the partner, network pixels
    logit: Tensor  # N 1 h w
    hidden: Tensor  # N C h w, what the refiners take over
    similarity: Tensor  # N p q, logits over the partner's tokens from features alone
    regressed: Tensor  # N p q, the same from the Gaussian process
    decoded: Tensor  # N p q, the same after the decoder


class GlobalMatcher(nn.Module):
    """Tokens look at each other, then the partner's positions are regressed at every token.

    The regression answers with an embedding that can hold several places at once; its inner
    products with the embeddings of the partner's tokens are logits over them (as RoMa classifies
    over anchors), and the mean over the neighbourhood of the likeliest token is the warp.

    Source: DKM, CVPR 2023, section 3.2; RoMa, CVPR 2024, section 3.3.
    """

    def __init__(self, width: int, layers: int, decoder_layers: int):
        super().__init__()
        self.positional = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.alone = nn.ModuleList([Attention(width, HEADS) for _ in range(layers)])
        self.across = nn.ModuleList([Attention(width, HEADS) for _ in range(layers)])
        self.feature = nn.Linear(width, width)
        self.embedding = PositionEmbedding()
        self.log_sharpness = nn.Parameter(torch.tensor(2.3))
        self.log_similarity = nn.Parameter(torch.tensor(2.7))
        self.log_regressed = nn.Parameter(torch.tensor(3.0))
        self.log_decoded = nn.Parameter(torch.tensor(3.0))
        dims = self.embedding.dims
        self.enter = nn.Linear(2 * width + dims + 5, width)
        self.decoder = nn.ModuleList([Attention(width, HEADS) for _ in range(decoder_layers)])
        self.blocks = nn.ModuleList([DepthwiseBlock(width) for _ in range(2)])
        self.to_embedding = nn.Linear(width, dims)
        self.to_step = nn.Linear(width, 3)
        for last in (self.to_embedding, self.to_step):
            zeroed(last)

    def forward(self, features: Tensor, usable: Tensor | None) -> Coarse:
        """Features N C h w of photos, the second half being the first half's partners.

        Args:
            features: Stride 16.
            usable: Which tokens count, N (h w); None = all.
        """
        rows, columns = features.shape[-2:]
        tokens = self._exchange(features, usable)
        device = features.device
        own = own_positions(rows, columns, STRIDE, device)  # 2 h w
        positions = to_unit(own.flatten(1).T, columns * STRIDE, rows * STRIDE)
        with torch.autocast(device.type, enabled=False):
            unit = F.normalize(centred(self.feature(tokens.float()), usable), dim=-1)
            partner = swap(unit)
            embedded = self.embedding(positions)  # q d
            sharpness = self.log_sharpness.exp()
            mean = posterior_mean(
                kernel(unit, partner, sharpness),
                kernel(partner, partner, sharpness),
                embedded.expand(len(unit), -1, -1),
                None if usable is None else swap(usable),
            )
            similarity = self.log_similarity.exp() * unit @ partner.transpose(1, 2)
            regressed = self.log_regressed.exp() * mean @ embedded.T
            if usable is not None:
                barred = ~swap(usable)[:, None, :]
                similarity = similarity.masked_fill(barred, -1e4)
                regressed = regressed.masked_fill(barred, -1e4)
            first, sure = local_mean(regressed, own)
        hidden = self._decode(tokens, mean, first, sure, own, usable)
        with torch.autocast(device.type, enabled=False):
            flat = hidden.float().flatten(2).transpose(1, 2)
            change = self.to_embedding(flat)
            decoded = self.log_decoded.exp() * (mean + change) @ embedded.T
            if usable is not None:
                decoded = decoded.masked_fill(barred, -1e4)
            warp, _ = local_mean(decoded, own)
            step = self.to_step(flat).transpose(1, 2).unflatten(2, (rows, columns))
        return Coarse(
            warp=warp.unflatten(2, (rows, columns)) + STRIDE * step[:, :2],
            logit=step[:, 2:],
            hidden=hidden,
            similarity=similarity,
            regressed=regressed,
            decoded=decoded,
        )

    def _exchange(self, features: Tensor, usable: Tensor | None) -> Tensor:
        x = features + self.positional(features)
        turn = rotary(x.shape[2], x.shape[3], x.shape[1] // HEADS, x.device)
        tokens = x.flatten(2).transpose(1, 2)
        others = None if usable is None else swap(usable)
        for alone, across in zip(self.alone, self.across, strict=True):
            tokens = alone(tokens, tokens, usable, turn)
            tokens = across(tokens, swap(tokens), others, None)
        return tokens

    def _decode(
        self,
        tokens: Tensor,
        mean: Tensor,
        first: Tensor,
        sure: Tensor,
        own: Tensor,
        usable: Tensor | None,
    ) -> Tensor:
        rows, columns = own.shape[-2:]
        grid = tokens.transpose(1, 2).unflatten(2, (rows, columns))
        warp = first.unflatten(2, (rows, columns)).detach()
        seen = sample(swap(grid), warp, STRIDE)
        displaced = (first - own.flatten(1)).transpose(1, 2).detach() / (8 * STRIDE)
        evidence = torch.cat([displaced, sure], -1)
        x = self.enter(
            torch.cat(
                [
                    tokens,
                    seen.flatten(2).transpose(1, 2).to(tokens.dtype),
                    (10 * mean).to(tokens.dtype),
                    evidence.to(tokens.dtype),
                ],
                -1,
            )
        )
        turn = rotary(rows, columns, x.shape[-1] // HEADS, x.device)
        for layer in self.decoder:
            x = layer(x, x, usable, turn)
        x = x.transpose(1, 2).unflatten(2, (rows, columns))
        for block in self.blocks:
            x = block(x)
        return x


def swap(x: Tensor) -> Tensor:
    """Every photo's partner: the halves of the batch exchanged."""
    return torch.cat(x.chunk(2)[::-1])


def centred(x: Tensor, usable: Tensor | None) -> Tensor:
    """Token features minus the mean over both photos of a pair: what all share says nothing."""
    weight = torch.ones_like(x[..., :1]) if usable is None else usable[..., None].to(x.dtype)
    total, count = (x * weight).sum(1, keepdim=True), weight.sum(1, keepdim=True)
    return x - (total + swap(total)) / (count + swap(count)).clamp(min=1)


def local_mean(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Mean position near the likeliest token, and how sure that is.

    Args:
        logits: N p q, over the partner's tokens.
        own: Positions of a token grid, 2 h w, network pixels.

    Returns:
        Positions, N 2 p; the probability near the best token, that of the best token and the
        spread around it (in tokens), N p 3.
    """
    rows, columns = own.shape[-2:]
    probability = logits.softmax(-1)
    top, best = probability.max(-1)
    near = torch.arange(-REACH, REACH + 1, device=own.device)
    x = (best % columns)[..., None] + near.repeat(len(near))
    y = (best // columns)[..., None] + near.repeat_interleave(len(near))
    there = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    index = y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1)
    local = probability.gather(2, index) * there
    mass = local.sum(-1, keepdim=True).clamp(min=1e-12)
    place = torch.stack([x, y], -1).to(local.dtype)  # N p window 2, in tokens
    share = (local / mass)[..., None]
    mean = (place * share).sum(2)
    spread = ((place - mean[:, :, None]).square() * share).sum((2, 3))[..., None].sqrt()
    positions = (mean + 0.5).transpose(1, 2) * STRIDE
    return positions, torch.cat([mass, top[..., None], spread], -1).detach()
