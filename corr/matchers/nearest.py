"""Mutual nearest neighbours and the dual softmax, in row blocks: memory does not grow with n m."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROW_BLOCK = 256  # rows of the similarity matrix held at a time: few enough for the cache
STRIP = 64  # columns whose largest value is looked for first


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

    best_b = torch.empty(len(a), dtype=torch.long, device=a.device)
    similarity = torch.empty(len(a), device=a.device, dtype=a.dtype)
    top = torch.full((len(b),), -2.0, device=a.device, dtype=a.dtype)
    columns = b
    if len(b) % STRIP:  # with the last one again: a tie is the same point
        columns = torch.cat([b, b[-1:].expand(-len(b) % STRIP, -1)])
    for start in range(0, len(a), ROW_BLOCK):
        rows = slice(start, start + ROW_BLOCK)
        block = a[rows] @ columns.T
        similarity[rows], best = _largest(block)
        best_b[rows] = best.clamp(max=len(b) - 1)
        block = block[:, : len(b)]
        # Without the rows' numbers: where a row's best is its column's best, it is that row.
        top = torch.maximum(top, block.amax(0))
    i = ((similarity == top[best_b]) & (similarity >= min_cossim)).nonzero()[:, 0]
    first = torch.full((len(b),), len(a), device=a.device)
    first = first.scatter_reduce(0, best_b[i], i, "amin")  # of rows that are equal
    i = i[first[best_b[i]] == i]
    return i, best_b[i], similarity[i]


def _largest(block: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """`block.max(1)` in less time: its search for places is slow, that for values is not."""
    strips = block.unflatten(1, (-1, STRIP))
    value, strip = strips.amax(2).max(1)
    within = strips.take_along_dim(strip[:, None, None], 1)[:, 0].argmax(1)
    return value, strip * STRIP + within


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
