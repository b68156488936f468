"""`python -m registration.learned.make_scans out=/tmp/scans rooms=60 fragments=12 seed=0`.

Writes `room_<k>.npz` (see `scans.save_fragments`); rooms that are already there are kept, so an
interrupted run goes on. A room depends on the seed and its number only.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from registration.learned.key_value import parse_key_values
from registration.learned.scans import fragments, save_fragments


@dataclass
class ScanOptions:
    """Options of the command."""

    out: str = ""  # folder to write to
    rooms: int = 40
    fragments: int = 12  # of each room
    seed: int = 0
    frames: int = 14  # depth frames fused into a fragment


def make_scans(options: ScanOptions) -> list[Path]:
    """Simulate the rooms; returns the files, in order."""
    folder = Path(options.out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"room_{k:03d}.npz" for k in range(options.rooms)]
    for k, file in enumerate(tqdm(files, desc="rooms", unit="room")):
        if not file.is_file():
            rng = np.random.default_rng([options.seed, k])
            save_fragments(file, fragments(rng, options.fragments, frames=options.frames))
    return files


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    options = parse_key_values(ScanOptions, arguments, required=("out",))
    files = make_scans(options)
    print(f"{len(files)} rooms of {options.fragments} fragments in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
