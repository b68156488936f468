"""How good the network is on pairs whose seeds the training never sees."""

import torch
from torch import Tensor

from corr.matchers.dense.covariance import squared_distance
from corr.matchers.dense.data.pairs import PairSource
from corr.matchers.dense.losses import CREDIBLE
from corr.matchers.dense.network import DenseNetwork

PCK_PX = (1, 3, 5)
BINS = 20


@torch.no_grad()
def validate(
    network: DenseNetwork,
    source: PairSource,
    *,
    pairs: int,
    width: int,
    height: int,
    autocast: bool,
) -> dict[str, float]:
    """End-point errors, PCK, calibration and the covariance's fit over co-visible cells.

    Args:
        network: In evaluation mode.
        source: Makes the pairs.
        pairs: How many.
        width: Of the photos, px.
        height: Of the photos, px.
        autocast: Whether the network runs in bfloat16.
    """
    device = source.device
    errors, coarse, certain, right, chi = [], [], [], [], []
    for index in range((pairs + 7) // 8):
        images, truth = source.batch(index, min(8, pairs - 8 * index), width, height)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            prediction = network(images)
        last = prediction.refined[-1]
        assert last.factor is not None
        visible, difference = truth.visible[2], last.warp.float() - truth.warp[2]
        error = difference.norm(dim=1)
        errors.append(error[visible])
        first = (prediction.coarse.warp - truth.warp[16]).norm(dim=1)
        coarse.append(first[truth.visible[16]])
        certain.append(last.logit[:, 0].float().sigmoid().flatten())
        right.append((visible & (error < CREDIBLE * 2)).flatten())
        good = visible & (error < CREDIBLE * 2)
        chi.append(squared_distance(last.factor, difference)[good])
    error, start = torch.cat(errors), torch.cat(coarse)
    found = {
        "epe_median": float(error.median()),
        "epe_mean": float(error.clamp(max=100).mean()),
        "coarse_median": float(start.median()),
        "coarse_pck16": float((start < 16).float().mean()),
    }
    found |= {f"pck{k}": float((error < k).float().mean()) for k in PCK_PX}
    found["ece"] = calibration_error(torch.cat(certain), torch.cat(right))
    found["chi2"] = float(torch.cat(chi).mean() / 2)
    return found


def calibration_error(probability: Tensor, right: Tensor) -> float:
    """Expected calibration error over 20 equal bins."""
    which = (probability * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(which, minlength=BINS).double()
    said = torch.bincount(which, probability.double(), minlength=BINS)
    was = torch.bincount(which, right.double(), minlength=BINS)
    return float((said - was).abs().sum() / count.sum())
