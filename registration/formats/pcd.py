"""PCD: own reader and writer, since Open3D takes binary doubles for zeros and writes float32."""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from registration.formats.raw import RawCloud, colours, name_triples, needs_double, text_table

_LONGEST_HEADER = 1 << 16  # bytes
_KINDS = {"F": "f", "U": "u", "I": "i"}
_BEGINNINGS = (b"#", b"VERSION", b"FIELDS", b"COLUMNS")


def read_pcd(path: Path) -> RawCloud:
    """Points, colours and normals of a PCD file, whatever its encoding; doubles stay doubles.

    Raises:
        ValueError: It is no PCD, or damaged.
    """
    with path.open("rb") as file:
        if not file.read(4096).lstrip().startswith(_BEGINNINGS):
            raise ValueError("it does not begin like a PCD file")
        file.seek(0)
        header = _header(file)
        kind, count = _dtype(header), _count(header)
        encoding = header["DATA"][0].lower()
        start = file.tell()
        if not count:
            return RawCloud(np.zeros((0, 3)))
        if encoding == "ascii":
            return _cloud(_from_text(file, kind, count))
    if encoding == "binary":
        if path.stat().st_size < start + kind.itemsize * count:
            raise ValueError(f"it is damaged: it ends before its {count} points do; copy it again")
        return _cloud(np.memmap(path, kind, "r", start, (count,)))
    if encoding == "binary_compressed":
        _check_packed(path, start, kind, count)
        return _by_open3d(path)
    raise ValueError(f"its DATA must be ascii, binary or binary_compressed, got {encoding}")


def _header(file: BinaryIO) -> dict[str, list[str]]:
    """The words behind each key word, up to and with `DATA`."""
    found: dict[str, list[str]] = {}
    while (line := file.readline()) and file.tell() < _LONGEST_HEADER:
        words = line.decode("ascii", "replace").split()
        if not words or words[0].startswith("#"):
            continue
        found["FIELDS" if words[0] == "COLUMNS" else words[0]] = words[1:]
        if words[0] == "DATA":
            break
    for key in ("FIELDS", "SIZE", "TYPE", "DATA"):
        if not found.get(key):
            raise ValueError(f"it is damaged: its header has no line {key}; write it again")
    return found


def _dtype(header: dict[str, list[str]]) -> np.dtype:
    names, n = [name.lower() for name in header["FIELDS"]], len(header["FIELDS"])
    sizes, kinds, counts = header["SIZE"], header["TYPE"], header.get("COUNT", ["1"] * n)
    if {len(sizes), len(kinds), len(counts)} != {n}:
        raise ValueError(
            f"it is damaged: its header has {n} FIELDS, {len(sizes)} SIZE, {len(kinds)} TYPE and "
            f"{len(counts)} COUNT; write it again"
        )
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"its FIELDS must name x, y and z, got {' '.join(names)}")
    fields = []
    for k, (name, size, kind, count) in enumerate(zip(names, sizes, kinds, counts, strict=True)):
        # padding has the name _, possibly several times
        unique = name if names.index(name) == k else f"{name} {k}"
        try:
            fields.append((unique, f"<{_KINDS[kind]}{int(size)}", (int(count),)))
            np.dtype([fields[-1]])
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"it is damaged: field {name} has TYPE {kind} SIZE {size} COUNT {count}"
            ) from None
    return np.dtype(fields)


def _count(header: dict[str, list[str]]) -> int:
    try:
        if "POINTS" in header:
            count = int(header["POINTS"][0])
        else:
            count = int(header["WIDTH"][0]) * int(header.get("HEIGHT", ["1"])[0])
    except (KeyError, IndexError, ValueError):
        count = -1
    if count < 0:
        raise ValueError("it is damaged: its POINTS must be a number, 0 or more; write it again")
    return count


