"""Drawing matches from a dense warp: by certainty, then thinned where they crowd.

Source: Edstedt et al., DKM, CVPR 2023, section 3.4 (balanced sampling). The density is estimated
against a random subset of the draws: the same estimate at a fraction of the cost.
"""

import torch
from torch import Tensor

BANDWIDTH = 0.1  # of the Gaussian kernel, in units where both photos span [-1, 1]
REFERENCES = 2048  # draws that the density is measured against
LONELY = 10.0  # draws (of all) within the kernel below which a match is taken for a stray one
BLOCK = 8192


def balanced_sample(
    positions: Tensor, certainty: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Indices of at most `count` matches that cover both photos evenly, ascending.

    Args:
        positions: Matches m 4 as x, y in photo a and x, y in photo b, each in [-1, 1].
        certainty: Their certainties m, above 0 where they may be drawn.
        count: How many to draw.
        generator: On the processor.
    """
    pool = _draw(certainty.cpu(), 4 * count, generator)
    if len(pool) <= count:
        return pool.sort().values.to(positions.device)
    density = kernel_density(positions[pool.to(positions.device)], generator).cpu()
    weight = torch.where(density < LONELY, 1e-7, 1 / (density + 1))
    chosen = pool[_draw(weight, count, generator)]
    return chosen.sort().values.to(positions.device)


def kernel_density(positions: Tensor, generator: torch.Generator) -> Tensor:
    """How many of the m matches lie near each one (a Gaussian count), m."""
    m = len(positions)
    order = torch.randperm(m, generator=generator)[:REFERENCES].to(positions.device)
    references = positions[order]
    parts = [
        torch.exp(torch.cdist(block, references).square() * (-0.5 / BANDWIDTH**2)).sum(1)
        for block in positions.split(BLOCK)
    ]
    return torch.cat(parts) * (m / len(references))


def _draw(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` different indices, with chances in proportion to the weights.

    The largest of log(weight) + Gumbel noise: no limit on the number of places, unlike
    `torch.multinomial`.
    """
    noise = torch.rand(len(weight), generator=generator).clamp(1e-12, 1 - 1e-7)
    key = torch.where(weight > 0, weight.clamp(min=1e-30).log() - (-noise.log()).log(), -torch.inf)
    possible = int((weight > 0).sum())
    return key.topk(min(count, possible)).indices
