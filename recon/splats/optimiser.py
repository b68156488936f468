"""The optimisation stage: options and what it leaves on disk."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.scene import View

if TYPE_CHECKING:
    from recon.render.base import Renderer
    from recon.splats.fitted import Fitted
    from recon.splats.seeds import Seeds

log = logging.getLogger(__name__)
STRATEGIES = ("edgs", "densify", "mcmc")


@dataclass
class Optimiser:
    """Fit seeds to the photos without growing new splats: trust the dense start.

    Source: the schedule of EDGS (arXiv 2504.13204): low position rate from the first step, steady
    opacity decay with pruning, no densification and no opacity reset; step sizes are scaled to
    the iteration budget, and position steps are stated in pixels so that no scene scale enters.
    With CUDA gsplat's densification and MCMC can take its place, with the rates of 3DGS.
    """

    strategy: str = "edgs"  # edgs | densify | mcmc; the last two are gsplat's and need CUDA
    iterations: int = 900  # photos shown at most, one a step unless batch says otherwise
    batch: int = 0  # photos a step; steps get fewer and larger; 0 = one per GPU
    coarse_share: float = 0.35  # share of the steps on half-size pictures, first
    max_side: int = 640  # px, longer side of the training pictures
    sh_degree: int = 0  # bands of the colours, at least; those above the seeds' start at zero
    sh_every: int = 1000  # steps after which the next of them joins in
    max_splats: int = 1000000  # densify, mcmc: no more are added beyond (densify: about)
    random_background: bool = True  # behind the splats; False = the photos' mean colour
    position_px: float = 0.06  # position step, pixels of the full-size picture; decays 10 x
    scale_rate: float = 0.012  # log-scale step
    rotation_rate: float = 0.006  # quaternion step
    opacity_rate: float = 0.04  # logit step
    colour_rate: float = 0.008  # harmonics band 0; band 1 a tenth of it
    decay_total: float = 0.8  # logit that every splat loses over the run: it must earn its place
    prune_opacity: float = 0.02  # splats below are removed
    pose_px: float = 0.02  # camera step, pixels at the median depth; 0 = poses stay
    exposure_rate: float = 0.002  # log-gain step per photo; 0 = exposures stay
    stop_view: bool = True  # hold one input photo back to decide when to stop
    stop_min_views: int = 6  # with fewer photos none can be spared
    stop_every: int = 100  # steps between looks at it
    stop_patience: int = 3  # looks without a gain before stopping
    checkpoint_every: int = 200  # steps between checkpoints for a continued run

    def __post_init__(self):
        if self.strategy not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            raise ValueError(f"optimiser.strategy must be one of {known}, got {self.strategy}")
        if not 0 <= self.sh_degree <= 3:
            raise ValueError(f"optimiser.sh_degree must lie in [0, 3], got {self.sh_degree}")
        positive = (
            "iterations", "max_side", "sh_every", "max_splats", "stop_every", "checkpoint_every",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"optimiser.{name} must be positive, got {getattr(self, name)}")
        if self.batch < 0:
            raise ValueError(f"optimiser.batch must be 0 or more, got {self.batch}")
        if not 0 <= self.coarse_share <= 1:
            raise ValueError(f"optimiser.coarse_share must lie in [0, 1], got {self.coarse_share}")

    def fit(
        self,
        seeds: "Seeds",
        views: tuple[View, ...],
        pictures: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        renderer: "Renderer",
        folder: Path,
        seed: int,
        gpus: int = 1,
    ) -> "Fitted":
        """Optimise, with checkpoints in `folder`; the best state by the stop view is returned."""
        from recon.splats.batch import with_batch
        from recon.splats.strategies import check_strategy

        check_strategy(self, renderer.name)
        if gpus > 1:
            from recon.splats.several import Work, train_together

            shared = with_batch(self, gpus)
            work = Work(shared, seeds, views, pictures, masks, renderer, folder, seed)
            return train_together(work, gpus)
        from recon.splats.training import train

        return train(self, seeds, views, pictures, masks, renderer, folder, seed)
