"""The training loop: photos in random order, coarse to fine, decay, prune, keep the best."""

import copy
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

from corr.geometry import Camera
from recon.scene import View
from recon.splats.cameras import CameraCorrections
from recon.splats.gaussians import Gaussians
from recon.splats.losses import Target, photometric_loss
from recon.splats.parameters import SplatParameters
from recon.splats.seeding import Seeds

if TYPE_CHECKING:
    from recon.render.base import Renderer
    from recon.splats.optimiser import Optimiser

log = logging.getLogger(__name__)
PRUNE_EVERY = 50
POLISH_SHARE = 0.15  # of the steps done: the stop view joins for a last fine polish
LOG_EVERY = 10


@dataclass
class Fitted:
    """The optimised splats with the cameras and exposures that belong to them."""

    gaussians: Gaussians
    views: tuple[View, ...]
    gains: np.ndarray  # v 3, per view
    background: np.ndarray  # 3, mean colour of the photos
    history: list[dict[str, Any]]
    stop_view: str | None


@dataclass
class _Picture:
    camera: Camera
    target: Target


def train(
    options: "Optimiser",
    seeds: Seeds,
    views: tuple[View, ...],
    pictures: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    renderer: "Renderer",
    folder: Path,
    seed: int,
) -> Fitted:
    """Run the schedule; continues from a checkpoint in `folder` when there is one."""
    device = torch.device("cuda" if renderer.name == "cuda" else "cpu")
    loop = _Loop(options, seeds, views, pictures, masks, renderer, device, seed)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        loop.restore(torch.load(checkpoint, weights_only=True))
        log.info("optimise: continuing at step %d", loop.step)
    loop.run(checkpoint)
    checkpoint.unlink(missing_ok=True)
    return loop.result()


