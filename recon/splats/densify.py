"""gsplat's strategies on our splats: growing by gradient, and splats as samples (MCMC).

Both want one optimiser per tensor and replace tensors inside of it; ours is one Adam with a group
per tensor, so each group is handed out as if it were an optimiser of its own.
Source: Kerbl et al., "3D Gaussian splatting", SIGGRAPH 2023, section 5 (rates, densification);
Kheradmand et al., "3D Gaussian splatting as Markov chain Monte Carlo", NeurIPS 2024; both as
gsplat has them (Ye et al., JMLR 2025). In gsplat 1.5.3 the opacity reset of the first never comes:
its condition `step % every == 0 & step > 0` reads as `step % every == 0 and 0 > 0`.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.splats.parameters import POLISH, SplatParameters
from recon.splats.strategies import Strategy
from recon.splats.team import Team

if TYPE_CHECKING:
    from recon.render.base import Rendered
    from recon.splats.optimiser import Optimiser

NAMES = {
    "means": "means",
    "log_scales": "scales",
    "quats_wxyz": "quats",
    "logit_opacities": "opacities",
    "sh_base": "sh0",
    "sh_rest": "shN",
}
# Rates of 3DGS; positions in units of the scene's radius, falling to a hundredth.
RATES = {
    "log_scales": 5e-3,
    "quats_wxyz": 1e-3,
    "logit_opacities": 5e-2,
    "sh_base": 2.5e-3,
    "sh_rest": 2.5e-3 / 20,
}
POSITION_RATE, POSITION_DECAY = 1.6e-4, 0.01
REFINE_START, REFINE_EVERY, RESET_EVERY = 500, 100, 3000  # steps
LEAST_EVERY = 10  # steps: gradients of fewer say little, and growth compounds
DENSIFY_SHARE, MCMC_SHARE = 0.5, 25 / 30  # of the run in which splats are added
MCMC_WEIGHT = 0.01  # of mean opacity and of mean scale in the loss


class _Group:
    """One group of an Adam in the shape of an optimiser."""

    def __init__(self, adam: torch.optim.Adam, group: dict[str, Any]):
        self.param_groups, self.state = [group], adam.state


def parts(splats: SplatParameters) -> tuple[dict[str, Tensor], dict[str, _Group]]:
    """The tensors that are optimised and their optimisers, under gsplat's names."""
    groups = {g["name"]: g for g in splats.adam.param_groups}
    tensors = {NAMES[n]: leaf for n, leaf in splats.leaves.items() if n in groups}
    return tensors, {NAMES[n]: _Group(splats.adam, g) for n, g in groups.items()}


def take_back(splats: SplatParameters, tensors: dict[str, Tensor]) -> None:
    """Make what a strategy left behind the splats' tensors; Adam's moments are there already."""
    count = tensors["means"].shape[0]
    for name, leaf in splats.leaves.items():
        if NAMES[name] in tensors:
            splats.leaves[name] = tensors[NAMES[name]]
        else:  # a band without coefficients, which nothing optimises
            splats.leaves[name] = leaf.detach().new_zeros(count, *leaf.shape[1:]).requires_grad_()


def pulled(drawn: list[dict[str, Any]], team: Team) -> dict[str, Any]:
    """How all photos of a step pulled at each splat, as gsplat's record of one drawing.

    gsplat multiplies by half the picture's size, to have gradients in pixels, and by the number
    of cameras, as the loss is their mean. Photos may differ in size, so that of each is applied
    here and the record says 2 x 2.
    """
    gradients = []
    for raw in drawn:
        x, y = raw["means2d"].grad.unbind(-1)
        gradients.append(torch.stack([x * (raw["width"] / 2), y * (raw["height"] / 2)], -1))
    every = team.gathered(torch.cat(gradients))  # c n 2
    places = torch.zeros_like(every, requires_grad=True)
    places.grad = every
    radii = team.gathered(torch.cat([raw["radii"] for raw in drawn]))
    return {
        "means2d": places, "radii": radii, "width": 2, "height": 2, "n_cameras": len(every),
        "gaussian_ids": None,
    }  # fmt: skip


