"""Losses on two maps of descriptors with common points: sparse, and over the whole other photo."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from corr.semantic.learned.shots import flat_centres, sampled

CONTRAST = 0.07  # temperature of the sparse loss, CLIP's
NEAR = 1.0  # cells, spread of a true place in the dense loss


def sparse_loss(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], weight: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Every point must recognise its counterpart among the others, both ways.

    Source: the symmetric contrastive loss of CLIP on key-points, as in Telling Left from Right.
    """
    logits = a @ b.T / CONTRAST
    truth = torch.arange(len(a))
    both = F.cross_entropy(logits, truth, reduction="none")
    both = both + F.cross_entropy(logits.T, truth, reduction="none")
    return (both * weight).sum() / weight.sum() / 2


def dense_loss(
    point: Float[Tensor, "n d"],
    maps: Float[Tensor, "1 d h w"],
    at: Float[Tensor, "n 2"],
    weight: Float[Tensor, " n"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Every point must find its place among all cells of the other photo.

    Cross-entropy of the softmax over cells to a Gaussian around the true place, plus the distance
    from the soft-argmax to it, in shares of the grid's longer side.

    Args:
        point: Descriptors of the points.
        maps: Descriptors of the other photo.
        at: True (column, row) there.
        weight: Of each point.
        temperature: Of the softmax of cosines.
    """
    shape = maps.shape[-2], maps.shape[-1]
    centres = flat_centres(shape)
    logits = point @ maps[0].flatten(1) / temperature
    off = torch.cdist(at, centres)
    truth = torch.softmax(-0.5 * (off / NEAR) ** 2, 1)
    cross = -(truth * F.log_softmax(logits, 1)).sum(1)
    reached = torch.softmax(logits, 1) @ centres
    distance = (reached - at).norm(dim=1) / max(shape)
    return ((cross + distance) * weight).sum() / weight.sum()


def couple_loss(
    a: Float[Tensor, "1 d h w"],
    b: Float[Tensor, "1 d rows columns"],
    at_a: Float[Tensor, "n 2"],
    at_b: Float[Tensor, "n 2"],
    weight: Float[Tensor, " n"],
    temperature: float,
) -> Float[Tensor, ""]:
    """All of it for one couple of shots, both ways."""
    of_a, of_b = sampled(a, at_a), sampled(b, at_b)
    dense = dense_loss(of_a, b, at_b, weight, temperature)
    dense = dense + dense_loss(of_b, a, at_a, weight, temperature)
    return sparse_loss(of_a, of_b, weight) + dense / 2


def matrix_loss(
    a: Float[Tensor, "1 d h w"],
    b: Float[Tensor, "1 d rows columns"],
    at: Float[Tensor, "n 2"],
    share: Float[Tensor, "n cells"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of rows of the softmaxed similarity matrix to a teacher's.

    Source: DistillDIFT (Fundel et al.), WACV 2025.

    Args:
        a: The student's descriptors of one photo.
        b: Of the other.
        at: (column, row) in a, one for each row.
        share: The teacher's rows: over the cells of b, each sums to 1.
        temperature: Of the student's softmax of cosines.
    """
    logits = sampled(a, at) @ b[0].flatten(1) / temperature
    return -(share * F.log_softmax(logits, 1)).sum(1).mean()
