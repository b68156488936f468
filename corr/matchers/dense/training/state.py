"""What a training is made of, and how it is kept: weights, averages, moments, counters."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from corr.errors import UserError
from corr.matchers.dense.network import DenseNetwork

FILES = ("weights", "average", "moment1", "moment2")  # one file each: none exceeds 16 MB


@dataclass
class Progress:
    """How far a training has come."""

    step: int = 0  # over all stretches
    stretch_start: int = 0  # step at which this stretch began
    spent_min: float = 0.0  # of this stretch's budget
    total_min: float = 0.0  # over all stretches
    finished: bool = False  # this stretch ended as planned
    skipped: int = 0  # steps left out because a gradient was not finite


class TrainingState:
    """Network, optimiser, averaged weights and counters."""

    def __init__(self, network: DenseNetwork, lr: float, weight_decay: float):
        self.network = network
        self.names = [n for n, p in network.named_parameters() if p.requires_grad]
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        decayed = [p for p in self.parameters if p.dim() > 1]
        plain = [p for p in self.parameters if p.dim() <= 1]
        fused = self.parameters[0].is_cuda
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=lr,
            betas=(0.9, 0.99),
            fused=fused,
        )
        self.current = network.own_state()  # the same memory as the network's
        self.average = {k: v.detach().clone() for k, v in self.current.items()}
        self.progress = Progress()

    def follow(self, decay: float) -> None:
        """Move the averaged weights towards the current ones."""
        k = self.progress.step
        decay = min(decay, (1 + k) / (10 + k))
        floating = [n for n, v in self.current.items() if v.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[n] for n in floating], [self.current[n] for n in floating], 1 - decay
        )
        for name, value in self.current.items():
            if not value.is_floating_point():
                self.average[name].copy_(value)

    def heal(self) -> None:
        """Replace statistics that are not finite by their averages (after a step left out)."""
        for name, value in self.current.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                value.copy_(self.average[name])

    def averaged(self) -> "Swapped":
        """A context in which the network has the averaged weights."""
        return Swapped(self.network, self.average)

    def save(self, folder: Path, about: dict) -> None:
        """Write everything; a killed write leaves the previous checkpoint.

        Args:
            folder: Where to.
            about: JSON values that are stored beside the counters.
        """
        from safetensors.torch import save_file

        moments = self._moments()
        parts = (self.current, self.average, moments[0], moments[1])
        tag = f"{self.progress.step}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in zip(FILES, parts, strict=True):
            tensors = {k: v.detach().cpu().contiguous() for k, v in part.items()}
            save_file(tensors, folder / f"{name}.next", metadata={"step": tag})
        for name in FILES:
            (folder / f"{name}.next").replace(folder / f"{name}.safetensors")
        text = json.dumps({"progress": asdict(self.progress), **about}, indent=1)
        (folder / "progress.next").write_text(text)
        (folder / "progress.next").replace(folder / "progress.json")

    def resume(self, folder: Path) -> bool:
        """Take up what `save` wrote; False where there is nothing.

        Raises:
            UserError: The files are of different steps or of another network.
        """
        from safetensors import safe_open
        from safetensors.torch import load_file

        if not (folder / "progress.json").is_file():
            return False
        progress = Progress(**json.loads((folder / "progress.json").read_text())["progress"])
        parts = []
        for name in FILES:
            file = folder / f"{name}.safetensors"
            with safe_open(file, framework="pt") as opened:
                step = int((opened.metadata() or {}).get("step", "-1"))
            if step != progress.step:
                raise UserError(
                    f"{file} is of step {step}, the checkpoint of step {progress.step}: a write "
                    f"was cut off; delete {folder} or give another out=…"
                )
            parts.append(load_file(file))
        _fill(self.network, parts[0], folder)
        for name, value in self.average.items():
            value.copy_(parts[1][name])
        if progress.step:
            self._set_moments(parts[2], parts[3], progress.step - progress.skipped)
        self.progress = progress
        return True

    def _moments(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        first, second = {}, {}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            state = self.optimiser.state.get(parameter)
            blank = torch.zeros_like(parameter)
            first[name] = state["exp_avg"] if state else blank
            second[name] = state["exp_avg_sq"] if state else blank
        return first, second

    def _set_moments(self, first: dict[str, Tensor], second: dict[str, Tensor], step: int) -> None:
        for name, p in zip(self.names, self.parameters, strict=True):
            self.optimiser.state[p] = {
                "step": torch.tensor(
                    float(step), device=p.device if p.is_cuda else "cpu", dtype=torch.float32
                ),
                "exp_avg": torch.empty_like(p).copy_(first[name]),
                "exp_avg_sq": torch.empty_like(p).copy_(second[name]),
            }


class Swapped:
    """Puts other weights into a network for a while."""

    def __init__(self, network: DenseNetwork, weights: dict[str, Tensor]):
        self.network, self.weights = network, weights

    def __enter__(self) -> DenseNetwork:
        self.kept = {k: v.detach().clone() for k, v in self.network.own_state().items()}
        self.network.load_state_dict(self.weights, strict=False)
        self.network.eval()
        return self.network

    def __exit__(self, *_: object) -> None:
        self.network.load_state_dict(self.kept, strict=False)
        self.network.train()


def _fill(network: DenseNetwork, weights: dict[str, Tensor], source: Path) -> None:
    own = network.own_state()
    wrong = [k for k in own if k not in weights or weights[k].shape != own[k].shape]
    if wrong or len(own) != len(weights):
        raise UserError(f"{source} holds another network's weights (first difference: {wrong[:1]})")
    network.load_state_dict(weights, strict=False)
