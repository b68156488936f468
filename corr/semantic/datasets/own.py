"""A folder of one's own: photos, and `keypoints.json` that says where their parts are.

    {"photos": {"mugs/a.jpg": {"category": "mug", "keypoints": {"rim": [12.5, 40], "handle": null},
                               "box": [x1, y1, x2, y2], "mask": "mugs/a_mask.png"}, …},
     "twins": {"mug": [["left", "right"]]},
     "pairs": [["mugs/a.jpg", "mugs/b.jpg"], …],
     "convention": "centre"}

`category`, `box`, `mask`, `twins`, `pairs` and `convention` may be left out: the category is then
the photo's folder, alpha multiplies the image, and all ordered pairs within a category are taken.
With `"convention": "index"` coordinates are numbers of pixels from 0 and half a pixel is added.
"""

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from corr.errors import UserError
from corr.semantic.datasets.base import KeypointPair, PairSet, Side
from corr.semantic.datasets.files import (
    README,
    photo_size,
    points,
    read_json,
    require_folder,
    require_photos,
)

FILE = "keypoints.json"
SHIFT = {"centre": 0.0, "index": 0.5}


def read_own(root: Path) -> PairSet:
    """Read a folder with `keypoints.json`.

    Raises:
        UserError: The file is missing or does not fit; the line says where.
    """
    require_folder(root, (FILE,), f"folder with {FILE}")
    path = root / FILE
    content = read_json(path, ("photos",))
    photos = content["photos"]
    if not isinstance(photos, dict) or len(photos) < 2:
        raise UserError(f"{path}: photos must name two photos or more (see {README})")
    convention = content.get("convention", "centre")
    if convention not in SHIFT:
        raise UserError(f"{path}: convention must be centre or index, got {convention}")
    require_photos(root / name for name in photos)
    sides = {n: _photo(root, path, n, a, SHIFT[convention]) for n, a in photos.items()}
    pairs = tuple(p for p in (_pair(path, sides, a, b) for a, b in _listed(path, content, sides))
                  if p.ids)  # fmt: skip
    if not pairs:
        raise UserError(f"{path}: no two photos of a category share a key-point")
    boxed = all(side.box is not None for _, side in sides.values())
    twins = {c: _twins(path, c, t) for c, t in content.get("twins", {}).items()}
    return PairSet(
        root.resolve().name, "test", pairs, "box" if boxed else "image", twins=twins,
        groups={c: tuple((a, b) for a, b in t.items() if a < b) for c, t in twins.items()},
    )  # fmt: skip


def _photo(root: Path, path: Path, name: str, a: Any, shift: float) -> tuple[str, Side]:
    """The photo's category and all it shows."""
    if not isinstance(a, dict) or not isinstance(a.get("keypoints"), dict):
        raise UserError(f"{path}: {name} must have keypoints {{name: [x, y] or null}}")
    seen = {k: v for k, v in a["keypoints"].items() if v is not None}
    uv = points(list(seen.values()), path) + shift
    if len(uv) != len(seen):
        raise UserError(f"{path}: {name}: every key-point must be [x, y] or null")
    width, height = photo_size(root / name)
    outside = [k for k, (u, v) in zip(seen, uv, strict=True)
               if not (0 <= u <= width and 0 <= v <= height)]  # fmt: skip
    if outside:
        raise UserError(f"{path}: {name}: {outside[0]} lies outside of {width} x {height} pixels")
    mask = root / a["mask"] if a.get("mask") else None
    if mask is not None and not mask.is_file():
        raise UserError(f"{path}: {name}: mask {mask} is missing")
    side = Side(
        Path(name).with_suffix("").as_posix(), root / name, width, height, uv,
        box=_box(path, name, a.get("box")), all_ids=tuple(seen), all_uv=uv, mask=mask,
    )  # fmt: skip
    return a.get("category") or Path(name).parent.name or "all", side


def _box(path: Path, name: str, given: Any) -> np.ndarray | None:
    if given is None:
        return None
    box = points(given, path).ravel()
    if len(box) != 4 or not (box[2:] > box[:2]).all():
        raise UserError(f"{path}: {name}: box must be [x1, y1, x2, y2] with x1 < x2, y1 < y2")
    return box


def _listed(path: Path, content: Any, sides: dict[str, tuple[str, Side]]) -> list[tuple[str, str]]:
    if "pairs" not in content:
        return [(a, b) for a, b in permutations(sides, 2) if sides[a][0] == sides[b][0]]
    pairs = []
    for entry in content["pairs"]:
        if not isinstance(entry, list) or len(entry) != 2 or not set(entry) <= set(sides):
            raise UserError(f"{path}: pairs must name two listed photos each, got {entry}")
        pairs.append((entry[0], entry[1]))
    return pairs


def _pair(path: Path, sides: dict[str, tuple[str, Side]], a: str, b: str) -> KeypointPair:
    (category, source), (other, target) = sides[a], sides[b]
    if category != other:
        raise UserError(f"{path}: {a} is a {category} and {b} a {other}; pairs need one category")
    both = [i for i in source.all_ids if i in target.all_ids]
    return KeypointPair(
        f"{source.name}-{target.name}:{category}", category,
        _with(source, both), _with(target, both), tuple(both),
    )  # fmt: skip


def _with(side: Side, ids: list[str]) -> Side:
    return replace(side, uv=side.all_uv[[side.all_ids.index(i) for i in ids]].reshape(-1, 2))


def _twins(path: Path, category: str, given: Any) -> dict[str, str]:
    twins: dict[str, str] = {}
    for pair in given:
        if not isinstance(pair, list) or len(pair) != 2 or set(pair) & set(twins):
            raise UserError(f"{path}: twins of {category} must be pairs of names, each used once")
        twins |= {pair[0]: pair[1], pair[1]: pair[0]}
    return twins
