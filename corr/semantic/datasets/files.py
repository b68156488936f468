"""Reading annotation files: every failure is one line that says which file and what to do."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image as PilImage

from corr.errors import UserError

README = "data/README.md"


def require_folder(root: Path, parts: Iterable[str], what: str) -> None:
    """Check that `root` is the benchmark's folder.

    Raises:
        UserError: It does not exist, or a part of it does not.
    """
    if not root.is_dir():
        raise UserError(f"data={root} is not a folder; it must be {what} (see {README})")
    missing = [p for p in parts if not (root / p).exists()]
    if missing:
        raise UserError(
            f"data={root} is not a complete {what}: {', '.join(missing)} missing (see {README})"
        )


def read_json(path: Path, keys: Iterable[str] = ()) -> Any:
    """A JSON file in which these keys must be.

    Raises:
        UserError: It is missing, damaged or lacks a key.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing; unpack the data set again (see {README})") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); unpack the data set again") from None
    absent = [k for k in keys if not isinstance(value, dict) or k not in value]
    if absent:
        raise UserError(f"{path} lacks {', '.join(absent)}; is it the official annotation?")
    return value


def read_csv(path: Path, least: int) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table with at least `least` columns.

    Raises:
        UserError: It is missing, empty or has fewer columns.
    """
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except FileNotFoundError:
        raise UserError(f"{path} is missing (see {README})") from None
    if len(rows) < 2:
        raise UserError(f"{path} holds no pairs; download it again (see {README})")
    for number, row in enumerate(rows, start=1):
        if len(row) < least:
            raise UserError(f"{path}:{number} has {len(row)} columns, not {least} or more")
    return rows[0], rows[1:]


def points(values: Any, path: Path) -> Float[np.ndarray, "n 2"]:
    """Coordinates as an array, n x 2.

    Raises:
        UserError: They are something else.
    """
    try:
        array = np.array(values, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise UserError(f"{path}: key-points must be [[x, y], …]") from None
    if not np.isfinite(array).all():
        raise UserError(f"{path}: key-points must be finite numbers")
    return array


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height, from the file's header.

    Raises:
        UserError: It is missing or no photo.
    """
    try:
        with PilImage.open(path) as file:
            return file.size
    except FileNotFoundError:
        raise UserError(f"photo {path} is missing; unpack the data set again") from None
    except OSError:
        raise UserError(f"{path} is not a photo that can be read") from None


def require_photos(paths: Iterable[Path]) -> None:
    """Check that all photos are there.

    Raises:
        UserError: Some are missing: how many, and the first.
    """
    unique = sorted(set(paths))
    missing = [p for p in unique if not p.is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(unique)} photos are missing ({missing[0]}, …); unpack the "
            f"data set again, or list only pairs whose photos are there (see {README})"
        )
