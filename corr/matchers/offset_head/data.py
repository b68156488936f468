"""Matched cells of made pairs of photos, with where the partner's cell centre really lies."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from corr.matchers.dense.data.pairs import PairSource
from corr.matchers.nearest import mutual_nearest
from corr.matchers.picture import Picture, Place
from corr.matchers.xfeat import XFeatStar

SIZES = ((640, 480), (480, 640), (448, 320))  # px, in turn
PAIRS = 4  # per batch
SHARPNESS = 3.0  # of the softmax over offsets in XFeat's own head
SMOOTH_PX = 4.0  # a truth that jumps by more between neighbours is of an edge
COLUMNS = {"pairs": slice(0, 128), "certainty": slice(128, 129), "offset": slice(129, 131)}


def matched_cells(index: int, source: PairSource, matcher: XFeatStar) -> Tensor:
    """Rows of batch `index`: 128 descriptor values, XFeat's certainty, the true offset (or NaN).

    Both directions of every match are rows of their own; the offset is in network pixels, NaN
    where the partner's centre is not seen from the own photo.
    """
    width, height = SIZES[index % len(SIZES)]
    images, truth = source.batch(index, PAIRS, width, height)
    seen = [matcher._describe(_picture(image)) for image in images.float()]
    rows = []
    for a in range(2 * PAIRS):
        b = (a + PAIRS) % (2 * PAIRS)
        i, j, _ = mutual_nearest(seen[a].unit, seen[b].unit, matcher.min_cossim)
        if not len(i):
            continue
        pairs = torch.cat([seen[a].descriptor[i], seen[b].descriptor[j]], 1)
        at = torch.from_numpy(seen[b].uv[j.numpy()]).float()
        place = _there(truth.warp[2][b], truth.visible[2][b], at, width, height)
        offset = (place - torch.from_numpy(seen[a].uv[i.numpy()])) / torch.from_numpy(
            seen[a].cell_px[i.numpy()]
        )
        sure = certainty_of(matcher._network.net.fine_matcher, pairs)
        rows.append(torch.cat([pairs, sure[:, None], offset.float()], 1))
    return torch.cat(rows) if rows else torch.zeros(0, 131)


def certainty_of(fine_matcher: Any, pairs: Tensor) -> Tensor:
    """Probability of the likeliest offset by XFeat's own head, n."""
    return torch.softmax(SHARPNESS * fine_matcher(pairs), -1).amax(-1)


def _there(warp: Tensor, visible: Tensor, at: Tensor, width: int, height: int) -> Tensor:
    """Where places `at` (n 2, px) of a photo lie in its partner; NaN where that is not known."""
    grid = (at / torch.tensor([width, height]) * 2 - 1)[None, None]

    def read(values: Tensor, mode: str) -> Tensor:
        return F.grid_sample(
            values[None].float(), grid, mode, padding_mode="border", align_corners=False
        )[0, :, 0].T

    place, near = read(warp, "bilinear").double(), read(warp, "nearest").double()
    good = (read(visible[None], "bilinear")[:, 0] > 0.99) & ((place - near).norm(dim=1) < SMOOTH_PX)
    return torch.where(good[:, None], place, torch.nan)


def _picture(image: Tensor) -> Picture:
    rgb = (image.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    return Picture(rgb, None, Place(rgb.shape[1], rgb.shape[0], np.ones(2), np.zeros(2)))
