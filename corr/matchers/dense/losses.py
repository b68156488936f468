"""The training losses: classification, robust regression, certainty, likelihood."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from corr.matchers.dense.covariance import negative_log_likelihood
from corr.matchers.dense.network import Prediction

CORE = 0.28  # cells; errors below weigh quadratically, above like the square root
CREDIBLE = 2.0  # cells; a warp further off counts as wrong for the certainty
REACH = 6.0  # cells; the refiners learn from places that the coarser stage got within this
LARGEST_ERROR_PX = 8.0  # the covariance describes matches, not blunders


@dataclass
class Truth:
    """Exact warps of N = 2n photos by stride: 16, 8, 4 and 2."""

    warp: dict[int, Tensor]  # N 2 h w, network pixels of the partner
    visible: dict[int, Tensor]  # N h w, bool: seen by the partner too


@dataclass(frozen=True)
class LossWeights:
    """How the parts add up."""

    similarity: float = 0.5
    regressed: float = 0.5
    decoded: float = 1.0
    warp: float = 1.0
    certainty: float = 0.1
    covariance: float = 0.05


def total_loss(
    prediction: Prediction, truth: Truth, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and its parts (detached)."""
    coarse = prediction.coarse
    parts: dict[str, Tensor] = {}
    target, seen = token_targets(truth.warp[16], truth.visible[16])
    for name in ("similarity", "regressed", "decoded"):
        parts[name] = classification(getattr(coarse, name), target, seen)
    error = coarse.warp - truth.warp[16]
    parts["warp16"] = mean_of(robust(error / 16), truth.visible[16])
    parts["certainty16"] = certainty(coarse.logit, error / 16, truth.visible[16])
    before = error
    for answer in prediction.refined:
        s = answer.stride
        visible = truth.visible[s]
        near = F.interpolate(before.detach().norm(dim=1)[:, None], scale_factor=2)[:, 0]
        error = answer.warp - truth.warp[s]
        parts[f"warp{s}"] = mean_of(robust(error / s), visible & (near < REACH * 2 * s))
        parts[f"certainty{s}"] = certainty(answer.logit, error / s, visible)
        if answer.factor is not None:
            e = error.detach()
            good = visible & (e.norm(dim=1) < LARGEST_ERROR_PX)
            parts["covariance"] = mean_of(negative_log_likelihood(answer.factor, e), good)
        before = error
    loss = sum(
        (getattr(weights, name.rstrip("0123456789")) * value for name, value in parts.items()),
        torch.zeros((), device=coarse.warp.device),
    )
    return loss, {name: value.detach() for name, value in parts.items()}


def robust(error: Tensor) -> Tensor:
    """Generalised Charbonnier with exponent 1/2, of N 2 h w errors in cells: N h w.

    Source: RoMa, CVPR 2024, section 3.4.
    """
    return CORE**0.5 * ((error.square().sum(1) / CORE**2 + 1) ** 0.25 - 1)


def certainty(logit: Tensor, error: Tensor, visible: Tensor) -> Tensor:
    """Cross entropy against "seen by both, and the warp is within CREDIBLE cells"."""
    right = visible & (error.detach().norm(dim=1) < CREDIBLE)
    return F.binary_cross_entropy_with_logits(logit[:, 0].float(), right.float())


def mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """Mean where the mask holds; zero where it holds nowhere."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def token_targets(warp: Tensor, visible: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The partner's four tokens around each true position, with bilinear weights.

    Returns:
        Indices N p 4 and weights N p 4 (clamped into the photo), and which tokens count, N p.
    """
    rows, columns = warp.shape[-2:]
    place = (warp / 16 - 0.5).flatten(2)
    x = place[:, 0].clamp(0, columns - 1)
    y = place[:, 1].clamp(0, rows - 1)
    left = x.floor().clamp(max=max(columns - 2, 0))
    top = y.floor().clamp(max=max(rows - 2, 0))
    u, v = x - left, y - top
    index = (top * columns + left).long()
    indices = torch.stack([index, index + 1, index + columns, index + columns + 1], -1)
    weights = torch.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], -1)
    return (indices.clamp(max=rows * columns - 1), weights), visible.flatten(1)


def classification(logits: Tensor, target: tuple[Tensor, Tensor], seen: Tensor) -> Tensor:
    """Cross entropy over the partner's tokens, in nats, divided by the uniform guess's."""
    indices, weights = target
    chosen = (logits.float().log_softmax(-1).gather(2, indices) * weights).sum(-1)
    return mean_of(-chosen, seen) / torch.log(torch.tensor(float(logits.shape[-1])))
