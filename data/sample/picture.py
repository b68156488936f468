"""The picture of the README: a held-out photo, its render, and the mesh.

python data/sample/picture.py [RUN] [PICTURE] puts three pictures of a finished run side by side.
"""

import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
PANEL = (400, 300)  # px of each of the three
GAP = 8  # px between them


def side_by_side(run: Path, photo: str = "photo_07", mesh_view: int = 1) -> Image.Image:
    """Photo, render and mesh of a finished run of the sample scene."""
    held = run / "held_out"
    files = [
        held / f"{photo}_photo.png",
        held / f"{photo}_render.png",
        run / "5_mesh" / "views" / f"view_{mesh_view}.png",
    ]
    width, height = PANEL
    sheet = Image.new("RGB", (3 * width + 2 * GAP, height), "white")
    for i, file in enumerate(files):
        with Image.open(file) as picture:
            panel = picture.convert("RGB").resize(PANEL, Image.Resampling.LANCZOS)
        sheet.paste(panel, (i * (width + GAP), 0))
    return sheet


if __name__ == "__main__":
    run, target, *_ = [*sys.argv[1:], *("outputs/sample", HERE / "result.jpg")[len(sys.argv) - 1 :]]
    side_by_side(Path(run)).save(target, quality=88, optimize=True)
    print(target)
