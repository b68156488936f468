"""The loop of a training: steps under a half cosine, validations, a checkpoint to go on from."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from corr.errors import UserError

WARM_UP = 100  # steps
LAST_RATE = 0.01  # of the peak
LARGEST_GRADIENT = 1.0  # norm; larger ones are clipped


@dataclass(frozen=True)
class Course:
    """How long, how fast and how often to look."""

    steps: int
    lr: float  # peak of AdamW
    every: int  # steps between validations
    warm_up: int = WARM_UP  # steps

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        share = min(1.0, (step + 1) / self.warm_up) * (LAST_RATE + (1 - LAST_RATE) * falling)
        return self.lr * share


class TrainingLoop:
    """A network, its optimiser and the step at which they are; `checkpoint.pt` is taken up.

    Args:
        network: What learns.
        course: The plan.
        folder: Where the checkpoint lies.
        options: Of the training; a checkpoint of other options is refused.

    Raises:
        UserError: The checkpoint belongs to another training.
    """

    def __init__(self, network: nn.Module, course: Course, folder: Path, options: dict[str, Any]):
        self.network, self.course, self.options = network, course, json.dumps(options)
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=course.lr, weight_decay=1e-4)
        self.checkpoint = folder / "checkpoint.pt"
        self.first = self._resumed()  # 0 = nothing was done before

    def run(
        self,
        gradients: Callable[[int], float | None],
        validated: Callable[[int, float, float], None],
    ) -> None:
        """Go through the steps that are left.

        Args:
            gradients: Backpropagates a step's loss and returns it; None = there is nothing to
                learn from. What it draws depends on the step only, or a continued training
                would differ from one in a single go.
            validated: Called with the steps done, the mean loss since it was called last, and the
                seconds since the start.
        """
        steps, start = self.course.steps, time.monotonic()
        losses: list[float] = []
        for step in tqdm(range(self.first, steps), initial=self.first, total=steps):
            loss = self._step(step, gradients)
            if loss is not None:
                losses.append(loss)
            if (step + 1) % self.course.every == 0 or step + 1 == steps:
                mean = float(np.mean(losses)) if losses else float("nan")
                self.network.eval()
                validated(step + 1, mean, time.monotonic() - start)
                self._save(step + 1)
                losses = []

    def _step(self, step: int, gradients: Callable[[int], float | None]) -> float | None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.course.rate(step)
        self.network.train()
        self.optimiser.zero_grad()
        loss = gradients(step)
        if loss is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
            self.optimiser.step()
        return loss

    def _resumed(self) -> int:
        if not self.checkpoint.is_file():
            return 0
        weights, state, step, text = torch.load(self.checkpoint, weights_only=True)
        before, now = json.loads(text), json.loads(self.options)
        if changed := sorted(k for k in {*before, *now} if before.get(k) != now.get(k)):
            key = changed[0]
            raise UserError(
                f"{self.checkpoint} was made with {key}={before.get(key)}, not {now.get(key)}; "
                "choose another out= or delete it"
            )
        self.network.load_state_dict(weights)
        self.optimiser.load_state_dict(state)
        return int(step)

    def _save(self, step: int) -> None:
        partial = self.checkpoint.with_suffix(".partial")
        state = self.network.state_dict(), self.optimiser.state_dict(), step, self.options
        torch.save(state, partial)
        partial.replace(self.checkpoint)