class _Loop:
    def __init__(self, options, seeds, views, pictures, masks, renderer, device, seed):
        self.options, self.views, self.renderer = options, views, renderer
        self.device = device
        self.splats = SplatParameters(seeds.gaussians.to(device), options)
        depths = median_depths(seeds.gaussians.means, views).to(device)
        gains = torch.from_numpy(np.log(seeds.exposures)).to(device)
        self.corrections = CameraCorrections(views, depths, gains)
        self.camera_optimiser = torch.optim.Adam(
            [
                {"params": [self.corrections.twist_px], "lr": options.pose_px},
                {"params": [self.corrections.log_gains], "lr": options.exposure_rate},
            ]
        )
        self.full = [_prepare(v, pictures, masks, options.max_side, device) for v in views]
        halves = [max(1, max(p.camera.width, p.camera.height) // 2) for p in self.full]
        self.half = [
            _prepare(v, pictures, masks, side, device)
            for v, side in zip(views, halves, strict=True)
        ]
        # World size of one training pixel at the typical depth: the unit of position steps.
        shrink = self.full[0].camera.width / views[0].camera.width
        focal = torch.tensor([v.camera.K[0, 0] for v in views], device=device) * shrink
        self.pixel = float((depths / focal).median())
        colours = [p.target.rgb.mean((0, 1)) for p in self.half]
        self.background = torch.stack(colours).mean(0)
        self.rng = np.random.default_rng(seed)
        self.order: list[int] = []
        self.stop_index = self._choose_stop_view()
        self.step, self.best_step, self.best_psnr = 0, 0, -math.inf
        self.best: dict[str, Any] | None = None
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.end = options.iterations
        self.polishing = False

    def _choose_stop_view(self) -> int | None:
        """The input photo whose neighbours are nearest: it can best be spared."""
        if not self.options.stop_view or len(self.views) < self.options.stop_min_views:
            return None
        centres = np.array([v.cam_from_world.centre for v in self.views])
        distance = np.linalg.norm(centres[:, None] - centres, axis=-1)
        two_nearest = np.sort(distance, axis=1)[:, 1:3].sum(1)
        return int(np.argmin(two_nearest))

    def run(self, checkpoint: Path) -> None:
        start = perf_counter() - self.seconds
        bar = tqdm(total=self.options.iterations, initial=self.step, desc="optimise", unit="step")
        with bar:
            while self.step < self.end:
                loss, psnr = self._one_step()
                self.seconds = perf_counter() - start
                self._after_step(loss, psnr)
                bar.total = self.end
                bar.update(1)
                if self.step % LOG_EVERY == 0:
                    bar.set_postfix_str(f"PSNR {psnr:.1f} dB, {len(self.splats)} splats")
                if self.step % self.options.checkpoint_every == 0 and self.step < self.end:
                    self._save(checkpoint)

    def _one_step(self) -> tuple[float, float]:
        index = self._next_view()
        coarse = self.step < self._coarse_steps()
        picture = (self.half if coarse else self.full)[index]
        progress = min(1.0, self.step / self.options.iterations)
        self.splats.set_rates(progress, self.pixel, polishing=self.polishing)
        # A random colour behind: splats cannot borrow it, they must close the surface themselves.
        behind = torch.from_numpy(self.rng.random(3, dtype=np.float32)).to(self.device)
        rendered = self.renderer.render(
            self.splats.gaussians(), picture.camera, self._pose(index), background=behind
        )
        rgb = rendered.rgb * self.corrections.gains(index)
        loss = photometric_loss(rgb, picture.target)
        loss.backward()
        self.splats.step()
        # Poses wait until the coarse pictures are explained: wrong splats would move them.
        if progress > 0.1:
            for parameter in self.corrections.parameters():
                if parameter.grad is not None:
                    parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
            self.camera_optimiser.step()
        self.camera_optimiser.zero_grad(set_to_none=True)
        self.step += 1
        with torch.no_grad():
            error = (rgb - picture.target.rgb).square().mean()
        return float(loss.detach()), -10 * math.log10(max(float(error), 1e-10))

    def _coarse_steps(self) -> int:
        return round(self.options.coarse_share * self.options.iterations)

    def _pose(self, index: int) -> Tensor:
        pose = self.corrections.cam_from_world(index)
        return pose if self.options.pose_px > 0 else pose.detach()

    def _next_view(self) -> int:
        if not self.order:
            usable = [
                i for i in range(len(self.views)) if self.polishing or i != self.stop_index
            ]
            self.order = [int(i) for i in self.rng.permutation(usable)]
        return self.order.pop()

    def _after_step(self, loss: float, psnr: float) -> None:
        if self.step % PRUNE_EVERY == 0:
            self.splats.decay_and_prune(PRUNE_EVERY / self.options.iterations)
        stop_psnr = None
        look = self.step % self.options.stop_every == 0 or self.step == self.end
        if self.step == self._coarse_steps():  # what coarse pictures taught is no yardstick
            self.best_psnr, self.best_step, self.best = -math.inf, self.step, None
        if self.stop_index is not None and look and not self.polishing:
            stop_psnr = self._stop_view_psnr()
            if stop_psnr > self.best_psnr + 0.01:
                self.best_psnr, self.best_step = stop_psnr, self.step
                self.best = self._state()
            waited = (self.step - self.best_step) // self.options.stop_every
            if waited >= self.options.stop_patience or self.step == self.end:
                self._start_polish()
        if self.step % LOG_EVERY == 0 or stop_psnr is not None:
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
            "corrections": {k: v.clone() for k, v in self.corrections.state_dict().items()},
            "camera_optimiser": copy.deepcopy(self.camera_optimiser.state_dict()),
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        self.splats.restore(state["splats"])
        self.corrections.load_state_dict(state["corrections"])
        self.camera_optimiser.load_state_dict(state["camera_optimiser"])

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
        self._set_state(saved["state"])
        for name, value in saved["loop"].items():
            setattr(self, name, value)
        self.rng.bit_generator.state = saved["rng"]

    def result(self) -> Fitted:
        views = tuple(self.corrections.view(i, v) for i, v in enumerate(self.views))
        with torch.no_grad():
            gains = torch.stack([self.corrections.gains(i) for i in range(len(views))])
        stop = None if self.stop_index is None else self.views[self.stop_index].name
        gaussians = self.splats.gaussians().detached().to("cpu")
        background = self.background.cpu().numpy()
        return Fitted(gaussians, views, gains.cpu().numpy(), background, self.history, stop)


def median_depths(means: Tensor, views: tuple[View, ...]) -> Tensor:
    """Median depth of the splats in front of each view, scene units."""
    depths = []
    for view in views:
        uv, z = view.camera.project(view.cam_from_world.apply(means.cpu().double().numpy()))
        inside = (z > 0) & (uv > 0).all(1)
        inside &= (uv[:, 0] < view.camera.width) & (uv[:, 1] < view.camera.height)
        depths.append(float(np.median(z[inside])) if inside.any() else 1.0)
    return torch.tensor(depths)


def _prepare(
    view: View,
    pictures: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    max_side: int,
    device: torch.device,
) -> _Picture:
    """The view's photo and camera at training size."""
    import cv2

    factor = min(1.0, max_side / max(view.camera.width, view.camera.height))
    width = max(1, round(view.camera.width * factor))
    height = max(1, round(view.camera.height * factor))
    small = cv2.resize(pictures[view.name], (width, height), interpolation=cv2.INTER_AREA)
    rgb = torch.from_numpy(small.astype(np.float32) / 255.0).to(device)
    weight = None
    if view.name in masks:
        mask = masks[view.name].astype(np.float32)
        share = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        weight = torch.from_numpy((share > 0.999).astype(np.float32)).to(device)
    return _Picture(view.camera.resized(width, height), Target(rgb, weight))
