"""What a registrar answered, one line of JSON per pair; an interrupted file is continued."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corr.geometry.rigid import Rigid3
from corr.lines import complete_lines
from corr.store import digest, write_atomic

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Prediction:
    """One answer, in the fragments' own frames; unknown numbers are NaN."""

    scene: str
    source: int
    target: int
    matrix: list[float] | None  # target_from_source, 4x4 row by row; None = no answer
    probability: float
    accepted: bool
    reason: str  # why not accepted
    margin: float  # of the best over the second hypothesis
    matches: int
    inliers: int
    inlier_ratio: float  # of the matches, 10 cm under the truth; measured where they were at hand
    seconds: float  # of the registration alone
    source_seconds: float  # of preparing the source, once per worker
    target_seconds: float
    evidence: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What identifies the pair within its benchmark."""
        return self.scene, self.source, self.target

    @property
    def target_from_source(self) -> Rigid3 | None:
        """The estimate; None when there is none."""
        if self.matrix is None:
            return None
        return Rigid3.from_matrix(np.array(self.matrix).reshape(4, 4))


def to_line(prediction: Prediction) -> str:
    """One line of JSON; NaN and infinity become null."""
    return json.dumps(_nulls(asdict(prediction)), allow_nan=False)


def from_line(line: str) -> Prediction:
    """The reverse of `to_line`.

    Raises:
        ValueError: The line is cut off or is something else.
    """
    values = json.loads(line)
    try:
        numbers = {k: float("nan") for k, v in values.items() if v is None and k != "matrix"}
        return Prediction(**{**values, **numbers})
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a prediction: {error}") from None


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _nulls(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_predictions(path: Path) -> dict[Key, Prediction]:
    """All complete lines by pair; a cut-off last line (a kill while writing) is dropped.

    Raises:
        UserError: Another line is damaged.
    """
    return {p.key: p for p in complete_lines(path, from_line)}


def read_all(folder: Path) -> dict[Key, Prediction]:
    """The predictions of every shard in a folder."""
    found: dict[Key, Prediction] = {}
    for path in sorted(folder.glob("predictions*.jsonl")):
        found |= read_predictions(path)
    return found


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write all lines at once, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(to_line(p) + "\n" for p in predictions))


def files_key(files: Iterable[Path]) -> str:
    """A short hash of names, sizes and times of change; a file that is missing counts as such."""
    return digest([[f.name, *_state(f)] for f in files])


def _state(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns
