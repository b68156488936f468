"""`python -m registration.learned.train_unet scans=/tmp/scans out=… steps=3000`.

Trains the vote refiner on the votes that the estimator casts for simulated pairs. Target of a
pair: the occupied bin nearest (L1) to the true motion; pairs where it is more than three bins off
are left out. Loss: binary cross-entropy over the occupied bins as in the paper, or a softmax over
them (`loss=softmax`). It goes on from `checkpoint.pt` in the output folder. Leaves
`votes.safetensors` of the best validation, `votes.json`, `votes.csv` and `votes.svg` there.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from corr.errors import UserError
from corr.training.log import append_row, draw_curves, read_rows
from corr.training.loop import Course, TrainingLoop
from corr.training.weights_file import save_network, single_threaded
from registration.learned.descriptor_data import described_rooms
from registration.learned.key_value import parse_key_values
from registration.learned.unet6 import VoteUNet, bin_inputs, bin_lattice
from registration.learned.vote_data import MOST_BINS_OFF, VoteExample, vote_examples

ROUNDED = 1e-5  # of the figures in the table


@dataclass
class VoteTraining:
    """Options of the command."""

    scans: str = ""  # folder of make_scans
    out: str = ""  # folder for everything that is written
    steps: int = 3000  # of `pairs` pairs each
    pairs: int = 4  # gradients accumulated per step
    lr: float = 2e-3  # peak of AdamW; a half cosine brings it to 1 %
    kernel: str = "cross"  # cross | separable | hypercube
    loss: str = "softmax"  # softmax | bce
    held_out: int = 3  # last rooms, never trained on
    every: int = 250  # steps between validations
    seed: int = 0
    rooms: int = 0  # use only the first n rooms; 0 = all


def example_loss(network: VoteUNet, one: VoteExample, kind: str) -> torch.Tensor:
    """Loss of one pair's bins."""
    logits = score(network, one)
    if kind == "softmax":
        return logits.logsumexp(0) - logits[one.targets].logsumexp(0)
    truth = torch.zeros_like(logits)
    truth[one.targets] = 1.0
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)


def score(network: VoteUNet, one: VoteExample) -> torch.Tensor:
    """Logits of an example's bins."""
    lattice = bin_lattice(torch.from_numpy(one.keys))
    return network(bin_inputs(torch.from_numpy(one.mass)), lattice)


def share_right(network: VoteUNet | None, examples: list[VoteExample]) -> float:
    """Share of pairs whose best bin lies within two bins of a target along every axis.

    Args:
        network: Ranks the bins; None = their mass does.
        examples: Pairs.
    """
    right = 0
    with torch.inference_mode():
        for one in examples:
            rank = one.mass if network is None else score(network, one).numpy()
            best = one.keys[int(np.argmax(rank))]
            right += bool((np.abs(best - one.keys[one.targets]).max(1) <= 2).any())
    return right / max(len(examples), 1)


def train(options: VoteTraining) -> VoteUNet:
    """The training; files go to the output folder."""
    if options.loss not in ("softmax", "bce"):
        raise ValueError(f"loss must be softmax or bce, got {options.loss}")
    single_threaded()
    torch.manual_seed(options.seed)
    out = Path(options.out)
    rooms = described_rooms(Path(options.scans), out / "inputs", limit=options.rooms)
    by_room = vote_examples(rooms, out / "votes", options.seed)
    useful = [
        [e for e in room if e.distance <= MOST_BINS_OFF and len(e.keys) > 10] for room in by_room
    ]
    learned = [e for room in useful[: -options.held_out] for e in room]
    held = [e for room in useful[-options.held_out :] for e in room]
    network, table = VoteUNet(options.kernel), out / "votes.csv"
    course = Course(options.steps, options.lr, options.every)
    loop = TrainingLoop(network, course, out, asdict(options) | {"scans": "", "out": ""})
    if loop.first == 0:
        table.unlink(missing_ok=True)
    plain = share_right(None, held)

    def validated(step: int, loss: float, seconds: float) -> None:
        before = read_rows(table) if table.is_file() else []
        row = {
            "step": step, "loss": loss, "right": share_right(network, held),
            "plain_right": plain, "seconds": seconds,
        }  # fmt: skip
        append_row(table, row)
        tqdm.write(" ".join(f"{key}={value:.4g}" for key, value in row.items()))
        if row["right"] > max((r["right"] for r in before), default=0.0) - ROUNDED:
            _publish(out, network, options, len(learned), row)

    loop.run(lambda step: _gradients(network, learned, step, options), validated)
    draw_curves(out / "votes.svg", read_rows(table), "step", ["loss", "right"])
    return network


def _gradients(
    network: VoteUNet, examples: list[VoteExample], step: int, options: VoteTraining
) -> float:
    """Of one step, accumulated; what it draws depends on the seed and the step only."""
    rng = np.random.default_rng([options.seed, 2, step])
    total = 0.0
    for index in rng.integers(len(examples), size=options.pairs):
        loss = example_loss(network, _jittered(examples[index], rng), options.loss)
        (loss / options.pairs).backward()
        total += float(loss.detach()) / options.pairs
    return total


def _jittered(one: VoteExample, rng: np.random.Generator) -> VoteExample:
    """The same votes in reflected and permuted axes, on a shifted lattice that halves elsewhere.

    Under a signed permutation M of the axes a translation becomes M t and a rotation vector
    det(M) M w; bins map onto bins.
    """
    order, sign = rng.permutation(3), rng.choice([-1, 1], 3)
    turn = sign * round(np.linalg.det(np.eye(3)[order])) * sign.prod()
    w, t = one.keys[:, :3][:, order], one.keys[:, 3:][:, order]
    keys = np.hstack([np.where(turn > 0, w, -1 - w), np.where(sign > 0, t, -1 - t)])
    return VoteExample(keys + rng.integers(-4, 5, 6), one.mass, one.targets, one.distance)


def _publish(out: Path, network: VoteUNet, options: VoteTraining, pairs: int, row: dict) -> None:
    about = {
        "options": asdict(options) | {"scans": "", "out": ""}, "training_pairs": pairs,
        "validation": {key: round(row[key], 4) for key in ("step", "right", "plain_right")},
    }  # fmt: skip
    save_network(network, out / "votes.safetensors", about)
    (out / "votes.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    options = parse_key_values(VoteTraining, arguments, required=("scans", "out"))
    Path(options.out).mkdir(parents=True, exist_ok=True)
    try:
        train(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"weights in {options.out}/votes.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
