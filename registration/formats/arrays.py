"""NumPy arrays and KITTI's float32 dumps."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from registration.formats.raw import RawCloud, colours, from_columns

_NOT_READABLE = "it is damaged, or holds other things than numbers; save it again with NumPy"
_KITTI_ROW = 16  # bytes: x, y, z, reflectance as float32


def read_npy(path: Path) -> RawCloud:
    """An n x 3 array, or more columns as in text files."""
    array = _load(path)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(f"an n x 3 array of numbers is needed, it holds {_shape(array)}")
    return from_columns(array.astype(np.float64), [])[0]


def read_npz(path: Path) -> RawCloud:
    """Arrays named `xyz` and optionally `rgb`, `normals`, `noise`, `sensor` and `features`.

    Features describe `keypoints`, or the points themselves where there are none. `points` and
    `colors` are understood as well, and so is the layout that FCGF's tools write: the scan as
    `points`, its described points as `xyz` and their descriptors as `feature`.
    """
    archive = _load(path)
    names = set(archive.files)

    def pick(*choices: str) -> np.ndarray | None:
        name = next((c for c in choices if c in names), None)
        if name is None:
            return None
        try:
            array = archive[name]
        except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
            raise ValueError(_NOT_READABLE) from None
        if array.dtype.kind not in "fiu":
            raise ValueError(f"its {name} must be real numbers, got {array.dtype}")
        return array

    features, keypoints = pick("features", "feature", "descriptors"), pick("keypoints")
    xyz = pick("xyz", "points", "pos", "pcd")
    if features is not None and keypoints is None and {"xyz", "points"} <= names:
        xyz, keypoints = pick("points"), pick("xyz")
    if xyz is None:
        raise ValueError(f"it needs an array 'xyz', it holds {', '.join(sorted(names)) or 'none'}")
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise ValueError(f"its xyz must be n x 3, got {_shape(xyz)}")
    rgb, normals, sensor = pick("rgb", "colors", "colours"), pick("normals"), pick("sensor")
    noise = pick("noise")
    if noise is not None and noise.shape != xyz.shape[:1]:
        raise ValueError(f"its noise must be {len(xyz)} numbers, one a point, got {_shape(noise)}")
    if sensor is not None and sensor.size != 3:
        raise ValueError(f"its sensor must be 3 numbers x, y, z, got {_shape(sensor)}")
    _check_features(xyz, keypoints, features)
    for name, values in (("rgb", rgb), ("normals", normals)):
        if values is not None and values.shape != xyz.shape:
            raise ValueError(f"its {name} must be {_shape(xyz)} as xyz is, got {_shape(values)}")
    return RawCloud(
        xyz.astype(np.float64),
        None if rgb is None else colours(rgb),
        None if normals is None else normals.astype(np.float64),
        None if sensor is None else sensor.astype(np.float64).reshape(3),
        None if noise is None else noise.astype(np.float64),
        None if keypoints is None or features is None else keypoints.astype(np.float64),
        None if features is None else features.astype(np.float32),
    )


def _check_features(xyz, keypoints, features) -> None:
    if features is None:
        return
    described = xyz if keypoints is None else keypoints
    if described.ndim != 2 or described.shape[1] != 3:
        raise ValueError(f"its keypoints must be k x 3, got {_shape(described)}")
    if features.ndim != 2 or len(features) != len(described) or features.dtype.kind not in "fiu":
        raise ValueError(
            f"its features must be {len(described)} rows of numbers, one a key-point, got "
            f"{_shape(features)}"
        )


def _load(path: Path):
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ValueError(_NOT_READABLE) from None


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "one number"


def write_npy(path: Path, cloud: RawCloud) -> None:
    """The positions alone, float64."""
    np.save(path, cloud.xyz)


def write_npz(path: Path, cloud: RawCloud) -> None:
    """`xyz` and what else is known."""
    known = {k: v for k, v in vars(cloud).items() if v is not None}
    np.savez_compressed(path, **known)


def read_kitti(path: Path) -> RawCloud:
    """A Velodyne scan of KITTI: rows of x, y, z, reflectance, float32."""
    size = path.stat().st_size
    if size % _KITTI_ROW:
        raise ValueError(f"a KITTI scan has {_KITTI_ROW} bytes per point, it has {size} bytes")
    return RawCloud(np.fromfile(path, "<f4").reshape(-1, 4)[:, :3].astype(np.float64))
