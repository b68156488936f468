"""PF-PASCAL: pairs of PASCAL VOC photos, 20 categories, 308 test pairs.

`<split>_pairs.csv` names two photos and the category (1 to 20). With six or seven columns it also
carries the common key-points (`XA, YA, XB, YB`, numbers separated by semicolons); with fewer they
are read from `Annotations/<category>/<photo>.mat` (`kps`, a row of NaN for an invisible one).
Coordinates are fractions of pixels and taken as they are. Alpha multiplies the longer image side.

Sources: Ham et al., Proposal Flow, TPAMI 2018; the splits: Han et al., SCNet, ICCV 2017.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.semantic.datasets.base import KeypointPair, PairSet, Side
from corr.semantic.datasets.files import (
    README,
    photo_size,
    points,
    read_csv,
    require_folder,
    require_photos,
)

CATEGORIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
OFFICIAL = {"trn": 0, "val": 0, "test": 308}
_NAMES = {"trn": ("trn", "train"), "val": ("val",), "test": ("test",)}
_FOLDER = "PF-dataset-PASCAL"


def read_pf_pascal(root: Path, *, split: str = "test") -> PairSet:
    """Read a split of PF-PASCAL.

    Args:
        root: The folder with the lists of pairs and `PF-dataset-PASCAL`, or that folder itself.
        split: trn, val or test. Of trn the pairs that are listed flipped are left unflipped.

    Raises:
        UserError: The folder is something else or incomplete.
    """
    require_folder(root, (), "PF-PASCAL folder")
    photos = root / _FOLDER if (root / _FOLDER).is_dir() else root
    require_folder(photos, ("JPEGImages",), "PF-PASCAL folder")
    table = _table(root, photos, split)
    _, rows = read_csv(table, 3)
    paths = [photos / "JPEGImages" / Path(name).name for row in rows for name in row[:2]]
    require_photos(paths)
    sizes = {p: photo_size(p) for p in sorted(set(paths))}
    pairs = tuple(_pair(photos, table, k, row, sizes) for k, row in enumerate(rows, start=2))
    notes: tuple[str, ...] = ()
    if split == "trn":
        notes = (
            "about a third of the official training pairs is questionable (dhpf issue 3): compare "
            "with the test split before training",
        )
    return PairSet(
        "PF-PASCAL", split, pairs, "image", official_pairs=OFFICIAL[split], notes=notes
    )  # fmt: skip


def _table(root: Path, photos: Path, split: str) -> Path:
    names = [n for s in _NAMES[split] for n in (f"{s}_pairs.csv", f"{s}_pairs_pf_pascal.csv")]
    for folder in (root, photos):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise UserError(f"{root} lacks {names[0]}, the list of {split} pairs (see {README})")


def _pair(
    photos: Path, table: Path, line: int, row: list[str], sizes: dict[Path, tuple[int, int]]
) -> KeypointPair:
    category = _category(table, line, row[2])
    paths = [photos / "JPEGImages" / Path(name).name for name in row[:2]]
    if len(row) >= 7:
        ids, uv = _in_table(table, line, row[3:7])
    else:
        ids, uv = _in_files([photos / "Annotations" / category / f"{p.stem}.mat" for p in paths])
    boxes = [_box(photos / "Annotations" / category / f"{p.stem}.mat") for p in paths]
    source, target = (
        Side(f"{category}/{path.stem}", path, *sizes[path], uv=xy, box=box, all_ids=ids, all_uv=xy)
        for path, xy, box in zip(paths, uv, boxes, strict=True)
    )
    return KeypointPair(f"{line - 2:04d}-{paths[0].stem}-{paths[1].stem}:{category}", category,
                        source, target, ids)  # fmt: skip


def _category(table: Path, line: int, text: str) -> str:
    number = int(text) if text.isdigit() else 0
    if not 1 <= number <= len(CATEGORIES):
        raise UserError(f"{table}:{line}: the category must be a number 1 to 20, got {text!r}")
    return CATEGORIES[number - 1]


def _in_table(table: Path, line: int, columns: list[str]) -> tuple[tuple[str, ...], list]:
    """Key-points out of `XA, YA, XB, YB`."""
    try:
        xa, ya, xb, yb = ([float(v) for v in c.split(";") if v.strip()] for c in columns)
    except ValueError:
        raise UserError(f"{table}:{line}: coordinates must be numbers with ; between") from None
    if len({len(xa), len(ya), len(xb), len(yb)}) != 1:
        raise UserError(f"{table}:{line}: XA, YA, XB and YB must have as many numbers")
    ids = tuple(str(k) for k in range(len(xa)))
    return ids, [np.stack([xa, ya], 1).reshape(-1, 2), np.stack([xb, yb], 1).reshape(-1, 2)]


def _in_files(paths: list[Path]) -> tuple[tuple[str, ...], list[Float[np.ndarray, "n 2"]]]:
    """Key-points that both `.mat` files show."""
    a, b = (_mat(p, "kps") for p in paths)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 2:
        raise UserError(
            f"{paths[0]} and {paths[1]}: kps must be as many rows of x and y in both, got "
            f"{a.shape} and {b.shape}"
        )
    both = np.flatnonzero(np.isfinite(a).all(1) & np.isfinite(b).all(1))
    return tuple(str(k) for k in both), [points(a[both], paths[0]), points(b[both], paths[1])]


def _mat(path: Path, name: str) -> np.ndarray:
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; unpack Annotations as well (see {README})") from None
    except (ValueError, NotImplementedError, OSError) as error:
        raise UserError(f"{path} is no MATLAB file that can be read ({error})") from None
    if name not in content:
        raise UserError(f"{path} has no {name}; is it the official annotation?")
    return np.asarray(content[name], dtype=np.float64)


def _box(path: Path) -> np.ndarray | None:
    """The object's box; None where the annotation is not unpacked."""
    if not path.is_file():
        return None
    return _mat(path, "bbox").reshape(-1)[:4]
