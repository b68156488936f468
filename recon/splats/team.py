"""Processes that train one set of splats together: each draws some photos, gradients are added.

Every process holds all splats. gsplat's own distribution holds a part of them in each, which
pays for scenes that one GPU cannot hold; a few photos never make one of those, and this way
every strategy and every correction of poses and exposures works as in one process.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")


class Team:
    """One process alone: there is nobody to talk to."""

    rank, size = 0, 1

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of what a step draws."""
        return items[self.rank :: self.size]

    def add_gradients(self, leaves: Iterable[Tensor]) -> None:
        """Give every process the sum of all processes' gradients."""

    def follow_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""

    def first_says(self, value: float) -> float:
        """The first process's number, for decisions that all must take alike."""
        return value

    def gathered(self, part: Tensor) -> Tensor:
        """The processes' tensors of one shape, joined along the first dimension."""
        return part


class SeveralProcesses(Team):
    """The processes of torch's default group, each on its own device."""

    def __init__(self, device: torch.device):
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def add_gradients(self, leaves: Iterable[Tensor]) -> None:
        """One message for all of them."""
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        parts = flat.split([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def follow_first(self, tensors: Iterable[Tensor]) -> None:
        """Tensor by tensor."""
        for tensor in tensors:
            sent = tensor.detach().to(self.device).contiguous()
            dist.broadcast(sent, 0)
            tensor.copy_(sent)

    def first_says(self, value: float) -> float:
        """Sent as float64."""
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(told, 0)
        return float(told)

    def gathered(self, part: Tensor) -> Tensor:
        """In the order of the processes."""
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)
