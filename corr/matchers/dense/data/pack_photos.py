"""Pack photographs and photographed materials of installed packages for training.

`python -m corr.matchers.dense.data.pack_photos out=.cache/photos.npz` looks the packages up, reads
the files named below and writes them as JPEG bytes of one size. What is not installed is named and
left out. No file of these packages is part of this project.
"""

import importlib.util
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 512  # px, every picture
QUALITY = 93


@dataclass(frozen=True)
class Origin:
    """Pictures of one package."""

    package: str  # import name
    requirement: str  # what to install
    licence: str
    folder: str
    files: tuple[str, ...]


ORIGINS = (
    Origin(
        "skimage",
        "scikit-image",
        "public domain, CC0 or BSD-3-Clause, per picture in the documentation of skimage.data",
        "data",
        tuple(
            [
                "astronaut.png",
                "brick.png",
                "camera.png",
                "chelsea.png",
                "coffee.png",
                "coins.png",
                "grass.png",
                "gravel.png",
                "hubble_deep_field.jpg",
                "motorcycle_left.png",
                "retina.jpg",
                "rocket.jpg",
            ]
        ),
    ),
    Origin("sklearn", "scikit-learn", "CC BY 2.0", "datasets/images", ("china.jpg", "flower.jpg")),
    Origin(
        "matplotlib", "matplotlib", "public domain", "mpl-data/sample_data", ("grace_hopper.jpg",)
    ),
    Origin("mahotas", "mahotas", "MIT", "demos/data", ("DepartmentStore.jpg",)),
    Origin("ursina", "ursina", "MIT", "textures", ("shore.jpg",)),
    Origin(
        "dm_control",
        "dm-control",
        "Apache-2.0",
        "locomotion/arenas/assets/outdoor_natural",
        ("OutdoorGrassFloorD.png",),
    ),
    Origin(
        "robosuite",
        "robosuite",
        "MIT",
        "models/assets/textures",
        tuple(
            [
                "red-wood.png",
                "clay.png",
                "cream-plaster.png",
                "brass-ambra.png",
                "white-bricks.png",
                "cereal.png",
                "yellow-plaster.png",
                "steel-scratched.png",
                "wood-tiles.png",
                "gray-woodgrain.png",
                "lemon.png",
                "bread.png",
                "dirt.png",
                "light-wood.png",
                "ceramic.png",
                "soda.png",
                "can.png",
                "dark-wood.png",
                "wood-varnished-panels.png",
            ]
        ),
    ),
)


def pack(out: Path) -> str:
    """Write the file; returns what went in and what was missing."""
    encoded, names, missing = [], [], []
    for origin in ORIGINS:
        spec = importlib.util.find_spec(origin.package)
        places = list(spec.submodule_search_locations or []) if spec else []
        found = [Path(p) / origin.folder for p in places if (Path(p) / origin.folder).is_dir()]
        for name in origin.files:
            file = found[0] / name if found else None
            if file is None or not file.is_file():
                missing.append(f"{origin.requirement}: {name}")
                continue
            encoded.append(_encoded(file))
            names.append(f"{origin.package}/{origin.folder}/{name} ({origin.licence})")
    if not encoded:
        return "no package with photos is installed; nothing was written"
    out.parent.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([len(e) for e in encoded])
    np.savez(out, jpeg=np.frombuffer(b"".join(encoded), np.uint8), ends=ends, names=np.array(names))
    lines = [f"{len(encoded)} pictures in {out}", *(f"left out: {m}" for m in missing)]
    return "\n".join(lines)


def _encoded(file: Path) -> bytes:
    """The middle of a picture at the common size, as JPEG."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    if image.height > image.width:
        image = image.rotate(90, expand=True)
    scale = max(WIDTH / image.width, HEIGHT / image.height)
    size = (max(WIDTH, round(image.width * scale)), max(HEIGHT, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - WIDTH) // 2, (size[1] - HEIGHT) // 2
    image = image.crop((left, top, left + WIDTH, top + HEIGHT))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


if __name__ == "__main__":
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    if set(given) != {"out"}:
        print("usage: python -m corr.matchers.dense.data.pack_photos out=<file.npz>")
        raise SystemExit(2)
    print(pack(Path(given["out"]).expanduser()))
