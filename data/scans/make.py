"""Make the bundled pair of scans: python data/scans/make.py [--out DIR].

A pretend depth camera looks at the table of the sample scene from two sides.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sample"))

from maker import photo  # noqa: E402
from maker.still_life import still_life  # noqa: E402
from maker.tracing import render  # noqa: E402
from maker.truth import _cast  # noqa: E402

SCENE_SEED, SEED = 1849, 2207
SIZE = 120, 90  # rays
FOCAL_PX = 112.0  # 56 degrees wide
SAMPLES = 48  # rays of light per pixel, for the colours
NOISE_M = 0.0008  # standard deviation of the depth at one metre; grows with its square
EDGE_M = 0.06  # rays beside a jump of this size are lost, as with real depth cameras
# Where each camera stands and what it looks at, metres, world z up, and its roll, degrees.
PLACES = {
    "source": ((-0.75, -0.85, 0.75), (-0.20, 0.10, 0.05), 31.0),
    "target": ((-0.10, -1.10, 0.70), (0.27, 0.05, 0.05), -4.0),
}
log = logging.getLogger("make")


def look_at(eye, at, roll_deg: float) -> np.ndarray:
    """Return world_from_cam, 3 x 4, OpenCV axes."""
    eye, forward = np.array(eye), np.subtract(at, eye)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    return np.column_stack([c * right + s * down, c * down - s * right, forward, eye])


def scan(scene, world_from_cam: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return points in the camera's frame (n x 3, metres) and their colours (n x 3, 8 bits)."""
    twice = np.ascontiguousarray([world_from_cam, world_from_cam])
    hit = _cast(scene, twice, 0, FOCAL_PX, *SIZE)
    known = np.any(hit[..., 3:] != 0, axis=-1)
    xyz_cam = (hit[..., :3] - world_from_cam[:, 3]) @ world_from_cam[:, :3]
    depth = np.where(known, xyz_cam[..., 2], np.inf)
    for axis in (0, 1):
        for step in (1, -1):
            with np.errstate(invalid="ignore"):
                known &= ~(abs(np.roll(depth, step, axis) - depth) > EDGE_M)
    stretch = 1 + NOISE_M * xyz_cam[..., 2] * rng.standard_normal(depth.shape)
    rgb = photo.develop(render(scene, world_from_cam, FOCAL_PX, SIZE, SAMPLES, rng), rng)
    return (xyz_cam * stretch[..., None])[known], rgb[known]


def write_ply(path: Path, xyz: np.ndarray, rgb: np.ndarray) -> None:
    """Write points with colours as a binary little-endian PLY."""
    kind = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
    data = np.zeros(len(xyz), kind)
    data["xyz"], data["rgb"] = xyz, rgb
    names = [f"property float {c}" for c in "xyz"]
    names += [f"property uchar {c}" for c in ("red", "green", "blue")]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(xyz)}", *names]
    path.write_bytes(("\n".join([*head, "end_header"]) + "\n").encode() + data.tobytes())


def make(out: Path) -> None:
    """Write source.ply, target.ply and target_from_source.txt."""
    out.mkdir(parents=True, exist_ok=True)
    scene = still_life(np.random.default_rng([SCENE_SEED, 1]))
    poses = {name: look_at(*place) for name, place in PLACES.items()}
    for number, (name, pose) in enumerate(poses.items()):
        xyz, rgb = scan(scene, pose, np.random.default_rng([SEED, number]))
        write_ply(out / f"{name}.ply", xyz, rgb)
        log.info("%s: %d points", name, len(xyz))
    world_from_source, world_from_target = (np.vstack([p, [0, 0, 0, 1]]) for p in poses.values())
    target_from_source = np.linalg.inv(world_from_target) @ world_from_source
    np.savetxt(out / "target_from_source.txt", target_from_source, fmt="%.12f")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder to write into (default: beside this script)"
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make(parser.parse_args().out)


if __name__ == "__main__":
    main()
