"""What every method gets and does: a split to learn from, one to validate on, a folder to fill."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corr.semantic.datasets.base import PairSet

if TYPE_CHECKING:
    from corr.semantic.learned.unseen import LearningCache

HEAD_FILE = "head.safetensors"


@dataclass(frozen=True, eq=False)
class World:
    """What a training may use.

    Args:
        learned: Pairs to learn from.
        validated: Pairs that curves are drawn on; nothing is learned from them. None = there are
            none.
        cache: Frozen features; refuses test photos.
        out: The folder for everything that is written.
        seed: Of all randomness.
        about: What travels with the head: data, features, digests of the photos learned from.
        tested: Digests of the test split's photos.
    """

    learned: PairSet
    validated: PairSet | None
    cache: "LearningCache"
    out: Path
    seed: int
    about: dict[str, Any]
    tested: frozenset[str] = frozenset()

    def with_photos(self, digests: Iterable[str]) -> "World":
        """The same where more photos are learned from than those of the split."""
        photos = sorted({*self.about["photos"], *digests})
        return replace(self, about={**self.about, "photos": photos})

    def within(self, name: str) -> "World":
        """The same in a subfolder."""
        (self.out / name).mkdir(parents=True, exist_ok=True)
        return replace(self, out=self.out / name)


@dataclass(frozen=True)
class Trained:
    """What a training left: its head, and its course in the figure that it is judged by."""

    head: Path
    figure: str  # what is told
    before: float  # per cent, of the frozen features; NaN where nothing could be validated
    after: float


@dataclass
class Method(ABC):
    """Trains a head."""

    @abstractmethod
    def train(self, world: World) -> Trained:
        """Train, or continue what was interrupted; everything is written to `world.out`."""


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options under dotted names, so that one that differs can be named."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def fit(
    world: World,
    method: Method,
    network: Any,
    course: Any,
    gradients: Callable[[int], float | None],
    judge: Callable[[Any], Mapping[str, float]],
) -> list[dict[str, float]]:
    """The loop: steps, figures on the way to CSV and SVG, the head after every validation.

    Args:
        world: Where it goes.
        method: Whose options are noted; a checkpoint of others is refused.
        network: What learns.
        course: The plan.
        gradients: Of a step.
        judge: Figures of the network as it stands.

    Returns:
        The rows of the table, the first from before the training.
    """
    from tqdm import tqdm

    from corr.semantic.learned.files import save_trained
    from corr.training.log import append_row, draw_curves, read_rows
    from corr.training.loop import TrainingLoop

    about = {"method": type(method).__name__, "options": asdict(method), "seed": world.seed,
             **world.about}  # fmt: skip
    table = world.out / "curve.csv"
    loop = TrainingLoop(network, course, world.out, flattened(about))
    if loop.first == 0:
        table.unlink(missing_ok=True)
        network.eval()
        append_row(table, {"step": 0.0, "loss": float("nan"), **judge(network), "seconds": 0.0})

    def validated(step: int, loss: float, seconds: float) -> None:
        row = {"step": float(step), "loss": loss, **judge(network), "seconds": seconds}
        append_row(table, row)
        save_trained(network, world.out / HEAD_FILE, about)
        tqdm.write(" ".join(f"{key}={value:.4g}" for key, value in row.items()))

    loop.run(gradients, validated)
    rows = read_rows(table)
    names = [n for n in rows[0] if n not in ("step", "seconds")]
    draw_curves(world.out / "curve.svg", rows[1:], "step", names)
    (world.out / "train.json").write_text(
        json.dumps({**about, "last": rows[-1]}, indent=1, sort_keys=True) + "\n"
    )
    return rows
