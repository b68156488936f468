"""Metres: one known distance, between two named points or two cameras, scales every export."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.store import strict_json, write_atomic
from recon.scene import View

SCALE_FILE = "scale.json"
_LEAST_ANGLE_DEG = 1.0  # between a point's two most different rays


@dataclass
class ScaleOptions:
    """A known distance. Without one the world's unit is arbitrary."""

    distance: float = 0.0  # metres between the two ends; 0 = unknown
    between: str = ""  # the two ends, with a colon between: names of points, or of photos (cameras)
    points: str = ""  # text file, a line `name photo u v` per click, pixels of export/images

    def __post_init__(self):
        if self.distance < 0 or not np.isfinite(self.distance):
            raise ValueError(f"scale.distance must be positive metres, got {self.distance}")
        if bool(self.distance) != bool(self.between):
            raise ValueError(
                "scale.distance=<metres> and scale.between=<one>:<other> go together, got "
                f"distance={self.distance:g}, between={self.between!r}"
            )
        if self.between and len(set(self.ends)) != 2:
            raise ValueError(
                f"scale.between must name two ends with a colon between, got {self.between!r}"
            )

    @property
    def ends(self) -> tuple[str, ...]:
        """The two names."""
        return tuple(part.strip() for part in self.between.split(":") if part.strip())


@dataclass(frozen=True)
class Scale:
    """Metres per unit of the run's world, and how they were found."""

    metres_per_unit: float
    text: str


def read_clicks(path: str) -> dict[str, list[tuple[str, float, float]]]:
    """Photo and pixel of every click, by the point's name; `#` starts a comment.

    Raises:
        UserError: No such file, or a line that is not `name photo u v`.
    """
    clicks: dict[str, list[tuple[str, float, float]]] = {}
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"scale.points: {path} cannot be read ({error})") from None
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            name, photo, u, v = words
            clicks.setdefault(name, []).append((photo, float(u), float(v)))
        except ValueError:
            raise UserError(
                f"scale.points: line {number} of {path} must be `name photo u v`, got {line!r}"
            ) from None
    return clicks


def check_scale(options: ScaleOptions, photos: Sequence[str]) -> None:
    """Refuse ends that are neither a clicked point nor a photo, before anything is computed.

    Raises:
        UserError: An end is unknown, or a point was clicked in fewer than two photos.
    """
    if not options.distance:
        return
    clicks = read_clicks(options.points) if options.points else {}
    known = {Path(p).stem for p in photos} | set(photos)
    for end in options.ends:
        if end in clicks:
            if len({photo for photo, _, _ in clicks[end]}) < 2:
                raise UserError(f"scale: point {end} must be clicked in two photos or more")
        elif end not in known:
            names = ", ".join([*clicks, *list(photos)[:3]])
            raise UserError(
                f"scale.between: {end} is neither a point nor a photo; there are {names}"
            )


def find_scale(options: ScaleOptions, views: Sequence[View]) -> Scale | None:
    """The scale, from the solved cameras; None where no distance is known.

    Raises:
        UserError: A photo was not placed, or a point's rays are too parallel to place it.
    """
    if not options.distance:
        return None
    clicks = read_clicks(options.points) if options.points else {}
    by_name = {v.name: v for v in views} | {Path(v.name).stem: v for v in views}
    places, notes = [], []
    for end in options.ends:
        if end in clicks:
            xyz, error_px = triangulated(end, clicks[end], by_name)
            notes.append(f"{end} within {error_px:.2g} px")
        else:
            xyz = _view(end, by_name).cam_from_world.centre
        places.append(xyz)
    apart = float(np.linalg.norm(places[0] - places[1]))
    if not apart > 0:
        raise UserError(f"scale.between: {options.between} are at one place")
    factor = options.distance / apart
    text = f"1 unit = {factor:.6g} m, from {options.between} {options.distance:g} m apart"
    return Scale(factor, text + (f" ({', '.join(notes)})" if notes else ""))


def triangulated(
    name: str, clicks: Sequence[tuple[str, float, float]], views: Mapping[str, View]
) -> tuple[Float[np.ndarray, " 3"], float]:
    """World point of the clicks, least squares on pixels, and the largest pixel error left.

    Raises:
        UserError: See `find_scale`.
    """
    from scipy.optimize import least_squares

    seen = [(_view(photo, views), np.array([u, v])) for photo, u, v in clicks]
    centres = np.stack([v.cam_from_world.centre for v, _ in seen])
    rays = np.stack([v.camera.unproject(uv, np.ones(())) @ v.cam_from_world.R for v, uv in seen])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip((rays @ rays.T).min(), -1, 1)))
    if angle < _LEAST_ANGLE_DEG:
        raise UserError(
            f"scale: the photos see point {name} from {angle:.2g} degrees apart at most; click it "
            f"in photos at least {_LEAST_ANGLE_DEG:g} degree apart"
        )
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    start = np.linalg.solve(across.sum(0), (across @ centres[:, :, None]).sum(0)[:, 0])

    def errors(xyz: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [v.camera.project(v.cam_from_world.apply(xyz))[0] - uv for v, uv in seen]
        )

    xyz = least_squares(errors, start).x
    return xyz, float(np.linalg.norm(errors(xyz).reshape(-1, 2), axis=1).max())


def _view(name: str, views: Mapping[str, View]) -> View:
    plain = name.removesuffix(".png")  # as export/images are called
    found = views.get(name) or views.get(plain) or views.get(Path(plain).stem)
    if found is None:
        raise UserError(f"scale: photo {name} was not placed; name another one")
    return found


def write_scale(run: Path, scale: Scale | None) -> None:
    """Keep the scale with the run, for commands that export from it later."""
    path = run / SCALE_FILE
    if scale is None:
        path.unlink(missing_ok=True)
        return
    record = {"metres_per_unit": scale.metres_per_unit, "from": scale.text}
    write_atomic(path, strict_json(record))


def metres_per_unit(run: Path) -> float:
    """What a finished run's exports are multiplied by; 1 where no distance is known."""
    try:
        return float(json.loads((run / SCALE_FILE).read_text())["metres_per_unit"])
    except FileNotFoundError:
        return 1.0
