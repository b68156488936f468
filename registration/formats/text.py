"""Text of columns (XYZ, TXT, CSV, PTS, ASC) and the vertices of OBJ."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from registration.formats.raw import RawCloud, from_columns, text_table

log = logging.getLogger(__name__)
_COMMENTS = ("#", "//", ";", "!")
_DECIMAL = r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?"
_MOST_HEADER_LINES = 50


def read_text(path: Path) -> RawCloud:
    """Points of a text file: x y z, then optionally colours and normals in any order.

    Header lines, a leading count (PTS) and comments are skipped; a header that names x, y and z
    decides what the columns mean. Columns are separated by blanks, commas, semicolons or tabs.

    Raises:
        ValueError: No numbers, or a line that differs from the others.
    """
    header, separator, width = _sniff(path)
    if width == 0:
        return RawCloud(np.zeros((0, 3)))
    names = _names(header[-1]) if header else []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for _ in header:
            next(file)
        table = text_table(_data_lines(file, separator))
    if len(names) != table.shape[1]:
        names = []
    cloud, unused = from_columns(table, names)
    if unused:
        log.info("%s: columns not used: %s", path.name, ", ".join(unused))
    return cloud


def _data_lines(file: Iterator[str], separator: str | None) -> Iterator[str]:
    for line in file:
        text = line.strip()
        if text and not text.startswith(_COMMENTS):
            yield text.replace(separator, " ") if separator else text


def _sniff(path: Path) -> tuple[list[str], str | None, int]:
    """The lines before the numbers, the separator (None = blanks) and numbers per line."""
    header: list[str] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            separator = next((s for s in (";", ",", "\t") if s in line), None)
            if _decimal_commas(line):
                raise ValueError("write decimals with points: 1.5 instead of 1,5")
            words = _split(line)
            if len(words) >= 3 and all(map(_is_number, words[:3])):
                return header, separator, len(words)
            header.append(line)
            if len(header) > _MOST_HEADER_LINES:
                break
    if any(_split(line) and not line.strip().startswith(_COMMENTS) for line in header):
        raise ValueError("columns x y z are needed, no line begins with three numbers")
    return header, None, 0


def _decimal_commas(line: str) -> bool:
    """Numbers such as 1,5 between blanks, tabs or semicolons, rather than commas between numbers.

    Three points to a blank, as in `1,2,3 4,5,6`, have two commas and are none.
    """
    words = line.replace(";", " ").split()
    numbers = len(words) >= 3 and all(re.fullmatch(_DECIMAL, word) for word in words)
    return numbers and any("," in word for word in words)


def _split(line: str) -> list[str]:
    for separator in ",;\t":
        line = line.replace(separator, " ")
    return line.split()


def _names(line: str) -> list[str]:
    stripped = line.strip().lstrip("#/; ").lower().replace('"', "").replace("'", "")
    return [word.strip("/") for word in _split(stripped)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def write_text(path: Path, cloud: RawCloud) -> None:
    """Columns x y z [r g b] [nx ny nz] under a header that names them; CSV with commas."""
    separator = "," if path.suffix.lower() == ".csv" else " "
    parts, names, formats = [cloud.xyz], ["x", "y", "z"], ["%.9g"] * 3
    if len(cloud.xyz) and abs(cloud.xyz).max() > 1e4:
        formats = ["%.6f"] * 3
    if cloud.rgb is not None:
        parts, names, formats = (
            [*parts, cloud.rgb],
            [*names, "r", "g", "b"],
            [*formats, *["%d"] * 3],
        )
    if cloud.normals is not None:
        parts, names = [*parts, cloud.normals], [*names, "nx", "ny", "nz"]
        formats += ["%.6f"] * 3
    header = separator.join(names) if separator == "," else "# " + " ".join(names)
    table = np.column_stack(parts)
    np.savetxt(path, table, fmt=formats, delimiter=separator, header=header, comments="")


def read_obj(path: Path) -> RawCloud:
    """The vertices of an OBJ file, with the colours that some programs write behind them."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [line[2:].partition("#")[0] for line in file if line.startswith(("v ", "v\t"))]
    if not lines:
        return RawCloud(np.zeros((0, 3)))
    widths = {len(line.split()) for line in lines}
    if len(widths) > 1 and min(widths) >= 3:  # colours of a part say nothing about the rest
        lines = [" ".join(line.split()[:3]) for line in lines]
    table = text_table(lines)
    if table.shape[1] == 4:  # a homogeneous coordinate
        table = table[:, :3]
    if table.shape[1] == 7:
        table = np.delete(table, 3, axis=1)
    names = ["x", "y", "z", "r", "g", "b"] if table.shape[1] == 6 else []
    return from_columns(table, names)[0]
