"""Trained networks to and from files: each knows its kind, its shape and what it was trained on."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from corr.errors import UserError
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.learned.canonical import CanonicalHead, CanonicalShape
from corr.semantic.learned.head import FeatureHead, HeadShape
from corr.semantic.learned.student import Student, StudentShape
from corr.training.weights_file import load_network, read_about, save_network

_KINDS: dict[str, tuple[type, type]] = {
    "head": (FeatureHead, HeadShape),
    "canonical": (CanonicalHead, CanonicalShape),
    "student": (Student, StudentShape),
}


@runtime_checkable
class Refiner(Protocol):
    """Makes better descriptors of frozen ones."""

    def refined(self, grid: FeatureGrid) -> FeatureGrid:
        """The same cells with other descriptors."""
        ...


def save_trained(network: Any, file: Path, about: dict[str, Any]) -> None:
    """Write a network; `about` (JSON values) travels with it."""
    kind = next(name for name, (made, _) in _KINDS.items() if type(network) is made)
    save_network(network, file, {"semantic": kind, "shape": asdict(network.shape), **about})


def load_trained(file: Path) -> tuple[Any, dict[str, Any]]:
    """A network, ready to answer, and what was stored with it.

    Raises:
        UserError: The file is absent, damaged or something else.
    """
    about = read_trained(file)
    made, shape = _KINDS[about["semantic"]]
    network = made(shape(**about["shape"]))
    load_network(network, file)
    return network.eval().requires_grad_(False), about


def read_trained(file: Path) -> dict[str, Any]:
    """What was stored with a trained network.

    Raises:
        UserError: The file is absent, damaged or something else.
    """
    try:
        about = read_about(file)
    except UserError:
        raise
    except Exception as error:  # safetensors raises its own kind of error
        raise UserError(f"{file} is damaged or no weights file ({error})") from None
    if about.get("semantic") not in _KINDS:
        raise UserError(f"{file} is no trained head; python -m corr train writes head.safetensors")
    return about
