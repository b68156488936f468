"""What was predicted, one line of JSON per pair; an interrupted file is continued."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from corr.lines import complete_lines
from corr.store import write_atomic


@dataclass(frozen=True, eq=False)
class Prediction:
    """One pair's answer: places in the target and the evidence for each."""

    key: str
    uv: Float[np.ndarray, "n 2"]  # original pixels; NaN = no answer
    confidence: Float[np.ndarray, " n"]
    similarity: Float[np.ndarray, " n"]
    margin: Float[np.ndarray, " n"]
    round_trip_px: Float[np.ndarray, " n"]


_LISTS = ("confidence", "similarity", "margin", "round_trip_px")


def to_bytes(prediction: Prediction) -> bytes:
    """Every bit of a prediction."""
    columns = [prediction.uv, *(getattr(prediction, name)[:, None] for name in _LISTS)]
    table = np.concatenate(columns, axis=1).astype("<f8")
    return prediction.key.encode() + b"\n" + table.tobytes()


def from_bytes(data: bytes) -> Prediction:
    """The reverse of `to_bytes`."""
    key, _, numbers = data.partition(b"\n")
    table = np.frombuffer(numbers, "<f8").reshape(-1, 2 + len(_LISTS)).astype(np.float64)
    return Prediction(key.decode(), table[:, :2], *table[:, 2:].T)


def to_line(prediction: Prediction) -> str:
    """One line of JSON; NaN becomes null. Thousandths of a pixel are kept."""
    values: dict[str, Any] = {"key": prediction.key}
    for name in ("uv", *_LISTS):
        array = np.round(getattr(prediction, name), 3 if name == "uv" else 5)
        known = np.isfinite(array)
        if not known.all():
            array = array.astype(object)
            array[~known] = None
        values[name] = array.tolist()
    return json.dumps(values, allow_nan=False)


def from_line(line: str) -> Prediction:
    """The reverse of `to_line`.

    Raises:
        ValueError: The line is cut off or is something else.
    """
    values = json.loads(line)
    try:
        uv = np.array(values["uv"], dtype=np.float64).reshape(-1, 2)
        lists = [np.array(values[n], dtype=np.float64).reshape(-1) for n in _LISTS]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a prediction: {error}") from None
    if any(len(a) != len(uv) for a in lists):
        raise ValueError("not a prediction: lists of different lengths")
    return Prediction(values["key"], uv, *lists)


def read_predictions(path: Path) -> dict[str, Prediction]:
    """All complete lines by pair; a cut-off last line (a kill while writing) is dropped.

    Raises:
        UserError: Another line is damaged.
    """
    return {p.key: p for p in complete_lines(path, from_line)}


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write all lines at once, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(to_line(p) + "\n" for p in predictions))
