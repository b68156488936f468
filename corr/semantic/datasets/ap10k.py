"""AP-10K as pairs: animals of 23 families, within a species, across species, across families.

The layout is the one in which the pairs are published: `ImageAnnotation/<family>/<species>/*.json`
(COCO fields `bbox`, `keypoints`, `width`, `height`), `JPEGImages` likewise, and
`PairAnnotation/<split>[_cross_species|_cross_family]/<pair>:<name>.json` naming two annotations.
A key-point is common where both say that it is labelled. Boxes are left, top, width, height.

Sources: Yu et al., AP-10K, NeurIPS Datasets 2021; the pairs: Zhang et al., Telling Left from
Right, CVPR 2024.
"""

from pathlib import Path
from typing import Any

import numpy as np

from corr.errors import UserError
from corr.semantic.datasets.base import KeypointPair, PairSet, Side
from corr.semantic.datasets.files import points, read_json, require_folder, require_photos
from corr.semantic.datasets.left_right import AP10K_GROUPS, AP10K_TWINS

SUBSETS = {"intra_species": "", "cross_species": "_cross_species", "cross_family": "_cross_family"}
_POINT = 0.5  # COCO's key-points are indices of pixels from 0
_KEYS = ("bbox", "keypoints", "width", "height")


def read_ap10k(root: Path, *, split: str = "test", subset: str = "intra_species") -> PairSet:
    """Read the pairs of a split.

    Args:
        root: The folder `ap-10k`.
        split: trn, val or test.
        subset: intra_species, cross_species or cross_family.

    Raises:
        UserError: The folder is something else or incomplete.
        ValueError: The subset is unknown.
    """
    if subset not in SUBSETS:
        raise ValueError(f"subset must be one of {', '.join(SUBSETS)}, got {subset}")
    require_folder(root, ("ImageAnnotation", "JPEGImages", "PairAnnotation"), "ap-10k folder")
    folder = root / "PairAnnotation" / f"{split}{SUBSETS[subset]}"
    files = sorted(folder.glob("*.json"))
    if not files:
        there = sorted(p.name for p in (root / "PairAnnotation").iterdir())
        raise UserError(f"{folder} holds no pair; this folder has {', '.join(there) or 'none'}")
    known: dict[str, dict[str, Any]] = {}
    pairs = tuple(p for p in (_pair(root, file, known) for file in files) if p.ids)
    require_photos(side.path for p in pairs for side in (p.source, p.target))
    notes = []
    if len(pairs) < len(files):
        notes.append(f"{len(files) - len(pairs)} pairs share no labelled key-point: left out")
    names = {p.category for p in pairs}
    return PairSet(
        f"AP-10K {subset.replace('_', ' ')}", split, pairs, "box",
        twins=dict.fromkeys(names, AP10K_TWINS), groups=dict.fromkeys(names, AP10K_GROUPS),
        notes=tuple(notes),
    )  # fmt: skip


def _pair(root: Path, file: Path, known: dict[str, dict[str, Any]]) -> KeypointPair:
    a = read_json(file, ("src_json_path", "trg_json_path"))
    locals_ = [_local(file, a[f"{w}_json_path"]) for w in ("src", "trg")]
    for name in locals_:
        if name not in known:
            known[name] = read_json(root / "ImageAnnotation" / f"{name}.json", _KEYS)
    visible = [_visible(root, name, known[name]) for name in locals_]
    both = [i for i in visible[0] if i in visible[1]]
    source, target = (
        _side(root, name, known[name], seen, both)
        for name, seen in zip(locals_, visible, strict=True)
    )
    category = file.stem.rpartition(":")[2] or Path(locals_[0]).parts[-2]
    return KeypointPair(file.stem, category, source, target, tuple(both))


def _local(file: Path, path: str) -> str:
    """`data/ap-10k/ImageAnnotation/Canidae/dog/1.json` as `Canidae/dog/1`, wherever it lay."""
    _, found, rest = path.replace("\\", "/").partition("ImageAnnotation/")
    if not found:
        raise UserError(f"{file}: {path} is not a path below ImageAnnotation")
    return rest.removesuffix(".json")


def _visible(root: Path, name: str, a: dict[str, Any]) -> dict[str, np.ndarray]:
    """The labelled key-points of a photo, by their number."""
    path = root / "ImageAnnotation" / f"{name}.json"
    try:
        rows = np.array(a["keypoints"], dtype=np.float64).reshape(-1, 3)
    except (TypeError, ValueError):
        raise UserError(f"{path}: keypoints must be x, y, visibility in threes") from None
    return {str(k): row[:2] + _POINT for k, row in enumerate(rows) if row[2] > 0}


def _side(
    root: Path, name: str, a: dict[str, Any], visible: dict[str, np.ndarray], both: list[str]
) -> Side:
    left, top, width, height = points(a["bbox"], root / name).ravel()
    return Side(
        name=name,
        path=root / "JPEGImages" / f"{name}.jpg",
        width=int(a["width"]),
        height=int(a["height"]),
        uv=np.array([visible[i] for i in both]).reshape(-1, 2),
        box=np.array([left, top, left + width, top + height]),
        all_ids=tuple(visible),
        all_uv=np.array(list(visible.values())).reshape(-1, 2),
    )
