"""One call on two arrays, clouds or files."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.frames import local_origin, restored, shifted
from registration.inputs import Points, Sensor, as_cloud, check, with_sensor, without_strays
from registration.options import SCALES
from registration.registrar import Registrar
from registration.result import Registration
from registration.scale import extent
from registration.similarity import equal_extents, of_source_itself, register_any_scale

log = logging.getLogger(__name__)
_SAME_UNIT = 20.0  # the larger extent over the smaller one, beyond which units may differ


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
    used = without_strays(source), without_strays(target)
    for role, cloud in zip(("source", "target"), used, strict=True):
        check(cloud, role)
    registrar = registrar or default_registrar()
    start = perf_counter()
    origins = local_origin(used[0]), local_origin(used[1])
    near = [shifted(c, o) for c, o in zip(used, origins, strict=True)]
    first = equal_extents(*used) if scale == "estimate" else 1.0
    comparable = used[0] if first == 1.0 else near[0].moved(Rigid3.identity(), first)
    with _sizes_named(comparable, used[1]):
        voxel, parameters = chosen_voxel(comparable, used[1], voxel)
    log.info("%s", parameters)
    scaled = perf_counter()
    if scale == "estimate":
        prepared_target = registrar.prepare(near[1], voxel)
        found = register_any_scale(near[0], prepared_target, registrar, voxel, first, seed)
        prepared_source, local = found.prepared, of_source_itself(found)
        residual = match_residuals(prepared_source, prepared_target, found.registration)
        steps = {"sizes": perf_counter() - scaled}
    else:
        with _sizes_named(*used):
            prepared_source, prepared_target = (registrar.prepare(c, voxel) for c in near)
        steps = {"prepare": perf_counter() - scaled}
        local = registrar.register(prepared_source, prepared_target, seed=seed)
        steps |= local.seconds
        residual = match_residuals(prepared_source, prepared_target, local)
    answer = replace(restored(local, *origins), seconds={"scale": scaled - start, **steps})
    _log_answer(registrar, answer)
    return Aligned(
        source, target, prepared_source, prepared_target, voxel, parameters, answer, residual
    )


def _log_answer(registrar: Registrar, answer: Registration) -> None:
    log.info(
        "%s: probability %.3f, %d of %d matches agree, %.2f s",
        type(registrar).__name__, answer.probability, int(answer.inlier.sum()),
        len(answer.matches), sum(answer.seconds.values()),
    )  # fmt: skip


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
