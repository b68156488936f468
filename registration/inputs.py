"""What comes in: arrays, files and clouds, the scanner's place, and clouds nobody can align."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from registration.cloud import PointCloud
from registration.files import cleaned, read_cloud
from registration.formats.raw import RawCloud
from registration.scale import extent

log = logging.getLogger(__name__)
MIN_POINTS = 30  # distinct ones; fewer say nothing about a surface
STRAY = 20.0  # extents from the middle of the cloud
_SAMPLE = 5000  # points that the checks look at first
_LINE = 1e-6  # second over first singular value of points that lie on a line

Points = PointCloud | np.ndarray | str | Path
Sensor = str | Sequence[float] | np.ndarray | None


def as_cloud(points: Points, name: str) -> PointCloud:
    """A cloud from an array, a file or a cloud; positions that are not finite are dropped.

    Raises:
        ValueError: The array is not n x 3 or has no finite row.
        UserError: The file cannot be read.
    """
    if isinstance(points, PointCloud):
        return points
    if isinstance(points, str | Path):
        return read_cloud(points)
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"{name} must be an n x 3 array of numbers, got shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be an n x 3 array of real numbers, got {array.dtype}")
    try:
        return cleaned(RawCloud(array.astype(np.float64)), name)
    except UserError as error:
        raise ValueError(str(error)) from None


def with_sensor(cloud: PointCloud, sensor: Sensor, name: str) -> PointCloud:
    """The cloud with the scanner's place: "origin", "x:y:z", three numbers, or as it is (empty).

    Raises:
        ValueError: It is no position.
    """
    if sensor is None or (isinstance(sensor, str) and not sensor.strip()):
        return cloud
    return replace(cloud, sensor=parse_sensor(sensor, name))


def parse_sensor(sensor: Sensor, name: str) -> Float[np.ndarray, " 3"]:
    """A position from "origin", "x:y:z" (commas and blanks will do) or three numbers."""
    if isinstance(sensor, str):
        if sensor.strip() == "origin":
            return np.zeros(3)
        values: Any = re.split(r"[,:\s]+", sensor.strip())
    else:
        values = sensor
    try:
        xyz = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        xyz = np.zeros(0)
    if xyz.shape != (3,) or not np.isfinite(xyz).all():
        raise ValueError(f"sensor_{name} must be empty, origin or x:y:z, got {sensor}")
    return xyz


def check(cloud: PointCloud, role: str) -> None:
    """Refuse clouds that no method can align.

    Raises:
        ValueError: Too few distinct points, or all on one line.
    """
    some = cloud.xyz[:: max(1, len(cloud) // _SAMPLE)]
    distinct = np.unique(some, axis=0)
    if len(distinct) < MIN_POINTS and len(some) < len(cloud):
        distinct = np.unique(cloud.xyz, axis=0)
    label = role if cloud.name in (role, "cloud") else f"{role} ({cloud.name})"
    if len(distinct) < MIN_POINTS:
        count = f"{len(distinct)} distinct point{'s' * (len(distinct) != 1)}"
        raise ValueError(
            f"{label} has {count}, alignment needs {MIN_POINTS} or more; give a denser scan"
        )
    spread = np.linalg.svd(distinct - distinct.mean(axis=0), compute_uv=False)
    if spread[1] < _LINE * spread[0]:
        raise ValueError(
            f"{label}: all points lie on one line, so the turn about it stays open; "
            "give a scan of a surface"
        )


def without_strays(cloud: PointCloud) -> PointCloud:
    """The cloud less points so far away that they cannot belong to it; says how many.

    They would cost digits and memory: one point a million extents away makes the refinement
    ten times as inaccurate.
    """
    size = extent(cloud) if len(cloud) >= MIN_POINTS else 0.0
    if size <= 0:
        return cloud
    far = np.abs(cloud.xyz - np.median(cloud.xyz, axis=0)).max(axis=1) > STRAY * size
    if not far.any():
        return cloud
    log.warning(
        "%s: %d of %d points lie more than %.0f times its extent (%.4g) away and are not used",
        cloud.name, int(far.sum()), len(cloud), STRAY, size,
    )  # fmt: skip
    return cloud.taken(~far)
