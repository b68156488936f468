"""One file of a benchmark, read as a cloud."""

from pathlib import Path

import numpy as np

from corr.errors import UserError
from registration.cloud import PointCloud


def read_scan(path: Path) -> PointCloud:
    """A `.ply`/`.pcd` fragment or a Velodyne `.bin` sweep; points that are not finite are dropped.

    Raises:
        UserError: The file is missing, empty or something else.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing")
    xyz = _read_velodyne(path) if path.suffix == ".bin" else _read_cloud(path)
    xyz = xyz[np.isfinite(xyz).all(1)]
    if not len(xyz):
        raise UserError(f"{path} holds no points; the file may be cut short, fetch it again")
    return PointCloud(xyz, name=path.stem)


def _read_velodyne(path: Path) -> np.ndarray:
    values = np.fromfile(path, dtype=np.float32)
    if len(values) % 4:
        raise UserError(f"{path} is no Velodyne sweep (x y z reflectance in float32)")
    return values.reshape(-1, 4)[:, :3].astype(np.float64)


def _read_cloud(path: Path) -> np.ndarray:
    import open3d as o3d

    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        return np.asarray(o3d.io.read_point_cloud(path).points).reshape(-1, 3)
