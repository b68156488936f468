"""Where the partner's cell centre lies, from the descriptors of two matched cells."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corr.training.weights_file import load_network

SHIPPED = Path(__file__).resolve().parent / "weights" / "offset_head.safetensors"
DESCRIPTOR = 64  # numbers per cell
WIDTH = 320
BLOCK = 2048  # pairs answered at a time: few enough for the cache


class OffsetHead(nn.Module):
    """Three linear layers on a pair of cells; a quarter of the arithmetic of XFeat's own head.

    XFeat's head answers with a soft-argmax over 8 x 8 offsets, which shrinks, and was trained from
    corners of cells. This one answers with the offset itself, learned from exact truth, and with
    the certainty that XFeat's head has, so that limits on it keep their meaning.

    Source: the idea is that of the match refinement of XFeat (Potje et al., CVPR 2024, section
    3.3); the network and its weights are ours.
    """

    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.first = nn.Linear(2 * DESCRIPTOR, width)
        self.second = nn.Linear(width, width)
        self.answer = nn.Linear(width, 3)

    def raw(self, pairs: Tensor) -> Tensor:
        """Offset and logit of the certainty, n 3, of own and partner's descriptors n 128."""
        return self.answer(F.relu(self.second(F.relu(self.first(pairs)))))

    def forward(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets from the own cell's centre, network pixels of the own photo, n 2; certainty, n.

        Args:
            pairs: Descriptors of the own cell and of the partner as XFeat gives them, n 128.
        """
        found = torch.cat([self.raw(block) for block in pairs.split(BLOCK)])
        return found[:, :2], found[:, 2].sigmoid()


def load_offset_head() -> OffsetHead:
    """The shipped network, ready to answer."""
    head = OffsetHead()
    load_network(head, SHIPPED)
    return head.requires_grad_(False)
