"""Point clouds from files and into files; one line says what is wrong with a file."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from corr.errors import UserError
from registration.cloud import PointCloud
from registration.formats import arrays, las, pcd, ply, text
from registration.formats.raw import RawCloud

log = logging.getLogger(__name__)

READERS: dict[str, Callable[[Path], RawCloud]] = {
    ".ply": ply.read_ply,
    ".pcd": pcd.read_pcd,
    **dict.fromkeys((".xyz", ".txt", ".csv", ".pts", ".asc", ".xyzn", ".xyzrgb"), text.read_text),
    ".las": las.read_las,
    ".laz": las.read_las,
    ".obj": text.read_obj,
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".bin": arrays.read_kitti,
}
WRITERS: dict[str, Callable[[Path, RawCloud], None]] = {
    ".ply": ply.write_ply,
    ".pcd": pcd.write_pcd,
    **dict.fromkeys((".xyz", ".txt", ".csv"), text.write_text),
    ".las": las.write_las,
    ".laz": las.write_las,
    ".npy": arrays.write_npy,
    ".npz": arrays.write_npz,
}


def read_cloud(path: str | Path) -> PointCloud:
    """A point cloud from any supported file; rows that are not finite are dropped and counted.

    Positions are float64 in the file's own frame and unit: coordinates of surveys keep their
    millimetres.

    Raises:
        UserError: It is missing, of an unknown kind, damaged or empty.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if path.is_dir():
        raise UserError(f"{path} is a folder; give one file of {_listed(READERS)}")
    if not path.is_file():
        raise UserError(f"there is no file {path}; give a point cloud ({_listed(READERS)})")
    if reader is None:
        kind = path.suffix or "without a suffix"
        raise UserError(f"{path.name}: files {kind} are not supported; give {_listed(READERS)}")
    try:
        raw = reader(path)
    except (ValueError, IndexError, OSError) as error:
        raise UserError(
            f"{path.name} cannot be read as {path.suffix[1:].upper()}: {error}"
        ) from None
    return cleaned(raw, path.name)


def cleaned(raw: RawCloud, name: str) -> PointCloud:
    """The points whose positions are finite, with unit normals.

    Raises:
        UserError: None is left, or what is known of them cannot be.
    """
    if not len(raw.xyz):
        raise UserError(f"{name} holds no points; give a file with at least a few hundred")
    finite = np.isfinite(raw.xyz).all(axis=1)
    dropped = len(finite) - int(finite.sum())
    if dropped == len(finite):
        raise UserError(f"{name}: none of its {len(finite)} points has finite coordinates")
    keep = slice(None) if not dropped else finite
    sensor = raw.sensor if raw.sensor is not None and np.isfinite(raw.sensor).all() else None
    keypoints, features = _described(raw, keep, name)
    try:
        cloud = PointCloud(
            raw.xyz[keep],
            rgb=None if raw.rgb is None else raw.rgb[keep],
            normals=None if raw.normals is None else _unit(raw.normals[keep]),
            sensor=sensor,
            noise=None if raw.noise is None else raw.noise[keep],
            keypoints=keypoints,
            features=features,
            name=name,
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    if dropped:
        log.warning("%s: %d of %d points are NaN or infinite, dropped", name, dropped, len(finite))
    log.info("%s: %d points", name, len(cloud))
    return cloud


def _described(raw: RawCloud, keep, name: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Key-points and features, those that are finite."""
    if raw.features is None:
        return None, None
    where = raw.xyz[keep] if raw.keypoints is None else raw.keypoints
    features = raw.features[keep] if raw.keypoints is None else raw.features
    finite = np.isfinite(where).all(axis=1) & np.isfinite(features).all(axis=1)
    if not finite.any():
        raise UserError(f"{name}: none of its {len(finite)} features is finite")
    if not finite.all():
        log.warning("%s: %d of %d features are NaN or infinite, dropped",
                    name, int((~finite).sum()), len(finite))  # fmt: skip
    elif raw.keypoints is None:
        return None, features
    return where[finite], features[finite]


def _unit(normals: np.ndarray) -> np.ndarray | None:
    """Normals of length one; None if some are zero or missing, as they then help nobody."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        return None
    return normals / length


def write_cloud(path: str | Path, cloud: PointCloud) -> None:
    """Write a cloud with its colours and normals in the format of the suffix.

    Raises:
        UserError: The suffix is not one of a format that is written.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise UserError(f"{path.name}: clouds are written as {_listed(WRITERS)}")
    writer(path, RawCloud(cloud.xyz, cloud.rgb, cloud.normals, cloud.sensor))


def _listed(formats: dict) -> str:
    return " ".join(formats)
