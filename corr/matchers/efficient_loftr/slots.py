"""The fine stage as transformers computes it, to compare numbers with it; not the better one.

`EfficientLoFTRForKeypointMatching` (read and run in transformers 5.24) differs from the authors'
`src/loftr/utils/fine_matching.py` in four ways:

- Its places are slots, as many as cells. Slot k holds the partner in a of b's cell k and the
  partner in b of a's cell k, so the two windows that are correlated belong to one match only
  where both cells have the same number; cells without a partner count as the last cell.
- The first stage's softmaxes run over the slots and over the pixels of a, not over the pixels of
  a and of b.
- Its similarities are divided by 56, the channels of the first stage, not by all 64.
- The first stage's answer moves no point: its `gather` runs over the slots, so every point stays
  at the first pixel of its window. The answer does choose the pixels of the second stage.

The coarse stage is the same but for the stretch of positions with the photo's size, which the
authors advise and transformers leaves out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from corr.matchers.efficient_loftr.fine import (
    BLOCK,
    CELL,
    FIRST_PX,
    LAST,
    OUTER,
    WIDTH,
    FineMap,
    best_pixels,
    first_stage,
    second_stage,
)
from corr.matchers.nearest import SoftMatches


@dataclass(frozen=True, eq=False)
class Slots:
    """What transformers answers, one photo a row; both photos have n cells."""

    partner: Tensor  # 2 n: of b's cells in a, of a's cells in b; -1 = none
    score: Tensor  # 2 n
    uv: Tensor  # 2 n 2, network pixels


def refine_slots(a: FineMap, b: FineMap, found: SoftMatches, columns: int) -> Slots:
    """All slots of a pair.

    Args:
        a: Photo a.
        b: Photo b, of the same size.
        found: Matches of cells.
        columns: Of cells.
    """
    n = a.half.shape[2] * a.half.shape[3] * 4 // CELL**2
    partner = found.i.new_full((2, n), -1)
    partner[0, found.j], partner[1, found.i] = found.i, found.j
    score = found.confidence.new_zeros(2, n)
    score[0, found.j] = score[1, found.i] = found.confidence
    over_slots = a.half.new_full((CELL**2, OUTER**2), -torch.inf)
    for own, other in _windows(a, b, partner):
        block = first_stage(own, other, WIDTH - LAST).logsumexp(0)
        over_slots = torch.logaddexp(over_slots, block)
    below = []
    for own, other in _windows(a, b, partner):
        similarity = first_stage(own, other, WIDTH - LAST)
        likely = (similarity - over_slots).add_(similarity.log_softmax(1))
        below.append(second_stage(own, other, *best_pixels(likely)))
    row = torch.div(partner, columns, rounding_mode="floor")
    uv = torch.stack([partner % columns, row], -1).to(score.dtype) * CELL + FIRST_PX
    uv[1] += torch.cat(below)
    return Slots(partner, score, uv)


def _windows(a: FineMap, b: FineMap, partner: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    cells = partner % partner.shape[1]  # none is the last cell
    for i, j in zip(cells[0].split(BLOCK), cells[1].split(BLOCK), strict=True):
        yield a.windows(i, margin=0), b.windows(j, margin=1)
