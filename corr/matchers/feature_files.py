"""Features of photos on disk, so that processes share them and memory stays bounded.

A file per picture in safetensors' format, read through a memory map; what is no tensor (classes,
sizes, places) stands in its header. 100 000 photos with XFeat*'s 8000 cells of 64 numbers (twice)
are 440 GB; pooled for retrieval they are 0.8 GB.
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corr.matchers.feature_store import Key
from corr.store import write_unique

PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class FeatureFiles:
    """The features of one photo set by one matcher."""

    folder: Path

    def file(self, key: Key) -> Path:
        """Where the features of a picture lie."""
        return self.folder / f"{'_'.join(map(str, key))}.safetensors"

    def get(self, key: Key, compute: Callable[[], Any]) -> Any:
        """Features from disk, or computed and kept there."""
        file = self.file(key)
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            # Another process may be writing the same: either's file will do.
            write_unique(file, to_bytes(compute()))
        return from_file(file)


def to_bytes(features: Any) -> bytes:
    """A dataclass of arrays, tensors and plain values as the bytes of a safetensors file.

    Raises:
        TypeError: It holds something else.
    """
    from safetensors.torch import save

    tensors: dict[str, Any] = {}
    layout = _layout(features, tensors)
    return save(tensors, {"layout": json.dumps(layout)})


def from_file(file: Path) -> Any:
    """The reverse of `to_bytes`; the same bits in fresh, aligned memory.

    Raises:
        ValueError: A class in the file is none of ours.
    """
    from safetensors import safe_open

    with safe_open(file, framework="pt") as data:
        layout = json.loads(data.metadata()["layout"])
        return _value(layout, lambda name: data.get_tensor(name).clone())


def _layout(value: Any, tensors: dict[str, Any]) -> Any:
    import torch

    if isinstance(value, (torch.Tensor, np.ndarray)):
        name = str(len(tensors))
        if isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.array(value, order="C"))
            return {"array": name}
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name, "device": str(value.device)}
    if is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        inside = {f.name: _layout(getattr(value, f.name), tensors) for f in fields(value)}
        return {"class": kind, "fields": inside}
    if isinstance(value, dict):
        return {"dict": {str(k): _layout(v, tensors) for k, v in value.items()}}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_layout(v, tensors) for v in value]}
    if isinstance(value, PLAIN):
        return {"plain": value}
    raise TypeError(f"features cannot hold a {type(value).__name__} on disk")


def _value(layout: Any, tensor: Callable[[str], Any]) -> Any:
    if "tensor" in layout:
        return tensor(layout["tensor"]).to(layout["device"])
    if "array" in layout:
        return tensor(layout["array"]).numpy()
    if "class" in layout:
        module, _, name = layout["class"].partition(":")
        if not module.startswith("corr."):
            raise ValueError(f"features of an unknown class {layout['class']}")
        kind = getattr(importlib.import_module(module), name)
        return kind(**{k: _value(v, tensor) for k, v in layout["fields"].items()})
    if "dict" in layout:
        return {k: _value(v, tensor) for k, v in layout["dict"].items()}
    if "plain" in layout:
        return layout["plain"]
    kind, parts = next(iter(layout.items()))
    values = [_value(part, tensor) for part in parts]
    return tuple(values) if kind == "tuple" else values
