"""From two encoded photos to warps with certainty and covariance, and to drawn matches."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from corr.matchers.dense.covariance import covariance
from corr.matchers.dense.memory import freed_memory_kept
from corr.matchers.dense.network import DenseNetwork
from corr.matchers.dense.sampling import balanced_sample
from corr.matchers.dense.warps import own_positions
from corr.matchers.dense.working_copy import working_copy
from corr.photos import Image

FINEST = 2  # stride of the answer

DENSE_IDS = 1 << 52  # of the first cell


@dataclass
class Encoded:
    """What the network makes of one photo alone."""

    maps: dict[int, Tensor]  # by stride, 1 C h w
    tokens: Tensor  # rows columns, bool: which stride-16 tokens may be matched
    usable: Tensor  # h w at the finest stride, bool
    size: tuple[int, int]  # width and height of the photo, network pixels
    original_px: np.ndarray  # 2: original pixels per network pixel


@dataclass
class PairWarp:
    """One direction: the cells of a photo and where they lie in its partner, network pixels."""

    own: Tensor  # 2 h w, cell centres
    to: Tensor  # 2 h w
    certainty: Tensor  # h w, zero where either photo may not be used
    covariance: Tensor  # 3 h w: xx, xy, yy of the error in the partner
    own_px: np.ndarray  # 2: original pixels per network pixel of the photo
    partner_px: np.ndarray
    size: tuple[int, int]  # of the photo, network pixels
    partner_size: tuple[int, int]


@dataclass
class Drawn:
    """Matches in network pixels."""

    xy_a: np.ndarray  # n 2
    xy_b: np.ndarray  # n 2
    score: np.ndarray  # n

    def cells(self, xy: np.ndarray, cell: int) -> np.ndarray:
        """A number for the cell that a position lies in; the same in every pair of the photo.

        Beyond the numbers of all other matchers: a photo may be matched by two of them.
        """
        column, row = np.floor(xy / cell).astype(np.int64).T
        return DENSE_IDS + row * (1 << 20) + column

    def once_per_cell(self, cell: int) -> "Drawn":
        """The surest match of every cell of a, and of those the surest of every cell of b."""
        kept = np.argsort(-self.score, kind="stable")
        for xy in (self.xy_a, self.xy_b):
            kept = kept[np.sort(np.unique(self.cells(xy[kept], cell), return_index=True)[1])]
        kept = np.sort(kept)
        return Drawn(self.xy_a[kept], self.xy_b[kept], self.score[kept])


@torch.inference_mode()
@freed_memory_kept()
def encode(network: DenseNetwork, image: Image, max_side: int, device: torch.device) -> Encoded:
    """The network's maps of one photo."""
    copy = working_copy(image, max_side, device)
    pixels = copy.pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        maps = network.encode(pixels)
    usable = F.avg_pool2d(copy.usable, FINEST)[0, 0] > 0.5
    return Encoded(maps, copy.tokens, usable, copy.size, copy.original_px)


@torch.inference_mode()
@freed_memory_kept()
def pair_warps(network: DenseNetwork, a: Encoded, b: Encoded) -> tuple[PairWarp, PairWarp]:
    """Both directions. Photos of different sizes are padded to one extent, as maps."""
    rows = max(a.tokens.shape[0], b.tokens.shape[0])
    columns = max(a.tokens.shape[1], b.tokens.shape[1])
    maps = {
        stride: torch.cat(
            [_padded(x.maps[stride], rows * 16 // stride, columns * 16 // stride) for x in (a, b)]
        ).contiguous(memory_format=torch.channels_last)
        for stride in a.maps
    }
    tokens = torch.stack([_padded(x.tokens, rows, columns).flatten() for x in (a, b)])
    device = tokens.device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        prediction = network.match(maps, None if bool(tokens.all()) else tokens)
    last = prediction.refined[-1]
    assert last.factor is not None
    spread = covariance(last.factor.float())
    certainty = last.logit[:, 0].float().sigmoid()
    return (
        _direction(a, b, last.warp[0].float(), certainty[0], spread[0]),
        _direction(b, a, last.warp[1].float(), certainty[1], spread[1]),
    )


def _direction(
    own: Encoded, partner: Encoded, warp: Tensor, certainty: Tensor, spread: Tensor
) -> PairWarp:
    """Without the padding; certainty is zero where it would be a match with nothing."""
    columns, rows = -(-own.size[0] // FINEST), -(-own.size[1] // FINEST)
    warp, certainty, spread = (x[..., :rows, :columns] for x in (warp, certainty, spread))
    width, height = partner.size
    inside = (warp[0] > 0) & (warp[0] < width) & (warp[1] > 0) & (warp[1] < height)
    landed = (warp / FINEST).long()
    there = partner.usable[
        landed[1].clamp(0, partner.usable.shape[0] - 1),
        landed[0].clamp(0, partner.usable.shape[1] - 1),
    ]
    allowed = inside & there & own.usable[:rows, :columns]
    return PairWarp(
        own_positions(rows, columns, FINEST, warp.device),
        warp,
        torch.where(allowed, certainty, 0),
        spread,
        own.original_px,
        partner.original_px,
        own.size,
        partner.size,
    )


def drawn(
    forth: PairWarp,
    back: PairWarp,
    count: int,
    least: float,
    generator: torch.Generator,
) -> Drawn:
    """Matches of both directions together, drawn by certainty and evened out."""
    ends = [
        torch.cat([w.own, w.to] if w is forth else [w.to, w.own]).flatten(1).T
        for w in (forth, back)
    ]
    xy = torch.cat(ends)
    certainty = torch.cat([forth.certainty.flatten(), back.certainty.flatten()])
    possible = (certainty >= least).nonzero()[:, 0]
    xy, certainty = xy[possible], certainty[possible]
    extent = torch.tensor([*forth.size, *forth.partner_size], device=xy.device)
    chosen = balanced_sample(2 * xy / extent - 1, certainty, count, generator)
    points = xy[chosen].double().cpu().numpy()
    return Drawn(points[:, :2], points[:, 2:], certainty[chosen].double().cpu().numpy())


def _padded(x: Tensor, rows: int, columns: int) -> Tensor:
    """Zeros (or False) to the right and below."""
    return F.pad(x, (0, columns - x.shape[-1], 0, rows - x.shape[-2]))
