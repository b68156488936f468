"""The splats as optimised parameters: rates, decay and pruning, Adam's moments kept in step."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.splats.batch import betas
from recon.splats.gaussians import Gaussians

if TYPE_CHECKING:
    from recon.splats.optimiser import Optimiser

POSITION_DECAY = 0.1  # of the position step, over the run (exponential, as in 3DGS)
LATE_DECAY = 0.25  # of the other steps over the run: settles instead of jittering
POLISH = 0.2  # rates of the last polish relative to the end of the run


class SplatParameters:
    """Leaf tensors of a set of splats and their Adam optimiser."""

    def __init__(self, gaussians: Gaussians, options: "Optimiser"):
        self.options = options
        sh = gaussians.sh
        self.leaves: dict[str, Tensor] = {
            "means": gaussians.means,
            "log_scales": gaussians.log_scales,
            "quats_wxyz": gaussians.quats_wxyz,
            "logit_opacities": gaussians.logit_opacities,
            "sh_base": sh[:, :1],
            "sh_rest": sh[:, 1:],
        }
        self.leaves = {
            name: value.detach().clone().contiguous().requires_grad_()
            for name, value in self.leaves.items()
        }
        self._new_optimiser()

    def __len__(self) -> int:
        return self.leaves["means"].shape[0]

    def _new_optimiser(self) -> None:
        groups = [
            {"params": [v], "name": k, "lr": 0.0} for k, v in self.leaves.items() if v.numel()
        ]
        self.adam = torch.optim.Adam(groups, betas=betas(self.options), eps=1e-15, fused=True)

    def gaussians(self) -> Gaussians:
        """The current splats, attached to the leaves."""
        sh = torch.cat([self.leaves["sh_base"], self.leaves["sh_rest"]], dim=1)
        splat = {k: v for k, v in self.leaves.items() if not k.startswith("sh_")}
        return Gaussians(**splat, sh=sh)

    def set_rates(self, progress: float, pixel: float, *, polishing: bool) -> None:
        """Step sizes at a share of the run; `pixel` is a pixel's world size at typical depth."""
        o = self.options
        late = LATE_DECAY**progress
        base = {
            "means": o.position_px * pixel * POSITION_DECAY**progress,
            "log_scales": o.scale_rate * late,
            "quats_wxyz": o.rotation_rate * late,
            "logit_opacities": o.opacity_rate * late,
            "sh_base": o.colour_rate * late,
            "sh_rest": o.colour_rate * late / 10.0,
        }
        self.apply_rates(base, POLISH if polishing else 1.0)

    def apply_rates(self, rates: Mapping[str, float], factor: float) -> None:
        """Step sizes by the name of the leaf, times a factor."""
        for group in self.adam.param_groups:
            group["lr"] = rates[group["name"]] * factor

    def step(self) -> None:
        """One Adam step; gradients that are not finite count as zero."""
        for leaf in self.leaves.values():
            if leaf.grad is None:
                continue
            # Asking a GPU whether all is well would wait for it; mending is quicker there.
            if leaf.is_cuda or not torch.isfinite(leaf.grad).all():
                leaf.grad.nan_to_num_(0.0, 0.0, 0.0)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    @torch.no_grad()
    def decay_and_prune(self, share: float) -> None:
        """Lower every opacity by its share of the total decay; drop splats that are too faint."""
        logit = self.leaves["logit_opacities"]
        logit -= self.options.decay_total * share
        keep = (logit.sigmoid() > self.options.prune_opacity) & self.gaussians().is_finite()
        if not bool(keep.all()):
            self._select(keep)

    def _select(self, keep: Tensor) -> None:
        moments = {name: self.adam.state.get(leaf, {}) for name, leaf in self.leaves.items()}
        self.leaves = {
            name: leaf.detach()[keep].requires_grad_() for name, leaf in self.leaves.items()
        }
        self._new_optimiser()
        for name, leaf in self.leaves.items():
            if moments[name]:
                self.adam.state[leaf] = {
                    k: v[keep] if k != "step" else v for k, v in moments[name].items()
                }

    def state(self) -> dict[str, Any]:
        """Everything needed to continue, detached from what happens next."""
        return {
            "leaves": {k: v.detach().clone() for k, v in self.leaves.items()},
            "moments": {
                name: {k: v.clone() for k, v in self.adam.state[leaf].items()}
                for name, leaf in self.leaves.items()
                if leaf in self.adam.state
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to a saved state."""
        self.leaves = {k: v.clone().requires_grad_() for k, v in state["leaves"].items()}
        self._new_optimiser()
        for name, moments in state["moments"].items():
            self.adam.state[self.leaves[name]] = {k: v.clone() for k, v in moments.items()}
