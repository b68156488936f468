"""Make the bundled sample scene: python data/sample/make.py [--out DIR] [--samples N]."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
from maker import cameras as walking
from maker import photo, truth
from maker.still_life import still_life
from maker.tracing import render

HERE = Path(__file__).resolve().parent
SEED = 1849
log = logging.getLogger("make")


def make(out: Path, samples: int, scale: float, only: list[int]) -> None:
    """Write photos/ and truth/ below a folder."""
    start = time.monotonic()
    size = round(walking.WIDTH * scale), round(walking.HEIGHT * scale)
    focal_px = walking.FOCAL_PX * size[0] / walking.WIDTH
    scene = still_life(np.random.default_rng([SEED, 1]))
    poses = walking.walk(np.random.default_rng([SEED, 2]))
    log.info("scene: %d shapes, %.1f s", len(scene.kind), time.monotonic() - start)
    for folder in ("photos", "truth"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    truth.write_cameras(out / "truth/transforms.json", walking.NAMES, poses, focal_px, size)
    held_out = [walking.NAMES[k - 1] for k in walking.HELD_OUT]
    (out / "truth/held_out.txt").write_text("\n".join(held_out) + "\n")
    for number, (name, pose) in enumerate(zip(walking.NAMES, poses, strict=True), 1):
        if only and number not in only:
            continue
        rng = np.random.default_rng([SEED, 3, number])
        radiance = render(scene, pose, focal_px, size, samples, rng)
        photo.save(out / "photos" / name, photo.develop(radiance, rng), focal_px, number)
        log.info("%s: %.1f s", name, time.monotonic() - start)
    if not only:
        kept = [
            pose for name, pose in zip(walking.NAMES, poses, strict=True) if name not in held_out
        ]
        points = truth.surface(
            scene, kept, focal_px, size, 0.0055, np.random.default_rng([SEED, 4])
        )
        truth.write_surface(out / "truth/surface.ply", points)
        log.info("surface: %d points, %.1f s", len(points), time.monotonic() - start)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder to write into (default: beside this script)"
    )
    parser.add_argument("--samples", type=int, default=32, help="rays per pixel")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the photos relative to 640 x 480"
    )
    parser.add_argument(
        "--only",
        type=int,
        nargs="*",
        default=[],
        help="numbers of the photos to render (default: all)",
    )
    options = parser.parse_args()
    if options.samples < 1 or not 0.02 <= options.scale <= 8:
        parser.error("--samples must be at least 1 and --scale between 0.02 and 8")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make(options.out, options.samples, options.scale, options.only)


if __name__ == "__main__":
    main()
