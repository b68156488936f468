"""`python -m registration.learned.train_descriptor scans=/tmp/scans out=… steps=3000`.

Loss: for sampled points of each cloud, the log share of the softmax over the other cloud's points
that falls on true partners (within 1.5 voxels); points between 1.5 and 2.5 voxels count neither
way. It goes on from `checkpoint.pt` in the output folder. Leaves `descriptor.safetensors`,
`descriptor.json`, `descriptor.csv` and `descriptor.svg` there.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from tqdm import tqdm

from corr.errors import UserError
from corr.training.log import append_row, draw_curves, read_rows
from corr.training.loop import Course, TrainingLoop
from corr.training.weights_file import save_network, single_threaded
from registration.learned.descriptor import DescriptorNet
from registration.learned.descriptor_data import (
    VOXEL_M,
    DescribedFragment,
    DescribedRoom,
    described_rooms,
    inlier_ratio,
    network_input,
)
from registration.learned.key_value import parse_key_values


@dataclass
class DescriptorTraining:
    """Options of the command."""

    scans: str = ""  # folder of make_scans
    out: str = ""  # folder for everything that is written
    steps: int = 3000  # one pair each
    lr: float = 2e-3  # peak; a half cosine brings it to 1 %
    anchors: int = 384  # points per cloud in the loss
    context: bool = True  # use the sparse U-Net
    held_out: int = 2  # last rooms, never trained on
    every: int = 200  # steps between validations
    seed: int = 0
    rooms: int = 0  # use only the first n rooms; 0 = all
    radii: str = "3,5,8"  # of the FPFH inputs, three of them, voxels


def pair_loss(
    network: DescriptorNet, a: DescribedFragment, b: DescribedFragment, anchors: int,
    rng: np.random.Generator,
) -> torch.Tensor | None:  # fmt: skip
    """Loss of one pair in both directions; None where the two share too few points."""
    xyz_a, xyz_b = a.world_from_fragment.apply(a.xyz), b.world_from_fragment.apply(b.xyz)
    index_a, index_b = _shared(xyz_a, xyz_b, anchors, rng), _shared(xyz_b, xyz_a, anchors, rng)
    if min(len(index_a), len(index_b)) < 30:
        return None
    da, db = (network(*network_input(part, rng)) for part in (a, b))
    sharpness = torch.exp(-network.log_temperature.clamp(-4.0, 0.0))
    total = da.new_zeros(())
    for mine, others, index, xyz, xyz_others in (
        (da, db, index_a, xyz_a, xyz_b), (db, da, index_b, xyz_b, xyz_a),
    ):  # fmt: skip
        distance = torch.from_numpy(cdist(xyz[index], xyz_others))
        near = distance < 1.5 * VOXEL_M
        skipped = (distance < 2.5 * VOXEL_M) & ~near
        logits = (mine[index] @ others.T * sharpness).masked_fill(skipped, -torch.inf)
        hits = logits.masked_fill(~near, -torch.inf)
        total = total + (logits.logsumexp(1) - hits.logsumexp(1)).mean()
    return total / 2


def _shared(
    xyz: np.ndarray, others: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Up to `count` random rows of `xyz` that have a true partner among the others."""
    near = cKDTree(others).query(xyz, distance_upper_bound=1.5 * VOXEL_M)[0] < 1.5 * VOXEL_M
    return rng.permutation(np.flatnonzero(near))[:count]


def train(options: DescriptorTraining) -> DescriptorNet:
    """The training; files go to the output folder."""
    single_threaded()
    torch.manual_seed(options.seed)
    out = Path(options.out)
    rooms = described_rooms(
        Path(options.scans), out / "inputs", limit=options.rooms, radii=_radii(options)
    )
    rooms = [room for room in rooms if room.pairs]
    learned, held = rooms[: -options.held_out], rooms[-options.held_out :]
    network = DescriptorNet(options.context)
    sample = np.concatenate([room.parts[0].features for room in learned])
    network.start_from(torch.from_numpy(sample))
    course = Course(options.steps, options.lr, options.every)
    loop = TrainingLoop(network, course, out, asdict(options) | {"scans": "", "out": ""})
    if loop.first == 0:
        (out / "descriptor.csv").unlink(missing_ok=True)
        _note(out, network, held, 0, float("nan"), 0.0)

    def validated(step: int, loss: float, seconds: float) -> None:
        _note(out, network, held, step, loss, seconds)
        _publish(out, network, options, len(learned))

    loop.run(lambda step: _gradients(network, learned, step, options), validated)
    return network


def _gradients(
    network: DescriptorNet, rooms: list[DescribedRoom], step: int, options: DescriptorTraining
) -> float | None:
    """Of one pair; what it draws depends on the seed and the step only."""
    rng = np.random.default_rng([options.seed, 1, step])
    room = rooms[rng.integers(len(rooms))]
    i, j = room.pairs[rng.integers(len(room.pairs))]
    loss = pair_loss(network, room.parts[i], room.parts[j], options.anchors, rng)
    if loss is None:
        return None
    loss.backward()
    return float(loss.detach())


def _radii(options: DescriptorTraining) -> tuple[float, ...]:
    return tuple(float(text) for text in options.radii.split(","))


def _note(
    out: Path, network: DescriptorNet, held: list[DescribedRoom], step: int, loss: float,
    seconds: float,
) -> None:  # fmt: skip
    network.eval()
    ratio, inliers = inlier_ratio(network, held, 30, seed=7)
    row = {
        "step": step, "loss": loss, "inlier_ratio": ratio, "inliers": inliers, "seconds": seconds,
    }  # fmt: skip
    append_row(out / "descriptor.csv", row)
    tqdm.write(" ".join(f"{key}={value:.4g}" for key, value in row.items()))


def _publish(out: Path, network: DescriptorNet, options: DescriptorTraining, rooms: int) -> None:
    about = {
        "options": asdict(options) | {"scans": "", "out": ""},
        "radii_voxels": _radii(options),
        "rooms": rooms,
    }
    save_network(network, out / "descriptor.safetensors", about)
    (out / "descriptor.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
    rows = read_rows(out / "descriptor.csv")[1:]
    draw_curves(out / "descriptor.svg", rows, "step", ["loss", "inlier_ratio", "inliers"])


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    options = parse_key_values(DescriptorTraining, arguments, required=("scans", "out"))
    Path(options.out).mkdir(parents=True, exist_ok=True)
    try:
        train(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"weights in {options.out}/descriptor.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
