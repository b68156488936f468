"""PLY: vertices of point clouds and meshes, ascii or binary. Faces are never read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from registration.formats.raw import RawCloud, colours, name_triples, needs_double, text_table

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_WORDS = {"format": 2, "element": 3, "property": 3}  # that a header line has at least
_LONGEST_HEADER = 1 << 16  # bytes


@dataclass
class _Element:
    name: str
    count: int
    fields: list[tuple[str, str]]  # name, NumPy type without byte order
    has_list: bool = False


def read_ply(path: Path) -> RawCloud:
    """The vertices of a PLY file.

    Raises:
        ValueError: It is no PLY or has no vertices with x, y, z.
    """
    with path.open("rb") as file:
        order, elements = _header(file)
        position = [e.name for e in elements].index("vertex") if elements else -1
        vertex = elements[position]
        if any(e.has_list for e in elements[: position + 1]):
            return _columns(_by_plyfile(path))
        if order is None:
            skipped = sum(e.count for e in elements[:position])
            return _columns(_ascii(file, vertex, skipped))
        before = sum(_dtype(e, order).itemsize * e.count for e in elements[:position])
        kind, start = _dtype(vertex, order), file.tell() + before
        if path.stat().st_size < start + kind.itemsize * vertex.count:
            raise ValueError(f"it ends before its {vertex.count} vertices do; copy it again")
    if not vertex.count:
        return RawCloud(np.zeros((0, 3)))
    return _columns(np.memmap(path, kind, "r", start, (vertex.count,)))


def _header(file: BinaryIO) -> tuple[str | None, list[_Element]]:
    """Byte order (None: text) and the elements up to `vertex`'s end."""
    if file.readline(8).strip() != b"ply":
        raise ValueError("it does not begin with 'ply'")
    order: str | None = None
    elements: list[_Element] = []
    while (line := file.readline()) and file.tell() < _LONGEST_HEADER:
        words = line.decode("ascii", "replace").split()
        if words[:1] == ["end_header"]:
            if "vertex" not in [e.name for e in elements]:
                raise ValueError("it has no element 'vertex'")
            return order, elements
        if words and len(words) < _WORDS.get(words[0], 0):
            raise ValueError(f"it is damaged: its header has a line {' '.join(words)!r}")
        if words[:1] == ["format"]:
            order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(words[1])
        elif words[:1] == ["element"]:
            if not words[2].isdecimal():
                raise ValueError(
                    f"it is damaged: its header announces {words[2]} of element {words[1]}, "
                    "which must be a number, 0 or more; write it again"
                )
            elements.append(_Element(words[1], int(words[2]), []))
        elif words[:2] == ["property", "list"]:
            elements[-1].has_list = True
        elif words[:1] == ["property"]:
            if words[1] not in _TYPES:
                raise ValueError(f"its property type {words[1]!r} is unknown")
            elements[-1].fields.append((words[2], _TYPES[words[1]]))
    raise ValueError("its header does not end")


def _dtype(element: _Element, order: str = "=") -> np.dtype:
    return np.dtype([(name, order + kind) for name, kind in element.fields])


def _ascii(file: BinaryIO, vertex: _Element, skipped: int) -> np.ndarray:
    for _ in range(skipped):
        file.readline()
    out = np.zeros(vertex.count, _dtype(vertex))
    if not vertex.count:
        return out
    table = text_table(file, max_rows=vertex.count)
    if table.shape != (vertex.count, len(vertex.fields)):
        raise ValueError(
            f"its header announces {vertex.count} vertices of {len(vertex.fields)} numbers, "
            f"it holds {table.shape[0]} of {table.shape[1]}"
        )
    for k, (name, _) in enumerate(vertex.fields):
        out[name] = table[:, k]
    return out


def _by_plyfile(path: Path) -> Any:
    from plyfile import PlyData, PlyParseError

    try:
        return PlyData.read(str(path))["vertex"].data
    except PlyParseError as error:
        raise ValueError(str(error)) from None


def _columns(data: np.ndarray) -> RawCloud:
    names = list(data.dtype.names or ())
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"its vertices have no x, y, z but {', '.join(names) or 'nothing'}")

    def pick(wanted: list[str], kind: Any = np.float64) -> np.ndarray:
        out = np.empty((len(data), 3), kind)
        for k, name in enumerate(wanted):
            out[:, k] = data[name]
        return out

    rgb_names, normal_names = name_triples(names)
    rgb = None
    if rgb_names:
        rgb = colours(pick(rgb_names, data.dtype[rgb_names[0]].newbyteorder("=")))
    normals = pick(normal_names) if normal_names else None
    return RawCloud(pick(["x", "y", "z"]), rgb, normals)


def write_ply(path: Path, cloud: RawCloud) -> None:
    """Binary little-endian PLY; positions are double where float would round visibly."""
    n = len(cloud.xyz)
    kind = "f8" if needs_double(cloud.xyz) else "f4"
    parts: list[tuple[tuple[str, str, str], str, np.ndarray]] = [(("x", "y", "z"), kind, cloud.xyz)]
    if cloud.normals is not None:
        parts.append((("nx", "ny", "nz"), "f4", cloud.normals))
    if cloud.rgb is not None:
        parts.append((("red", "green", "blue"), "u1", cloud.rgb))
    data = np.empty(n, np.dtype([(name, f"<{k}") for names, k, _ in parts for name in names]))
    for names, _, values in parts:
        for column, name in enumerate(names):
            data[name] = values[:, column]
    words = {"f8": "double", "f4": "float", "u1": "uchar"}
    properties = [f"property {words[k]} {name}" for names, k, _ in parts for name in names]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {n}", *properties]
    with path.open("wb") as file:
        file.write(("\n".join([*head, "end_header"]) + "\n").encode())
        data.tofile(file)
