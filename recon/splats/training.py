"""The training loop: photos in random order, coarse to fine, decay, prune, keep the best."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from recon.scene import View
from recon.splats.batch import per_batch
from recon.splats.cameras import CameraCorrections, MovingCameras
from recon.splats.fitted import Fitted
from recon.splats.losses import photometric_loss
from recon.splats.parameters import SplatParameters
from recon.splats.pictures import Picture, halved, median_depths, prepare, sparable
from recon.splats.seeds import Seeds
from recon.splats.strategies import PRUNE_EVERY, check_strategy, make_strategy
from recon.splats.team import Team

if TYPE_CHECKING:
    from recon.render.base import Renderer
    from recon.splats.optimiser import Optimiser

log = logging.getLogger(__name__)
POLISH_SHARE = 0.15  # of the steps done: the stop view joins for a last fine polish
LOG_EVERY = 10


@dataclass
class _Drawn:
    """What a step leaves to be looked at; numbers are fetched only when somebody asks."""

    loss: Tensor
    rgb: Tensor
    picture: Picture

    def measured(self) -> tuple[float, float]:
        """Loss and PSNR of the step."""
        with torch.no_grad():
            error = (self.rgb - self.picture.target.rgb).square().mean()
        return float(self.loss), -10 * math.log10(max(float(error), 1e-10))


def train(
    options: "Optimiser",
    seeds: Seeds,
    views: tuple[View, ...],
    pictures: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    renderer: "Renderer",
    folder: Path,
    seed: int,
    team: Team | None = None,
    device: torch.device | None = None,
) -> Fitted:
    """Run the schedule; continues from a checkpoint in `folder` when there is one.

    `team` are the processes that train together, None: this one alone; `device` is where this one
    computes, None: where the renderer does.
    """
    check_strategy(options, renderer.name)
    device = device or torch.device("cuda" if renderer.name == "cuda" else "cpu")
    loop = Loop(options, seeds, views, pictures, masks, renderer, device, seed, team)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        loop.restore(torch.load(checkpoint, weights_only=True, map_location=device))
        log.info("optimise: continuing at step %d", loop.step)
    loop.run(checkpoint)
    if loop.team.rank == 0:
        checkpoint.unlink(missing_ok=True)
    return loop.result()


class Loop:
    """The schedule step by step: `run` it, or `advance` and look between the steps."""

    def __init__(self, options, seeds, views, pictures, masks, renderer, device, seed, team=None):
        options = per_batch(options)
        self.options, self.views, self.renderer = options, views, renderer
        self.device, self.team = device, team or Team()
        self.seed_degree = seeds.gaussians.sh_degree
        start = seeds.gaussians.with_degree(options.sh_degree)
        self.splats = SplatParameters(start.to(device), options)
        depths = median_depths(seeds.gaussians.means, views).to(device)
        gains = torch.from_numpy(np.log(seeds.exposures)).to(device)
        self.corrections = CameraCorrections(views, depths, gains)
        self.cameras = MovingCameras(self.corrections, options)
        self.full = [prepare(v, pictures, masks, options.max_side, device) for v in views]
        self.half = halved(self.full, views, pictures, masks, device)
        # World size of one training pixel at the typical depth: the unit of position steps.
        shrink = self.full[0].camera.width / views[0].camera.width
        focal = torch.tensor([v.camera.K[0, 0] for v in views], device=device) * shrink
        pixel = float((depths / focal).median())
        self.strategy = make_strategy(
            options, self.splats, views, pixel=pixel, seed=seed, team=self.team
        )
        colours = [p.target.rgb.mean((0, 1)) for p in self.half]
        self.background = torch.stack(colours).mean(0)
        self.rng = np.random.default_rng(seed)
        self.order: list[int] = []
        spare = options.stop_view and len(views) >= options.stop_min_views
        self.stop_index = sparable(views) if spare else None
        self.step, self.best_step, self.best_psnr = 0, 0, -math.inf
        self.best: dict[str, Any] | None = None
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.started = perf_counter()  # moved on by whoever pauses the clock
        self.measured = (math.nan, math.nan)  # loss and PSNR of the step looked at last
        self.end = options.iterations
        self.polishing = False

    def run(self, checkpoint: Path) -> None:
        """All steps that are left, with a progress bar and checkpoints."""
        self.started = perf_counter() - self.seconds
        bar = tqdm(
            total=self.options.iterations, initial=self.step, desc="optimise", unit="step",
            disable=self.team.rank > 0,
        )  # fmt: skip
        with bar:
            while self.step < self.end:
                self.advance()
                bar.total = self.end
                bar.update(1)
                if self.step % LOG_EVERY == 0:
                    psnr, count = self.measured[1], len(self.splats)
                    bar.set_postfix_str(f"PSNR {psnr:.1f} dB, {count} splats")
                saves = self.team.rank == 0 and self.step % self.options.checkpoint_every == 0
                if saves and self.step < self.end:
                    self._save(checkpoint)

    def advance(self) -> None:
        """One step and what belongs to it: pruning or growing, a look at the stop view."""
        drawn = self._one_step()
        self.seconds = perf_counter() - self.started
        self._after_step(drawn)

    def _one_step(self) -> _Drawn:
        chosen = [(self._next_view(), self._behind()) for _ in range(self.options.batch)]
        self.strategy.set_rates(self.step, polishing=self.polishing)
        for index, behind in self.team.share(chosen):
            drawn = self._draw(index, behind)
        self.team.add_gradients([*self.splats.leaves.values(), *self.corrections.parameters()])
        self.splats.step()
        self.cameras.step(min(1.0, self.step / self.options.iterations))
        self.step += 1
        if self.step % PRUNE_EVERY == 0:  # equal sums are equal bits, unless the GPUs are not alike
            self.team.follow_first(self._moving())
        self.strategy.after_step(self.step, polishing=self.polishing)
        return drawn

    def _draw(self, index: int, behind: Tensor) -> _Drawn:
        """One photo of the step: its part of the gradients is added to the leaves."""
        coarse = self.step < self._coarse_steps()
        picture = (self.half if coarse else self.full)[index]
        pose, gains = self.cameras.at(index)
        rendered = self.renderer.render(
            self.splats.gaussians(), picture.camera, pose, background=behind,
            sh_degree=self._sh_degree(),
        )  # fmt: skip
        rgb = rendered.rgb * gains
        loss = photometric_loss(rgb, picture.target)
        penalty = self.strategy.penalty()
        self.strategy.before_backward(rendered)
        ((loss if penalty is None else loss + penalty) / self.options.batch).backward()
        return _Drawn(loss.detach(), rgb.detach(), picture)

    def _moving(self) -> list[Tensor]:
        """All that a step changes."""
        optimisers = (self.splats.adam, self.cameras.adam)
        moments = [v for o in optimisers for s in o.state.values() for v in s.values()]
        every = [*self.splats.leaves.values(), *self.corrections.parameters(), *moments]
        return [v for v in every if v.numel()]

    def _behind(self) -> Tensor:
        """A random colour: splats cannot borrow it, they must close the surface themselves."""
        if not self.options.random_background:
            return self.background
        colour = torch.from_numpy(self.rng.random(3, dtype=np.float32))
        return colour.to(self.device, non_blocking=True)

    def _sh_degree(self) -> int | None:
        """Bands in use; None: all. Those that the seeds came without join one by one."""
        degree = self.seed_degree + self.step // self.options.sh_every
        return degree if degree < self.options.sh_degree else None

    def _coarse_steps(self) -> int:
        return round(self.options.coarse_share * self.options.iterations)

    def _next_view(self) -> int:
        if not self.order:
            usable = [i for i in range(len(self.views)) if self.polishing or i != self.stop_index]
            self.order = [int(i) for i in self.rng.permutation(usable)]
        return self.order.pop()

    def _after_step(self, drawn: _Drawn) -> None:
        stop_psnr = None
        look = self.step % self.options.stop_every == 0 or self.step == self.end
        if self.step == self._coarse_steps():  # what coarse pictures taught is no yardstick
            self.best_psnr, self.best_step, self.best = -math.inf, self.step, None
        if self.stop_index is not None and look and not self.polishing:
            stop_psnr = self.team.first_says(self._stop_view_psnr())
            if stop_psnr > self.best_psnr + 0.01:
                self.best_psnr, self.best_step = stop_psnr, self.step
                self.best = self._state()
            waited = (self.step - self.best_step) // self.options.stop_every
            if waited >= self.options.stop_patience or self.step == self.end:
                self._start_polish()
        if self.step % LOG_EVERY == 0 or stop_psnr is not None:
            loss, psnr = self.measured = drawn.measured()
            self.history.append(
                {
                    "iteration": self.step,
                    "loss": loss,
                    "psnr_train": psnr,
                    "psnr_stop": stop_psnr,
                    "num_splats": len(self.splats),
                    "seconds": round(self.seconds, 2),
                }
            )

    @torch.no_grad()
    def _stop_view_psnr(self) -> float:
        """PSNR of the stop view, its gain solved in closed form, its pose as given."""
        picture = self.full[self.stop_index]
        pose = self.corrections.cam_from_world(self.stop_index)
        rgb = self.renderer.render(
            self.splats.gaussians(), picture.camera, pose, background=self.background
        ).rgb
        photo = picture.target.rgb
        if picture.target.weight is not None:
            used = picture.target.weight > 0
            rgb, photo = rgb[used][:, None], photo[used][:, None]
        gain = (rgb * photo).sum((0, 1)) / (rgb * rgb).sum((0, 1)).clamp_min(1e-8)
        return -10 * math.log10(max(float((rgb * gain - photo).square().mean()), 1e-10))

    def _start_polish(self) -> None:
        """Back to the best state, then a short run at low rates with the stop view included."""
        if self.best is not None and self.best_step < self.step:
            self._set_state(self.best)
        log.info("optimise: best stop-view PSNR %.2f dB at step %d", self.best_psnr, self.best_step)
        self.polishing, self.order, self.best = True, [], None
        self.end = self.step + max(1, round(POLISH_SHARE * self.best_step))

    def _state(self) -> dict[str, Any]:
        return {
            "splats": self.splats.state(),
            "strategy": self.strategy.state(),
            "cameras": self.cameras.state(),
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        self.splats.restore(state["splats"])
        self.strategy.restore(state["strategy"])
        self.cameras.restore(state["cameras"])

    def _save(self, path: Path) -> None:
        loop = {
            name: getattr(self, name)
            for name in (
                "step", "best_step", "best_psnr", "best", "history", "seconds", "end",
                "polishing", "order",
            )
        }  # fmt: skip
        state = {"state": self._state(), "loop": loop, "rng": self.rng.bit_generator.state}
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def restore(self, saved: dict[str, Any]) -> None:
        """Back to a checkpoint."""
        self._set_state(saved["state"])
        for name, value in saved["loop"].items():
            setattr(self, name, value)
        self.rng.bit_generator.state = saved["rng"]

    def result(self) -> Fitted:
        """What the steps so far have led to, on the CPU."""
        views = tuple(self.corrections.view(i, v) for i, v in enumerate(self.views))
        with torch.no_grad():
            gains = torch.stack([self.corrections.gains(i) for i in range(len(views))])
        stop = None if self.stop_index is None else self.views[self.stop_index].name
        gaussians = self.splats.gaussians().detached().to("cpu")
        background = self.background.cpu().numpy()
        return Fitted(gaussians, views, gains.cpu().numpy(), background, self.history, stop)
