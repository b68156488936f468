"""What a file holds before anything is checked, and how columns become colours and normals."""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped, UInt8

_UNIT_TOLERANCE = 0.02  # |length - 1| of a column triple that is taken for normals
_PRECISE_ENOUGH = 1e-6  # rounding of float32 positions, share of the cloud's extent
_SOME_ROWS = 2000  # enough to tell normals from colours


@dataclass(frozen=True, eq=False)
class RawCloud:
    """Points as read: positions may still be NaN or infinite.

    Args:
        xyz: Positions, float64.
        rgb: Colours 0-255, or None.
        normals: Normals of any length, or None.
        sensor: Where the scanner stood if the file says so, or None.
        noise: Standard deviation of each position, or None.
        keypoints: What `features` describe; None = the points themselves.
        features: Descriptors, or None.
    """

    xyz: Float[np.ndarray, "n 3"]
    rgb: UInt8[np.ndarray, "n 3"] | None = None
    normals: Float[np.ndarray, "n 3"] | None = None
    sensor: Float[np.ndarray, " 3"] | None = None
    noise: Float[np.ndarray, " n"] | None = None
    keypoints: Float[np.ndarray, "k 3"] | None = None
    features: Float[np.ndarray, "k d"] | None = None


def colours(values: Shaped[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"] | None:
    """8-bit colours from 8 bits, 16 bits or floats in 0-1 or 0-255; None if they are neither."""
    if values.dtype == np.uint8:
        return values
    known = values[np.isfinite(values).all(axis=1)] if values.dtype.kind == "f" else values
    low, high = (known.min(), known.max()) if known.size else (0, 0)
    if low < 0 or high > 65535:
        return None
    if values.dtype.kind != "f":
        return (values >> 8 if high > 255 else values).astype(np.uint8)
    factor = 255.0 if high <= 1 else 1.0 if high <= 255 else 1 / 257
    return np.nan_to_num(values * factor).round().clip(0, 255).astype(np.uint8)


def needs_double(xyz: Float[np.ndarray, "n 3"]) -> bool:
    """Whether float32 would round the positions visibly."""
    largest = float(abs(xyz).max()) if len(xyz) else 0.0
    extent = float(np.ptp(xyz, axis=0).max()) if len(xyz) else 0.0
    return largest > 0 and float(np.spacing(np.float32(largest))) > _PRECISE_ENOUGH * extent


def text_table(lines: Iterable[str] | Iterable[bytes], max_rows: int | None = None) -> np.ndarray:
    """Rows of numbers, float64.

    Raises:
        ValueError: Something else stands there, or a row is longer or shorter than the others.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of no rows at all: callers count them
            return np.loadtxt(lines, ndmin=2, comments=None, max_rows=max_rows)
    except ValueError as error:
        said = re.sub(r"; use `usecols`.*|\.$", "", " ".join(str(error).split()))
        raise ValueError(f"{said}; delete or complete that row") from None


def look_like_normals(values: Float[np.ndarray, "n 3"]) -> bool:
    """Whether nearly all rows have length one; a few may be zero or missing."""
    some = values[:: max(1, len(values) // _SOME_ROWS)]
    length = np.linalg.norm(some, axis=1)
    known = length[np.isfinite(length) & (length > 0)]
    return len(known) > len(some) / 2 and float(np.mean(abs(known - 1) < _UNIT_TOLERANCE)) > 0.95


def from_columns(table: Float[np.ndarray, "n c"], names: list[str]) -> tuple[RawCloud, list[str]]:
    """A cloud from a table of numbers whose columns may have names.

    Without names the first three columns are x, y, z; triples after them are normals if their rows
    have length one, colours if they lie in 0-1 or 0-255.

    Args:
        table: The numbers.
        names: Lower-case column names, empty if the file has none.

    Returns:
        The cloud and a description of the columns that were not used.

    Raises:
        ValueError: No x, y, z.
    """
    if names and {"x", "y", "z"} <= set(names):
        return _named(table, names)
    if table.shape[1] < 3:
        raise ValueError(f"columns x y z are needed, the first line has {table.shape[1]} number(s)")
    xyz, rgb, normals = table[:, :3], None, None
    column, unused = 3, []
    while column < table.shape[1]:
        triple = table[:, column : column + 3]
        if triple.shape[1] == 3 and normals is None and look_like_normals(triple):
            normals, column = triple, column + 3
        elif (
            triple.shape[1] == 3
            and rgb is None
            # a single column between, such as intensity, would be taken for red
            and (table.shape[1] - column) % 3 == 0
            and (found := colours(triple)) is not None
        ):
            rgb, column = found, column + 3
        else:
            unused.append(str(column + 1))
            column += 1
    return RawCloud(np.ascontiguousarray(xyz), rgb, normals), unused


_COLOUR_NAMES = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green",
                 "diffuse_blue"))  # fmt: skip
_NORMAL_NAMES = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))


def name_triples(names: list[str]) -> tuple[list[str] | None, list[str] | None]:
    """The names of the colour columns and of the normal columns, None where there are none."""

    def first(choices: tuple[tuple[str, str, str], ...]) -> list[str] | None:
        return next((list(c) for c in choices if set(c) <= set(names)), None)

    return first(_COLOUR_NAMES), first(_NORMAL_NAMES)


def _named(table: np.ndarray, names: list[str]) -> tuple[RawCloud, list[str]]:
    def pick(wanted: list[str]) -> np.ndarray:
        return np.ascontiguousarray(table[:, [names.index(n) for n in wanted]])

    if table.shape[1] != len(names):
        raise ValueError(f"the header names {len(names)} columns, the data have {table.shape[1]}")
    rgb_names, normal_names = name_triples(names)
    rgb = colours(pick(rgb_names)) if rgb_names else None
    normals = pick(normal_names) if normal_names else None
    used = {"x", "y", "z", *(rgb_names or ()), *(normal_names or ())}
    return RawCloud(pick(["x", "y", "z"]), rgb, normals), [n for n in names if n not in used]
