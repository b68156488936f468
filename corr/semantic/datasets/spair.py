"""SPair-71k: 70,958 pairs of 1,800 photos in 18 categories.

`Layout/<size>/<split>.txt` lists the pairs, `PairAnnotation/<split>/<line>.json` has their
key-points, `ImageAnnotation/<category>/<photo>.json` those of each photo, `Segmentation` the masks.

Key-points are indices of pixels from 0 (over 10,288 of them the smallest is 0 and the largest
499 in photos of at most 500), so half a pixel is added. Boxes are PASCAL VOC's, from 1, so half
a pixel is taken off; their size stays x2 - x1 by y2 - y1 as in the official evaluation.

Source: Min et al., SPair-71k, arXiv:1908.10543.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corr.errors import UserError
from corr.semantic.datasets.base import Difficulty, KeypointPair, PairSet, Side
from corr.semantic.datasets.files import points, read_json, require_folder, require_photos
from corr.semantic.datasets.left_right import SPAIR_GROUPS, SPAIR_TWINS

SIZES = ("large", "small")
SPLITS = ("trn", "val", "test")
OFFICIAL = {
    ("large", "trn"): 53340, ("large", "val"): 5384, ("large", "test"): 12234,
    ("small", "trn"): 10652, ("small", "val"): 1070, ("small", "test"): 2438,
}  # fmt: skip
CATEGORIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "train", "tvmonitor",
)  # fmt: skip
_KEYS = (
    "src_imname", "trg_imname", "src_imsize", "trg_imsize", "src_bndbox", "trg_bndbox", "category",
    "src_kps", "trg_kps", "kps_ids",
)  # fmt: skip
_POINT, _BOX = 0.5, -0.5  # to our pixel coordinates, see above


@dataclass
class _Photos:
    """What the folder knows of each photo, read once."""

    root: Path
    known: dict[str, tuple[tuple[str, ...], np.ndarray, Path | None]]
    without: int = 0  # photos that have no annotation of their own

    def about(self, name: str) -> tuple[tuple[str, ...], np.ndarray, Path | None]:
        """Ids and places of all visible key-points, and the mask."""
        if name not in self.known:
            self.known[name] = self._read(name)
        return self.known[name]

    def _read(self, name: str) -> tuple[tuple[str, ...], np.ndarray, Path | None]:
        mask = self.root / "Segmentation" / f"{name}.png"
        path = self.root / "ImageAnnotation" / f"{name}.json"
        if not path.is_file():
            self.without += 1
            return (), np.zeros((0, 2)), mask if mask.is_file() else None
        kps = read_json(path, ("kps",))["kps"]
        seen = {k: v for k, v in kps.items() if v is not None}
        uv = points(list(seen.values()), path) + _POINT
        return tuple(seen), uv, mask if mask.is_file() else None


def read_spair(root: Path, *, split: str = "test", size: str = "large") -> PairSet:
    """Read a split of SPair-71k.

    Args:
        root: The folder `SPair-71k`.
        split: trn, val or test.
        size: Which list of pairs: large (the benchmark) or small.

    Raises:
        UserError: The folder is something else or incomplete.
    """
    require_folder(
        root, ("Layout", "PairAnnotation", "ImageAnnotation", "JPEGImages"), "SPair-71k folder"
    )
    names = _listed(root, split, size)
    photos = _Photos(root, {})
    pairs = tuple(_pair(root, split, name, photos) for name in names)
    require_photos(side.path for p in pairs for side in (p.source, p.target))
    notes = []
    if photos.without:
        notes.append(
            f"{photos.without} photos have no ImageAnnotation: their key-points beyond the pair's "
            "are unknown, which narrows the geometry-aware subset"
        )
    if len(names) != OFFICIAL[size, split]:
        notes.append(
            f"{len(names)} pairs, the official {size} {split} split has {OFFICIAL[size, split]}"
        )
    return PairSet(
        "SPair-71k" if size == "large" else "SPair-71k small", split, pairs, "box",
        official_pairs=OFFICIAL[size, split],
        twins=SPAIR_TWINS, groups=SPAIR_GROUPS, notes=tuple(notes),
    )  # fmt: skip


def _listed(root: Path, split: str, size: str) -> list[str]:
    path = root / "Layout" / size / f"{split}.txt"
    if not path.is_file():
        there = [f"size={s} split={p.stem}" for s in SIZES
                 for p in sorted((root / "Layout" / s).glob("*.txt"))]  # fmt: skip
        raise UserError(f"{path} is missing; this folder has {', '.join(there) or 'no list'}")
    names = path.read_text().split()
    if not names:
        raise UserError(f"{path} lists no pair; unpack the data set again")
    return names


def _annotation(root: Path, split: str, name: str) -> Path:
    """The pair's file; archives unpacked on Windows have another sign for the colon."""
    folder = root / "PairAnnotation" / split
    for sign in (":", "_", "-", ""):
        path = folder / f"{name.replace(':', sign)}.json"
        if path.is_file():
            return path
    found = len(list(folder.glob("*.json")))
    raise UserError(
        f"{folder / name}.json is missing ({found} pairs are there); unpack the data set again"
    )


def _pair(root: Path, split: str, name: str, photos: _Photos) -> KeypointPair:
    path = _annotation(root, split, name)
    a = read_json(path, _KEYS)
    category = a["category"]
    ids = tuple(str(i) for i in a["kps_ids"])
    if not len(ids) == len(a["src_kps"]) == len(a["trg_kps"]):
        raise UserError(
            f"{path}: {len(ids)} kps_ids, {len(a['src_kps'])} src_kps and {len(a['trg_kps'])} "
            "trg_kps must be as many"
        )
    return KeypointPair(
        key=name,
        category=category,
        source=_side(root, path, category, a, "src", photos),
        target=_side(root, path, category, a, "trg", photos),
        ids=ids,
        difficulty=Difficulty(
            a.get("viewpoint_variation"), a.get("scale_variation"),
            a.get("truncation"), a.get("occlusion"),
        ),
        mirror=bool(a.get("mirror")),
    )  # fmt: skip


def _side(
    root: Path, path: Path, category: str, a: dict[str, Any], which: str, photos: _Photos
) -> Side:
    name = f"{category}/{Path(a[f'{which}_imname']).stem}"
    all_ids, all_uv, mask = photos.about(name)
    box = points(a[f"{which}_bndbox"], path).ravel() + _BOX
    if len(box) != 4:
        raise UserError(f"{path}: {which}_bndbox must have four numbers")
    return Side(
        name=name,
        path=root / "JPEGImages" / category / a[f"{which}_imname"],
        width=int(a[f"{which}_imsize"][0]),
        height=int(a[f"{which}_imsize"][1]),
        uv=points(a[f"{which}_kps"], path) + _POINT,
        box=box,
        all_ids=all_ids,
        all_uv=all_uv,
        mask=mask,
        pose=a.get(f"{which}_pose") or "",
    )
