"""How accurate right matches are, by matcher: what `SIGMA_PX` of each states.

`python -m tests.benchmarks.match_sigma [matchers=xfeat_star,sift] [batches=6]` matches made pairs
of photos (seeds that nothing was trained on) and compares with their exact truth: a robust
standard deviation along one axis, network pixels, of matches within 4 px.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PilImage

from corr.matchers.choices import MATCHERS
from corr.matchers.dense.data.pairs import PairOptions, PairSource
from corr.matches import Matches
from corr.photos import Image

SEED, PAIRS = 88_000_001, 4
WIDTH, HEIGHT = 640, 480
RIGHT_PX = 4.0
NAMES = ("xfeat_star", "xfeat", "xfeat_lighterglue", "aliked_lightglue", "disk_lightglue", "dense",
         "sift")  # fmt: skip


def photos_of(images: torch.Tensor, folder: Path) -> list[Image]:
    """Made pictures as photos on disk."""
    found = []
    for k, image in enumerate(images.float()):
        path = folder / f"{k}.png"
        rgb = (image.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
        PilImage.fromarray(rgb).save(path)
        found.append(Image(path.name, path, WIDTH, HEIGHT, None, path, WIDTH, HEIGHT))
    return found


def residuals(matches: Matches, warp: torch.Tensor, visible: torch.Tensor) -> np.ndarray:
    """uv_b minus where uv_a truly lies, n 2, of matches whose truth is known and that are right."""
    at = torch.from_numpy(matches.uv_a / [WIDTH, HEIGHT] * 2 - 1).float()[None, None]
    there = F.grid_sample(warp[None].float(), at, align_corners=False, padding_mode="border")
    seen = F.grid_sample(visible[None, None].float(), at, align_corners=False)
    error = matches.uv_b - there[0, :, 0].T.double().numpy()
    right = (seen[0, 0, 0].numpy() > 0.99) & (np.linalg.norm(error, axis=1) < RIGHT_PX)
    return error[right]


def main() -> None:
    """Print the table."""
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    if set(given) - {"matchers", "batches"}:
        sys.exit("options are matchers=<name,name> and batches=<number>")
    names = [n for n in given.get("matchers", ",".join(NAMES)).split(",") if n]
    matchers = {name: MATCHERS[name]() for name in names}
    source = PairSource(PairOptions(textures=96, texture_size=128), SEED, torch.device("cpu"), None)
    errors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for index in range(int(given.get("batches", "6"))):
        images, truth = source.batch(index, PAIRS, WIDTH, HEIGHT)
        with tempfile.TemporaryDirectory() as folder:
            photos = photos_of(images, Path(folder))
            pairs = [(k, k + PAIRS) for k in range(PAIRS)]
            for name, matcher in matchers.items():
                for (a, _), matches in matcher.match_pairs(photos, pairs):
                    errors[name].append(residuals(matches, truth.warp[2][a], truth.visible[2][a]))
    for name, parts in errors.items():
        error = np.concatenate(parts)
        sigma = 1.4826 * np.median(np.abs(error)) if len(error) else float("nan")
        print(f"{name:20s} {sigma:.2f} px (SIGMA_PX {matchers[name].SIGMA_PX:.2f}), "
              f"{len(error)} right matches")  # fmt: skip


if __name__ == "__main__":
    main()
