"""Networks to and from safetensors files, with the configuration they were trained under."""

import json
from pathlib import Path

import torch
from torch import nn

from corr.errors import UserError


def save_network(network: nn.Module, file: Path, about: dict) -> None:
    """Write the parameters; `about` (JSON values) travels in the header."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    partial = file.with_suffix(".partial")
    save_file(tensors, partial, metadata={"about": json.dumps(about, sort_keys=True)})
    partial.replace(file)


def read_about(file: Path) -> dict:
    """What was stored beside the parameters.

    Raises:
        UserError: The file is absent.
    """
    from safetensors import safe_open

    if not file.is_file():
        raise UserError(f"weights file {file} does not exist; train it first")
    with safe_open(file, framework="pt") as stored:
        return json.loads((stored.metadata() or {}).get("about", "{}"))


def load_network(network: nn.Module, file: Path) -> dict:
    """Fill a network built with the same configuration; returns what was stored as `about`.

    Raises:
        UserError: The file is absent or belongs to another network.
    """
    from safetensors.torch import load_file

    about = read_about(file)
    tensors = load_file(file)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{file} does not fit this version's network: {reason}") from error
    network.eval()
    return about


def single_threaded() -> None:
    """Training uses one core, so that its numbers do not depend on the machine's load."""
    torch.set_num_threads(1)
