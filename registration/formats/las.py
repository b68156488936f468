"""LAS and LAZ: survey clouds, whose large coordinates keep their millimetres."""

from pathlib import Path

import numpy as np

from registration.formats.raw import RawCloud, colours

_CHUNK = 1_000_000  # points decoded at a time
_SHORTEST_HEADER = 227  # bytes, LAS 1.0 to 1.2
_STEP = 1e-4  # resolution of written coordinates, file's unit


def read_las(path: Path) -> RawCloud:
    """Points and colours of a LAS or LAZ file, positions float64.

    Raises:
        ValueError: It is damaged, or a LAZ file and no decompressor is installed.
    """
    import laspy

    _check_decompressor(path)
    if path.stat().st_size < _SHORTEST_HEADER or _begin(path) != b"LASF":
        raise ValueError("it does not begin like a LAS file; it is damaged or something else")
    failures: tuple[type[Exception], ...] = (laspy.errors.LaspyException, ValueError, OSError)
    if laspy.LazBackend.Lazrs.is_available():
        import lazrs

        failures = (*failures, lazrs.LazrsError)
    try:
        with laspy.open(path) as reader:
            n = reader.header.point_count
            xyz = np.empty((n, 3))
            coloured = "red" in reader.header.point_format.dimension_names
            rgb = np.empty((n, 3), np.uint16) if coloured else None
            at = 0
            for points in reader.chunk_iterator(_CHUNK):
                end = at + len(points)
                for k, axis in enumerate("xyz"):
                    xyz[at:end, k] = getattr(points, axis)
                if rgb is not None:
                    for k, name in enumerate(("red", "green", "blue")):
                        rgb[at:end, k] = points[name]
                at = end
    except failures as error:
        said = " ".join(str(error).split())
        raise ValueError(f"it is damaged ({said}); copy it again") from None
    if at != n:
        raise ValueError(f"it is damaged: of its {n} points it holds {at}; copy it again")
    return RawCloud(xyz, None if rgb is None else colours(rgb))


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def write_las(path: Path, cloud: RawCloud) -> None:
    """LAS 1.4 (or LAZ by the suffix), offset at the cloud's corner, steps of 0.1 mm."""
    import laspy

    _check_decompressor(path)
    coloured = cloud.rgb is not None
    header = laspy.LasHeader(point_format=7 if coloured else 6, version="1.4")
    low = cloud.xyz.min(axis=0) if len(cloud.xyz) else np.zeros(3)
    extent = float(np.ptp(cloud.xyz, axis=0).max()) if len(cloud.xyz) else 0.0
    header.offsets = np.floor(low)
    header.scales = np.full(3, max(min(_STEP, extent * 1e-6 or _STEP), (extent + 1) * 1e-9))
    las = laspy.LasData(header)
    las.x, las.y, las.z = cloud.xyz.T
    if cloud.rgb is not None:
        las.red, las.green, las.blue = cloud.rgb.T.astype(np.uint16) * 257
    las.write(str(path))


def _check_decompressor(path: Path) -> None:
    import laspy

    if path.suffix.lower() == ".laz" and not laspy.LazBackend.detect_available():
        raise ValueError(
            "LAZ needs a decompressor: pip install 'few-view-recon[laz]' (or save as .las)"
        )
