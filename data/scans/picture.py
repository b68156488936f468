"""Make the README's picture of a run: python data/scans/picture.py outputs/scans result.jpg."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("overlay_before.png", "overlay_after.png", "overlay_colours.png")
VIEWS = 3  # beside each other in every overlay
WIDTH = 1500


def main(run: Path, out: Path) -> None:
    """Put the first view of three overlays beside each other."""
    pictures = []
    for name in NAMES:
        with Image.open(run / name) as file:
            whole = np.asarray(file.convert("RGB"))
        gap = np.full((whole.shape[0], 6, 3), 255, np.uint8)
        # below the title and above the name of the view
        pictures += [whole[:, : (whole.shape[1] + 4) // VIEWS - 4], gap]
    row = np.concatenate(pictures[:-1], axis=1)[38:-34]
    picture = Image.fromarray(row)
    height = round(WIDTH * picture.height / picture.width)
    picture.resize((WIDTH, height), Image.Resampling.LANCZOS).save(out, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
