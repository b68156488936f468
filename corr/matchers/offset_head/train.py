"""Train the offset head on pairs that we make.

`python -m corr.matchers.offset_head.train out=outputs/offset_head photos=photos.npz` first makes
the rows (`batches=`, kept in the folder; half a minute each on two cores), then fits. `photos` is
what `corr.matchers.dense.data.pack_photos` wrote; without it all textures are procedural.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from corr.matchers.dense.data.pairs import PairOptions, PairSource
from corr.matchers.dense.data.photos import load_photos
from corr.matchers.offset_head.data import COLUMNS, matched_cells
from corr.matchers.offset_head.network import OffsetHead
from corr.matchers.xfeat import XFeatStar
from corr.training.log import append_row
from corr.training.loop import Course, TrainingLoop
from corr.training.weights_file import save_network

FARTHEST = 12.0  # network pixels; a partner further off is a wrong match
CORE = 0.5  # network pixels; errors below weigh quadratically, above like the square root
CERTAINTY = 0.3  # weight of the certainty's loss
HELD_OUT = 12  # every so many batches are for validation


@dataclass(frozen=True)
class HeadOptions:
    """What the training can be told."""

    out: str = "outputs/offset_head"  # folder of rows, checkpoint, log and weights
    photos: str = ""  # packed pictures; empty = procedural textures only
    batches: int = 60  # of four pairs each
    steps: int = 12000
    rows: int = 2048  # per step
    lr: float = 3e-3  # peak
    seed: int = 11  # of the data and of the first weights


def make_rows(options: HeadOptions, folder: Path) -> list[Tensor]:
    """The rows of every batch; what lies in the folder is not made again."""
    device = torch.device("cpu")
    made = PairOptions(flat_share=0.5, textures=96, texture_size=128)
    source = PairSource(made, options.seed, device, load_photos(options.photos, device))
    matcher, rows = XFeatStar(), []
    for index in tqdm(range(options.batches), desc="made pairs", unit="batch"):
        file = folder / "rows" / f"{index:04d}.pt"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with torch.inference_mode():
                torch.save(matched_cells(index, source, matcher).half(), file)
        rows.append(torch.load(file, weights_only=True).float())
    return rows


def loss_of(found: Tensor, rows: Tensor) -> Tensor:
    """Robust distance to the true offset where it is known, and cross entropy to the certainty."""
    true = rows[:, COLUMNS["offset"]]
    known = true.isfinite().all(1) & (true.nan_to_num(1e3).norm(dim=1) < FARTHEST)
    squared = (found[known, :2] - true[known]).square().sum(1)
    robust = ((squared / CORE**2 + 1) ** 0.25 - 1).sum() / known.sum().clamp(min=1)
    sure = rows[:, COLUMNS["certainty"]][:, 0].clamp(0, 1)
    return robust + CERTAINTY * F.binary_cross_entropy_with_logits(found[:, 2], sure)


def scores(head: OffsetHead, rows: Tensor) -> dict[str, float]:
    """Errors on rows with a known offset, network pixels, and of the certainty."""
    with torch.inference_mode():
        offset, sure = head(rows[:, COLUMNS["pairs"]])
    true, theirs = rows[:, COLUMNS["offset"]], rows[:, COLUMNS["certainty"]][:, 0]
    known = true.isfinite().all(1) & (true.nan_to_num(1e3).norm(dim=1) < FARTHEST)
    error = (offset - true)[known].norm(dim=1)
    return {
        "median": float(error.median()),
        "within_1": float((error < 1).float().mean()),
        "certainty_error": float((sure - theirs).abs().mean()),
    }


def train(options: HeadOptions) -> str:
    """Make rows, fit, write the weights; goes on where it was cut off; returns the last scores."""
    out = Path(options.out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    parts = make_rows(options, out)
    held = torch.cat(parts[HELD_OUT - 1 :: HELD_OUT] or parts[-1:])
    rows = torch.cat([p for k, p in enumerate(parts) if (k + 1) % HELD_OUT] or parts)
    torch.manual_seed(options.seed)
    head = OffsetHead()
    course = Course(options.steps, options.lr, max(1, options.steps // 10))
    loop = TrainingLoop(head, course, out, asdict(options) | {"out": "", "photos": ""})

    def gradients(step: int) -> float:
        draw = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        some = rows[torch.randint(len(rows), (options.rows,), generator=draw)]
        loss = loss_of(head.raw(some[:, COLUMNS["pairs"]]), some)
        loss.backward()
        return float(loss.detach())

    def validated(step: int, loss: float, seconds: float) -> None:
        row = {"step": float(step), "loss": loss, **scores(head, held), "seconds": seconds}
        append_row(out / "log.csv", row)

    loop.run(gradients, validated)
    found = scores(head, held)
    about = {"options": asdict(options) | {"out": ""}, "rows": len(rows), "scores": found}
    save_network(head.half(), out / "offset_head.safetensors", about)
    return json.dumps(found)


if __name__ == "__main__":
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    kinds = {name: type(value) for name, value in asdict(HeadOptions()).items()}
    if set(given) - set(kinds):
        sys.exit(f"options are {', '.join(f'{k}=' for k in kinds)}")
    print(train(HeadOptions(**{k: kinds[k](v) for k, v in given.items()})))
