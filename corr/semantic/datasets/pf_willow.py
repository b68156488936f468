"""PF-WILLOW: 900 pairs of 100 photos in ten classes, ten key-points in every photo.

`test_pairs.csv` holds it all: two names, then XA1 … XA10, YA1 … YA10, XB1 … XB10, YB1 … YB10.

Two conventions of what alpha multiplies are in use and differ by several points of PCK: the extent
of the target's ten key-points (`points`, Hyperpixel Flow and later) and the object's box (`box`).
The official archive states no boxes, so those come from `boxes.json` beside the list:
`{"car(S)/001": [x1, y1, x2, y2], …}`.

Source: Ham et al., Proposal Flow, CVPR 2016.
"""

from pathlib import Path

import numpy as np

from corr.errors import UserError
from corr.semantic.datasets.base import KeypointPair, PairSet, Side
from corr.semantic.datasets.files import (
    README,
    photo_size,
    points,
    read_csv,
    read_json,
    require_folder,
    require_photos,
)

OFFICIAL_PAIRS = 900
CONVENTIONS = ("points", "box", "image")
_POINTS = 10
_FOLDER = "PF-dataset"


def read_pf_willow(root: Path, *, convention: str = "points") -> PairSet:
    """Read the test pairs, the only split there is.

    Args:
        root: The folder with `test_pairs.csv` and the folders of photos, or with `PF-dataset`.
        convention: What alpha multiplies: points, box or image.

    Raises:
        UserError: The folder is something else or incomplete.
        ValueError: The convention is unknown.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"extent must be one of {', '.join(CONVENTIONS)}, got {convention}")
    require_folder(root, (), "PF-WILLOW folder")
    photos = root / _FOLDER if (root / _FOLDER).is_dir() else root
    table = next(
        (f / "test_pairs.csv" for f in (root, photos) if (f / "test_pairs.csv").is_file()), None
    )
    if table is None:
        raise UserError(f"{root} lacks test_pairs.csv, the list of pairs (see {README})")
    _, rows = read_csv(table, 2 + 4 * _POINTS)
    names = [_local(n) for row in rows for n in row[:2]]
    require_photos(photos / n for n in names)
    sizes = {n: photo_size(photos / n) for n in sorted(set(names))}
    boxes = _boxes(table.parent / "boxes.json", sizes) if convention == "box" else {}
    pairs = tuple(_pair(photos, table, k, row, sizes, boxes) for k, row in enumerate(rows, start=2))
    return PairSet("PF-WILLOW", "test", pairs, convention, official_pairs=OFFICIAL_PAIRS)


def _local(name: str) -> str:
    """`PF-dataset/car(S)/001.png` as `car(S)/001.png`."""
    return "/".join(Path(name).parts[-2:])


def _boxes(path: Path, sizes: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(
            f"extent=box needs {path} (the official archive states no boxes); write it as "
            f"{README} says, or use extent=points"
        )
    given = read_json(path)
    missing = [n for n in sizes if Path(n).with_suffix("").as_posix() not in given]
    if missing:
        raise UserError(f"{path} lacks {len(missing)} of {len(sizes)} photos ({missing[0]}, …)")
    boxes = {n: points(given[Path(n).with_suffix("").as_posix()], path).ravel() for n in sizes}
    for name, box in boxes.items():
        if len(box) != 4 or not (box[2:] > box[:2]).all():
            raise UserError(f"{path}: {name} must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    return boxes


def _pair(
    photos: Path, table: Path, line: int, row: list[str],
    sizes: dict[str, tuple[int, int]], boxes: dict[str, np.ndarray],
) -> KeypointPair:  # fmt: skip
    try:
        xy = np.array(row[2 : 2 + 4 * _POINTS], dtype=np.float64).reshape(4, _POINTS)
    except ValueError:
        raise UserError(f"{table}:{line}: coordinates must be numbers") from None
    if not np.isfinite(xy).all() or (xy < 0).any():
        # A padded -1 would stretch the extent that alpha multiplies.
        raise UserError(f"{table}:{line}: all 40 coordinates must be numbers, none negative")
    ids = tuple(str(k) for k in range(_POINTS))
    names = [_local(n) for n in row[:2]]
    source, target = (
        Side(
            Path(name).with_suffix("").as_posix(), photos / name, *sizes[name],
            uv=uv, box=boxes.get(name), all_ids=ids, all_uv=uv,
        )
        for name, uv in zip(names, (xy[:2].T, xy[2:].T), strict=True)
    )  # fmt: skip
    category = Path(names[0]).parts[0]
    return KeypointPair(f"{line - 2:04d}:{category}", category, source, target, ids)
