"""Weights of the dense matcher to and from safetensors, with their configuration."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from corr.errors import UserError
from corr.matchers.dense.layers import folded
from corr.matchers.dense.network import Config, DenseNetwork

SHIPPED = Path(__file__).resolve().parent / "weights" / "dense.safetensors"


def save_weights(weights: dict[str, Tensor], config: Config, about: dict, file: Path) -> None:
    """Write weights; matrices and kernels in half precision, the rest as it is."""
    from safetensors.torch import save_file

    halved = {
        name: (value.half() if value.dim() > 1 else value).detach().cpu().contiguous()
        for name, value in weights.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".next")
    about = {"config": asdict(config), **about}
    save_file(halved, partial, metadata={"about": json.dumps(about, sort_keys=True)})
    partial.replace(file)


def read_weights(file: Path) -> tuple[dict[str, Tensor], Config, dict]:
    """Weights in float32, their configuration and what was stored about them.

    Raises:
        UserError: The file is absent or not one of ours.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    if not file.is_file():
        raise UserError(
            f"weights file {file} does not exist; train it by: python -m corr train matcher=dense"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            about = json.loads((opened.metadata() or {}).get("about", "{}"))
        config = Config(**about["config"])
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise UserError(f"{file} does not hold weights of the dense matcher: {error}") from error
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()}
    return tensors, config, about


def load_dense(file: Path, xfeat: Any) -> tuple[DenseNetwork, dict]:
    """The network, made ready for evaluation only, and what is known about its weights."""
    weights, config, about = read_weights(file)
    network = DenseNetwork(config, xfeat)
    _fill(network, weights, file)
    folded(network.eval().requires_grad_(False))
    return network, about


def start_from(network: DenseNetwork, file: Path) -> None:
    """Fill a network of the same configuration."""
    _fill(network, read_weights(file.expanduser())[0], file)


def _fill(network: DenseNetwork, weights: dict[str, Tensor], file: Path) -> None:
    own = network.own_state()
    wrong = [k for k in own if k not in weights or weights[k].shape != own[k].shape]
    if wrong or len(own) != len(weights):
        raise UserError(
            f"{file} does not fit this version's network (first difference: {wrong[:1]})"
        )
    network.load_state_dict(weights, strict=False)