def _from_text(file: BinaryIO, kind: np.dtype, count: int) -> np.ndarray:
    width = sum(kind[name].shape[0] for name in kind.names or ())
    table = text_table(file, max_rows=count)
    if table.shape != (count, width):
        raise ValueError(
            f"it is damaged: its header announces {count} points of {width} numbers, it holds "
            f"{table.shape[0]} of {table.shape[1]}; copy it again"
        )
    # Text may hold more digits than its SIZE promises; whole numbers up to 2^53 stay whole.
    out = np.empty(count, [(n, "<f8", kind[n].shape) for n in kind.names or ()])
    column = 0
    for name in kind.names or ():
        step = kind[name].shape[0]
        out[name], column = table[:, column : column + step], column + step
    packed = next((n for n in ("rgb", "rgba") if n in (kind.names or ())), None)
    if packed and kind[packed].base.kind == "f":  # the number's bits are the colour
        out[packed] = out[packed].astype("<f4").view("<u4")
    return out


def _cloud(data: np.ndarray) -> RawCloud:
    names = list(data.dtype.names or ())

    def pick(wanted: list[str]) -> np.ndarray:
        return np.stack([data[n][:, 0] for n in wanted], axis=1)

    rgb_names, normal_names = name_triples(names)
    rgb = colours(pick(rgb_names)) if rgb_names else None
    packed = next((n for n in ("rgb", "rgba") if n in names), None)
    if packed:
        value = data[packed][:, 0]
        four = value.dtype.itemsize == 4
        bits = np.ascontiguousarray(value).view("<u4") if four else value.astype("<u4")
        rgb = np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)
    normals = pick(normal_names).astype(np.float64) if normal_names else None
    return RawCloud(pick(["x", "y", "z"]).astype(np.float64), rgb, normals)


def _check_packed(path: Path, start: int, kind: np.dtype, count: int) -> None:
    """Refuse what Open3D would misread: doubles, and sizes that are wrong (it may hang)."""
    if kind["x"].base != np.dtype("<f4"):
        raise ValueError(
            "compressed positions are read as TYPE F SIZE 4 only; save it with DATA binary"
        )
    with path.open("rb") as file:
        file.seek(start)
        sizes = file.read(8)
    packed, unpacked = int.from_bytes(sizes[:4], "little"), int.from_bytes(sizes[4:], "little")
    if path.stat().st_size < start + 8 + packed or unpacked != kind.itemsize * count:
        raise ValueError(f"it is damaged: its {count} points do not unpack; copy it again")


def _by_open3d(path: Path) -> RawCloud:
    import open3d as o3d

    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        cloud = o3d.io.read_point_cloud(path, format="pcd")
    if not len(cloud.points):
        raise ValueError("it is damaged: its points do not unpack; copy it again")
    return RawCloud(
        np.asarray(cloud.points).copy(),
        colours(np.asarray(cloud.colors)) if cloud.has_colors() else None,
        np.asarray(cloud.normals).copy() if cloud.has_normals() else None,
    )


def write_pcd(path: Path, cloud: RawCloud) -> None:
    """Binary float32; text where that would round visibly, since few tools read binary doubles."""
    double = needs_double(cloud.xyz)
    parts: list[tuple[tuple[str, ...], str, np.ndarray]] = [
        (("x", "y", "z"), "f8" if double else "f4", cloud.xyz)
    ]
    if cloud.normals is not None:
        parts.append((("normal_x", "normal_y", "normal_z"), "f4", cloud.normals))
    if cloud.rgb is not None:
        r, g, b = cloud.rgb.astype(np.uint32).T
        parts.append((("rgb",), "u4", (r << 16 | g << 8 | b)[:, None]))
    fields = [(name, f"<{kind}") for names, kind, _ in parts for name in names]
    data = np.empty(len(cloud.xyz), np.dtype(fields))
    for names, _, values in parts:
        for column, name in enumerate(names):
            data[name] = values[:, column]
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7",
        "FIELDS " + " ".join(name for name, _ in fields),
        "SIZE " + " ".join(kind[2] for _, kind in fields),
        "TYPE " + " ".join(kind[1].upper() for _, kind in fields),
        "COUNT" + " 1" * len(fields), f"WIDTH {len(data)}", "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {len(data)}",
        f"DATA {'ascii' if double else 'binary'}",
    ]  # fmt: skip
    with path.open("wb") as file:
        file.write(("\n".join(lines) + "\n").encode())
        if not double:
            data.tofile(file)
            return
        formats = {"f8": "%.15g", "f4": "%.7g", "u4": "%d"}
        np.savetxt(file, data, fmt=[formats[kind[1:]] for _, kind in fields])
