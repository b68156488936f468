"""One call on two arrays, clouds or files."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.files import cleaned, read_cloud
from registration.formats.raw import RawCloud
from registration.frames import local_origin, restored, shifted
from registration.options import SCALES
from registration.registrar import Registrar
from registration.result import Registration
from registration.scale import extent
from registration.similarity import equal_extents, of_source_itself, register_any_scale

log = logging.getLogger(__name__)
MIN_POINTS = 30  # distinct ones; fewer say nothing about a surface
_SAME_UNIT = 20.0  # the larger extent over the smaller one, beyond which units may differ
_SAMPLE = 5000  # points that the checks look at first
_LINE = 1e-6  # second over first singular value of points that lie on a line

Points = PointCloud | np.ndarray | str | Path
Sensor = str | Sequence[float] | np.ndarray | None


@dataclass(frozen=True, eq=False)
class Aligned:
    """An answer with everything that led to it.

    Args:
        source: The source as read, full resolution.
        target: The target.
        prepared_source: What the registrar made of the source.
        prepared_target: What it made of the target.
        voxel: The working resolution, data's unit.
        parameters: One line: the parameters and why they are what they are.
        registration: The answer.
        residual: Distance of every match under the answer, data's unit; None if unknown.
    """

    source: PointCloud
    target: PointCloud
    prepared_source: Any
    prepared_target: Any
    voxel: float
    parameters: str
    registration: Registration
    residual: Float[np.ndarray, " m"] | None = None


def register(
    source: Points,
    target: Points,
    *,
    registrar: Registrar | None = None,
    voxel: float = 0.0,
    sensor_source: Sensor = None,
    sensor_target: Sensor = None,
    scale: str = "fixed",
    seed: int = 0,
) -> Registration:
    """Align the source with the target, from nothing but the two.

    Args:
        source: n x 3 positions, a `PointCloud` or a file.
        target: The same; the answer maps into its frame.
        registrar: The method with its options; None = Hough voting as shipped.
        voxel: Working resolution, data's unit; 0 = from the data's own spacing and extent.
        sensor_source: Where the scanner stood, in the source's frame: a position or "origin";
            None = unknown. Normals that face the scanner match far better.
        sensor_target: The same for the target.
        scale: fixed (both have one unit) | estimate (the source's unit is unknown: sizes of
            0.27 to 3.7 times the target's extent are tried).
        seed: Of everything random; the same seed gives the same answer.

    Raises:
        ValueError: The points or an option cannot work; one line says why.
        UserError: A file cannot be read.
    """
    clouds = [
        with_sensor(as_cloud(points, name), sensor, name)
        for points, sensor, name in (
            (source, sensor_source, "source"),
            (target, sensor_target, "target"),
        )
    ]
    return align(*clouds, registrar=registrar, voxel=voxel, scale=scale, seed=seed).registration


def align(
    source: PointCloud,
    target: PointCloud,
    *,
    registrar: Registrar | None = None,
    voxel: float = 0.0,
    scale: str = "fixed",
    seed: int = 0,
) -> Aligned:
    """Choose the voxel, prepare both clouds, register; `register` with all that lies between.

    Raises:
        ValueError: The points or the options cannot work.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number, 0 or more, got {seed}")
    for role, cloud in (("source", source), ("target", target)):
        check(cloud, role)
    registrar = registrar or default_registrar()
    start = perf_counter()
    origins = local_origin(source), local_origin(target)
    near_source, near_target = (
        shifted(c, o) for c, o in zip((source, target), origins, strict=True)
    )
    first = equal_extents(source, target) if scale == "estimate" else 1.0
    comparable = source if first == 1.0 else near_source.moved(Rigid3.identity(), first)
    with _sizes_named(comparable, target):
        voxel, parameters = chosen_voxel(comparable, target, voxel)
    log.info("%s", parameters)
    scaled = perf_counter()
    if scale == "estimate":
        prepared_target = registrar.prepare(near_target, voxel)
        found = register_any_scale(near_source, prepared_target, registrar, voxel, first, seed)
        prepared_source, local = found.prepared, of_source_itself(found)
        residual = match_residuals(prepared_source, prepared_target, found.registration)
        steps = {"sizes": perf_counter() - scaled}
    else:
        with _sizes_named(source, target):
            prepared_source = registrar.prepare(near_source, voxel)
            prepared_target = registrar.prepare(near_target, voxel)
        steps = {"prepare": perf_counter() - scaled}
        local = registrar.register(prepared_source, prepared_target, seed=seed)
        steps |= local.seconds
        residual = match_residuals(prepared_source, prepared_target, local)
    seconds = {"scale": scaled - start, **steps}
    answer = replace(restored(local, *origins), seconds=seconds)
    log.info(
        "%s: probability %.3f, %d of %d matches agree, %.2f s",
        type(registrar).__name__, answer.probability, int(answer.inlier.sum()),
        len(answer.matches), sum(seconds.values()),
    )  # fmt: skip
    return Aligned(
        source, target, prepared_source, prepared_target, voxel, parameters, answer, residual
    )


@contextmanager
def _sizes_named(source: PointCloud, target: PointCloud) -> Iterator[None]:
    """Where clouds of very different extents fail, say so: most likely their units differ."""
    try:
        yield
    except ValueError as error:
        sizes = extent(source), extent(target)
        if min(sizes) > 0 and max(sizes) > _SAME_UNIT * min(sizes):
            raise ValueError(
                f"the source's extent is {sizes[0]:.4g}, the target's {sizes[1]:.4g}: bring both "
                f"to one unit, or set scale=estimate ({error})"
            ) from None
        raise


def match_residuals(
    prepared_source: Any, prepared_target: Any, answer: Registration
) -> Float[np.ndarray, " m"] | None:
    """Distance of every match under the answer; None without an answer, matches or points."""
    source, target = (getattr(p, "cloud", None) for p in (prepared_source, prepared_target))
    moved, matches = answer.target_from_source, answer.matches
    if source is None or target is None or moved is None or not len(matches):
        return None
    a, b = source.xyz[matches[:, 0]], target.xyz[matches[:, 1]]
    return np.linalg.norm(answer.scale * (a @ moved.R.T) + moved.t - b, axis=1)


def default_registrar() -> Registrar:
    """Hough voting with the options as shipped."""
    from registration.hough import HoughRegistrar

    return HoughRegistrar()


def chosen_voxel(source: PointCloud, target: PointCloud, voxel: float) -> tuple[float, str]:
    """The working resolution and one line about it: as given, or from the data (0)."""
    if isinstance(voxel, bool) or not isinstance(voxel, int | float | np.integer | np.floating):
        raise ValueError(f"voxel must be a number, got {voxel!r}")
    if not np.isfinite(voxel) or voxel < 0:
        raise ValueError(f"voxel must be 0 (from the data) or positive, got {voxel}")
    from registration.scale import choose_voxel

    scale = choose_voxel(source, target, voxel)
    return float(scale.voxel), scale.text()


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