class _Gsplat(Strategy):
    """What the two have in common: rates, timing, and how gsplat is called."""

    share: float  # of the run in which splats are added

    def __init__(
        self, options: "Optimiser", splats: SplatParameters, radius: float, seed: int, team: Team
    ):
        super().__init__(options, splats)
        self.radius, self.team = radius, team
        self.drawn: list[dict[str, Any]] = []  # gsplat's records of this step's pictures
        torch.manual_seed(seed)  # gsplat draws from torch's own generator
        self.inner = self._make(self._timing())
        self.inner.check_sanity(*parts(splats))
        self.running = self._fresh()

    def _timing(self) -> dict[str, int]:
        """Gsplat's steps, shortened where the run is."""
        steps = self.options.iterations
        return {
            "refine_start_iter": min(REFINE_START, steps // 10),
            "refine_every": min(REFINE_EVERY, max(LEAST_EVERY, steps // 50)),
            "refine_stop_iter": round(self.share * steps),
        }

    def _make(self, timing: dict[str, int]) -> Any:
        raise NotImplementedError

    def _fresh(self) -> dict[str, Any]:
        raise NotImplementedError

    def position_rate(self, step: int) -> float:
        """World units a step."""
        progress = min(1.0, step / self.options.iterations)
        return POSITION_RATE * self.radius * POSITION_DECAY**progress

    def set_rates(self, step: int, *, polishing: bool) -> None:
        """The rates of 3DGS; only positions slow down."""
        rates = {**RATES, "means": self.position_rate(step)}
        batch = math.sqrt(max(1, self.options.batch))  # see recon.splats.batch
        self.splats.apply_rates(rates, batch * (POLISH if polishing else 1.0))

    def before_backward(self, rendered: "Rendered") -> None:
        """Ask for the gradients of the places in the picture."""
        if rendered.raw is None:
            raise ValueError("gsplat's strategies need a picture drawn by gsplat")
        rendered.raw["means2d"].retain_grad()
        self.drawn.append(rendered.raw)

    def after_step(self, step: int, *, polishing: bool) -> None:
        """Let gsplat change the set; it counts steps from 0 and sees each before it is counted."""
        drawn, self.drawn = self.drawn, []
        if polishing:
            return
        tensors, optimisers = parts(self.splats)
        self._call(tensors, optimisers, step - 1, drawn)
        take_back(self.splats, tensors)

    def _call(
        self, tensors: dict[str, Tensor], optimisers: dict[str, _Group], step: int,
        drawn: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Gsplat's running sums."""
        return {k: v.clone() if isinstance(v, Tensor) else v for k, v in self.running.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Back to saved sums."""
        copies = {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
        self.running = {**self._fresh(), **copies}


class Densify(_Gsplat):
    """gsplat's default: copy or split where the picture pulls, remove the faint and the huge."""

    share = DENSIFY_SHARE

    def _make(self, timing: dict[str, int]) -> Any:
        from gsplat.strategy import DefaultStrategy

        return DefaultStrategy(reset_every=RESET_EVERY, **timing)

    def _fresh(self) -> dict[str, Any]:
        return self.inner.initialize_state(scene_scale=self.radius)

    def _call(
        self, tensors: dict[str, Tensor], optimisers: dict[str, _Group], step: int,
        drawn: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        if len(self.splats) >= self.options.max_splats:
            self.inner.grow_grad2d = math.inf  # enough; what is faint is still removed
        info = pulled(drawn, self.team)
        self.inner.step_post_backward(tensors, optimisers, self.running, step, info, packed=False)


class Mcmc(_Gsplat):
    """gsplat's MCMC: noise on the positions, dead splats moved to live ones, up to a cap."""

    share = MCMC_SHARE

    def _make(self, timing: dict[str, int]) -> Any:
        from gsplat.strategy import MCMCStrategy

        return MCMCStrategy(cap_max=self.options.max_splats, **timing)

    def _fresh(self) -> dict[str, Any]:
        return self.inner.initialize_state()

    def penalty(self) -> Tensor:
        """Opacity and size have to be earned."""
        opacity = self.splats.leaves["logit_opacities"].sigmoid().mean()
        return MCMC_WEIGHT * (opacity + self.splats.leaves["log_scales"].exp().mean())

    def _call(
        self, tensors: dict[str, Tensor], optimisers: dict[str, _Group], step: int,
        drawn: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        rate = self.position_rate(step) * math.sqrt(max(1, self.options.batch))
        self.inner.step_post_backward(tensors, optimisers, self.running, step, {}, lr=rate)
