"""Mutual nearest neighbours and the dual softmax, in row blocks: memory does not grow with n m."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROW_BLOCK = 256  # rows of the similarity matrix held at a time: few enough for the cache
TILE_ROWS, TILE_COLUMNS = 512, 1024  # of the products that mutual nearest neighbours come from
STRIP = 64  # columns of a tile whose largest value is looked for first


def mutual_nearest(
    a: "torch.Tensor", b: "torch.Tensor", min_cossim: float
) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
    """Index pairs of unit descriptors that are each other's nearest, and their cosines.

    Args:
        a: n d, of unit length.
        b: m d, of unit length.
        min_cossim: Pairs that are less alike are left out.
    """
    import torch

    empty = torch.zeros(0, dtype=torch.long, device=a.device)
    if not len(a) or not len(b):
        return empty, empty, a.new_zeros(0)
    best_b = torch.empty(len(a), dtype=torch.long, device=a.device)
    similarity = torch.empty(len(a), device=a.device, dtype=a.dtype)
    tiles = _tiles(b)
    top = torch.full((tiles.shape[0], tiles.shape[2]), -2.0, device=a.device, dtype=a.dtype)
    room = a.new_empty(len(tiles), min(len(a), TILE_ROWS), tiles.shape[2])
    for start in range(0, len(a), TILE_ROWS):
        rows = slice(start, start + TILE_ROWS)
        block = room[:, : len(a[rows])]
        of_strips = []
        for k, tile in enumerate(tiles):
            torch.mm(a[rows], tile, out=block[k])
            of_strips.append(block[k].unflatten(1, (-1, STRIP)).amax(2))
            # Without the rows' numbers: where a row's best is its column's best, it is that row.
            top[k] = torch.maximum(top[k], block[k].amax(0))
        similarity[rows], strip = torch.cat(of_strips, 1).max(1)
        per_tile = tiles.shape[2] // STRIP
        row = torch.arange(len(strip), device=a.device)
        within = block.unflatten(2, (-1, STRIP))[strip // per_tile, row, strip % per_tile].argmax(1)
        best_b[rows] = strip * STRIP + within
    best_b = best_b.clamp(max=len(b) - 1)
    i = ((similarity == top.flatten()[best_b]) & (similarity >= min_cossim)).nonzero()[:, 0]
    first = torch.full((len(b),), len(a), device=a.device)
    first = first.scatter_reduce(0, best_b[i], i, "amin")  # of rows that are equal
    i = i[first[best_b[i]] == i]
    return i, best_b[i], similarity[i]


def _tiles(b: "torch.Tensor") -> "torch.Tensor":
    """Rows of b as t d w, at most `TILE_COLUMNS` columns each; the last row fills them up.

    A product of a tile fits the cache, so that its largest values cost next to nothing; the
    search for places, which is slow, is left to one strip of 64 columns per row.
    """
    import torch

    count = -(-len(b) // TILE_COLUMNS)
    width = -(-len(b) // (count * STRIP)) * STRIP
    filled = torch.cat([b, b[-1:].expand(count * width - len(b), -1)])
    return filled.view(count, width, -1).transpose(1, 2).contiguous()


def distinct(own: "torch.Tensor", others: "torch.Tensor", *, max_ratio: float) -> "torch.Tensor":
    """Whether the nearest of the others is clearly nearer than the second nearest.

    Args:
        own: N d, of unit length.
        others: M d, of unit length; fewer than two leave no doubt.
        max_ratio: Most that the nearest distance may be of the second one.

    Source: Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004, section 7.1.
    """
    import torch

    if len(others) < 2:
        return torch.ones(len(own), dtype=torch.bool, device=own.device)
    found = []
    for block in own.split(ROW_BLOCK):
        nearest, second = (2 - 2 * (block @ others.T).topk(2, 1).values).clamp(min=0).sqrt().T
        found.append(nearest <= max_ratio * second)
    return torch.cat(found) if found else torch.ones(0, dtype=torch.bool, device=own.device)


@dataclass(frozen=True, eq=False)
class SoftMatches:
    """Mutual maxima of a dual softmax: rows, columns and their confidence, by row."""

    i: "torch.Tensor"
    j: "torch.Tensor"
    confidence: "torch.Tensor"


def dual_softmax(
    a: "torch.Tensor",
    b: "torch.Tensor",
    *,
    scale: float,
    threshold: float,
    usable_a: "torch.Tensor | None" = None,
    usable_b: "torch.Tensor | None" = None,
    rows: int = 0,
) -> SoftMatches:
    """Mutual maxima of softmax over rows times softmax over columns of `scale * a @ b.T`.

    Two passes over blocks of rows: the first gathers the logarithms of both sums, the second the
    maxima, so that no n x m matrix exists. Rows and columns that are not usable are left out of
    the sums (their similarity is minus infinity), as padding is in LoFTR.

    Args:
        a: n d.
        b: m d.
        scale: Of the similarities, the inverse temperature.
        threshold: Least confidence of a match, exclusive.
        usable_a: n, bool; None = all.
        usable_b: m, bool; None = all.
        rows: Rows held at a time; 0 = `ROW_BLOCK`.

    Source: Sun et al., LoFTR, CVPR 2021, section 3.3.
    """
    import torch

    rows = rows or ROW_BLOCK
    n, m = len(a), len(b)
    empty = torch.zeros(0, dtype=torch.long, device=a.device)
    keep_a = torch.arange(n, device=a.device) if usable_a is None else usable_a.nonzero()[:, 0]
    keep_b = torch.arange(m, device=a.device) if usable_b is None else usable_b.nonzero()[:, 0]
    if not len(keep_a) or not len(keep_b):
        return SoftMatches(empty, empty, a.new_zeros(0))
    a, b = (a if usable_a is None else a[keep_a]) * scale, b if usable_b is None else b[keep_b]
    blocks = [slice(s, min(s + rows, len(a))) for s in range(0, len(a), rows)]
    row_sum = torch.empty(len(a), device=a.device, dtype=a.dtype)
    column_sum = torch.full((len(b),), -torch.inf, device=a.device, dtype=a.dtype)
    for block in blocks:
        similarity = a[block] @ b.T
        row_sum[block] = similarity.logsumexp(1)
        column_sum = torch.logaddexp(column_sum, similarity.logsumexp(0))
    best_b = torch.empty(len(a), dtype=torch.long, device=a.device)
    value = torch.empty(len(a), device=a.device, dtype=a.dtype)
    top = torch.full((len(b),), -torch.inf, device=a.device, dtype=a.dtype)
    for block in blocks:
        log = (a[block] @ b.T).mul_(2.0).sub_(column_sum).sub_(row_sum[block, None])
        value[block], best_b[block] = log.max(1)
        top = torch.maximum(top, log.max(0).values)
    confidence = value.exp()
    i = ((value == top[best_b]) & (confidence > threshold)).nonzero()[:, 0]
    return SoftMatches(keep_a[i], keep_b[best_b[i]], confidence[i])
