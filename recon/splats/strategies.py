"""What changes the set of splats during the training, and how fast the splats move."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from corr.errors import UserError
from recon.scene import View
from recon.splats.parameters import SplatParameters
from recon.splats.team import Team

if TYPE_CHECKING:
    from recon.render.base import Rendered
    from recon.splats.optimiser import Optimiser

PRUNE_EVERY = 50


class Strategy(ABC):
    """Called around every step of the training; `step` counts the steps done."""

    def __init__(self, options: "Optimiser", splats: SplatParameters):
        self.options, self.splats = options, splats

    @abstractmethod
    def set_rates(self, step: int, *, polishing: bool) -> None:
        """Set the step sizes of the coming step."""

    @abstractmethod
    def before_backward(self, rendered: "Rendered") -> None:
        """See a picture of the step before its gradients are computed."""

    def penalty(self) -> Tensor | None:
        """What is added to the loss of the picture."""
        return None

    @abstractmethod
    def after_step(self, step: int, *, polishing: bool) -> None:
        """Change the set of splats."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What a continued run needs, detached from what happens next."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Back to a saved state."""


class Edgs(Strategy):
    """Trust the dense start: opacities decay, faint splats go, none are added."""

    def __init__(self, options: "Optimiser", splats: SplatParameters, pixel: float):
        super().__init__(options, splats)
        self.pixel = pixel

    def set_rates(self, step: int, *, polishing: bool) -> None:
        """The options' rates at this share of the run."""
        progress = min(1.0, step / self.options.iterations)
        self.splats.set_rates(progress, self.pixel, polishing=polishing)

    def before_backward(self, rendered: "Rendered") -> None:
        """Nothing is needed of it."""

    def after_step(self, step: int, *, polishing: bool) -> None:
        """Decay and prune now and then."""
        if step % PRUNE_EVERY == 0:
            self.splats.decay_and_prune(PRUNE_EVERY / self.options.iterations)

    def state(self) -> dict[str, Any]:
        """Everything is in the splats."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Everything is in the splats."""


def check_strategy(options: "Optimiser", renderer: str) -> None:
    """Refuse what cannot run on this renderer.

    Raises:
        UserError: Growing splats is gsplat's, and that needs CUDA.
    """
    if options.strategy != "edgs" and renderer != "cuda":
        raise UserError(
            f"optimiser.strategy={options.strategy} is gsplat's and needs CUDA, this run renders "
            f"with {renderer}; take optimiser.strategy=edgs, or device=cuda where there is a GPU"
        )


def make_strategy(
    options: "Optimiser",
    splats: SplatParameters,
    views: tuple[View, ...],
    *,
    pixel: float,
    seed: int,
    team: Team | None = None,
) -> Strategy:
    """The strategy that the options name.

    Args:
        options: `optimiser.strategy` and its numbers.
        splats: What it acts on.
        views: The cameras, whose spread is gsplat's measure of the scene.
        pixel: World size of a training pixel at the typical depth.
        seed: Of whatever is drawn at random.
        team: The processes that train together; None: this one alone.
    """
    if options.strategy == "edgs":
        return Edgs(options, splats, pixel)
    from recon.splats.densify import Densify, Mcmc

    kind = Densify if options.strategy == "densify" else Mcmc
    return kind(options, splats, scene_radius(views), seed, team or Team())


def scene_radius(views: tuple[View, ...]) -> float:
    """1.1 times the largest distance of a camera from the cameras' middle, as 3DGS has it."""
    centres = np.array([v.cam_from_world.centre for v in views])
    return 1.1 * float(np.linalg.norm(centres - centres.mean(0), axis=1).max())
