"""Checkpoint files of others: the state inside, and a clear word where it does not fit."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from corr.errors import UserError

PREFIXES = ("matcher.", "module.", "model.")  # of training wrappers around the network


def read_state(file: Path) -> dict[str, Any]:
    """The tensors of a `.pt`, `.pth`, `.ckpt` or `.safetensors` file by name.

    Raises:
        UserError: It is no file of weights.
    """
    import torch

    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, KeyError) as error:
        raise UserError(
            f"{file} cannot be read as weights ({type(error).__name__}); is it a .pth or "
            ".safetensors file?"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f"{file} holds no weights by name")
    return state


def load_state(network: Any, file: Path) -> None:
    """Fill a network; names in the file may carry a training wrapper's prefix.

    Raises:
        UserError: A layer is missing, has another shape, or is not the network's.
    """
    state = read_state(file)
    for prefix in PREFIXES:
        if state and all(k.startswith(prefix) for k in state):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    fill(network, state, file)


def fill(network: Any, state: dict[str, Any], file: Path) -> None:
    """Load a state strictly; the first thing that does not fit is named.

    Raises:
        UserError: Something does not fit.
    """
    own = network.state_dict()
    wrong = [k for k in own if k not in state]
    reason = f"{wrong[0]} is missing" if wrong else ""
    if not reason and (wrong := [k for k in state if k not in own]):
        reason = f"{wrong[0]} is unknown"
    if not reason and (wrong := [k for k in own if own[k].shape != state[k].shape]):
        reason = f"{wrong[0]} has the shape {tuple(state[wrong[0]].shape)}"
    if reason:
        raise UserError(f"{file} does not hold the weights of {type(network).__name__} ({reason})")
    network.load_state_dict(state)
