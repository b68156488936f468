"""Camera paths for new pictures: once around, a spiral, or along the placed photos."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from corr.geometry import Camera, Rigid3
from recon.scene import View

_SPIRAL_TURNS = 2
_LARGEST_GAP = np.radians(120)  # between neighbouring photos of a whole circle
_SWING = 0.35  # of the distance to what is looked at: the spiral's reach


def path_poses(kind: str, views: Sequence[View], target: np.ndarray, frames: int) -> list[Rigid3]:
    """Poses (cam_from_world) of a path.

    Args:
        kind: `orbit`: around the target at the cameras' median height and distance: the whole
            circle where photos stand all around, else there and back along the arc that they
            stand on, for nothing is known of the far side. `spiral`: two narrowing turns in front
            of the target, seen from the cameras' side. `cameras`: from photo to photo, each passed
            exactly where there are frames enough.
        views: Placed photos, in the order in which `cameras` visits them.
        target: What `orbit` and `spiral` look at, world.
        frames: How many.
    """
    if kind == "cameras":
        return _through(views, frames)
    return (_orbit if kind == "orbit" else _spiral)(views, target, frames)


def looked_at(views: Sequence[View], xyz: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " 3"]:
    """The middle of the points, by medians, of those in front of half of the cameras or more."""
    seen = np.zeros(len(xyz))
    for view in views:
        uv, depth = view.camera.project(view.cam_from_world.apply(xyz))
        size = [view.camera.width, view.camera.height]
        seen += (depth > 0) & ((uv >= 0) & (uv < size)).all(axis=1)
    chosen = xyz[seen >= max(1.0, 0.5 * len(views))]
    return np.median(chosen if len(chosen) else xyz, axis=0)


def up_of(views: Sequence[View]) -> Float[np.ndarray, " 3"]:
    """Where up is, by the photos' own: the mean of the cameras' negative y axes, world, unit."""
    up = -np.mean([v.cam_from_world.R[1] for v in views], axis=0)
    length = np.linalg.norm(up)
    return up / length if length > 1e-6 else -views[0].cam_from_world.R[1]


def facing(centre: np.ndarray, target: np.ndarray, up: np.ndarray) -> Rigid3:
    """The pose at a centre that looks at the target with the horizon level."""
    z = (target - centre) / np.linalg.norm(target - centre)
    x = np.cross(z, up)
    if np.linalg.norm(x) < 1e-9:  # straight up or down: any heading will do
        x = np.cross(z, np.eye(3)[np.abs(z).argmin()])
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return Rigid3(R, -R @ centre)


def sized(camera: Camera, height: int, width: int = 0) -> Camera:
    """The camera with a picture of that height and the same angle of view upwards.

    Both sides become even, as video encoders want them; without a width, the shape is kept.
    """
    even = max(2, round(height / 2) * 2)
    wide = max(2, round((width or camera.width * height / camera.height) / 2) * 2)
    focal = camera.K[1, 1] * even / camera.height
    return Camera.simple(wide, even, float(focal))


def around(xyz: Float[np.ndarray, "n 3"], count: int = 4, side: int = 240) -> tuple[View, ...]:
    """Made-up views of points that come without cameras, all around at 50 degrees of view."""
    middle = np.median(xyz, axis=0)
    reach = float(np.quantile(np.linalg.norm(xyz - middle, axis=1), 0.9)) or 1.0
    camera = Camera.simple(side, side, side / (2 * np.tan(np.radians(25))))
    views = []
    for i, angle in enumerate(2 * np.pi * np.arange(count) / count):
        offset = 2.6 * reach * np.array([np.sin(angle), -0.25, -np.cos(angle)])
        pose = facing(middle + offset, middle, np.array([0.0, -1.0, 0.0]))
        views.append(View(f"view_{i}", camera, pose))
    return tuple(views)


def _frame(views: Sequence[View], target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up, and the directions to the cameras' middle and sideways from the target, all unit."""
    up = up_of(views)
    towards = np.mean([v.cam_from_world.centre for v in views], axis=0) - target
    towards -= (towards @ up) * up
    if np.linalg.norm(towards) < 1e-9:
        towards = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    towards /= np.linalg.norm(towards)
    return up, towards, np.cross(up, towards)


def _orbit(views: Sequence[View], target: np.ndarray, frames: int) -> list[Rigid3]:
    up, towards, side = _frame(views, target)
    away = np.array([v.cam_from_world.centre for v in views]) - target
    height = float(np.median(away @ up))
    radius = float(np.median(np.linalg.norm(away - np.outer(away @ up, up), axis=1)))
    first, last = _arc(np.arctan2(away @ side, away @ towards))
    turn = 2 * np.pi * np.arange(frames) / frames
    if last - first > 2 * np.pi - _LARGEST_GAP:
        angles = first + turn
    else:
        angles = (first + last) / 2 - (last - first) / 2 * np.cos(turn)
    return [
        facing(target + radius * (np.cos(a) * towards + np.sin(a) * side) + height * up, target, up)
        for a in angles
    ]


def _arc(angles: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Ends of the shortest arc that holds all angles, radians; the second may exceed pi."""
    angles = np.sort(angles)
    gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
    widest = int(gaps.argmax())
    first = float(angles[(widest + 1) % len(angles)])
    return first, first + 2 * np.pi - float(gaps[widest])


def _spiral(views: Sequence[View], target: np.ndarray, frames: int) -> list[Rigid3]:
    up, towards, side = _frame(views, target)
    away = np.mean([v.cam_from_world.centre for v in views], axis=0) - target
    distance = float(np.median([np.linalg.norm(v.cam_from_world.centre - target) for v in views]))
    start = target + (away @ up) * up + (away @ towards) * towards
    poses = []
    for share in np.arange(frames) / frames:
        angle = 2 * np.pi * _SPIRAL_TURNS * share
        reach = _SWING * distance * (1 - 0.6 * share)
        swing = np.cos(angle) * side + 0.4 * np.sin(angle) * up
        poses.append(facing(start + reach * swing, target, up))
    return poses


def _through(views: Sequence[View], frames: int) -> list[Rigid3]:
    """Cubic centres and spherical turns between the photos; with fewer frames, a choice of them."""
    from scipy.interpolate import PchipInterpolator
    from scipy.spatial.transform import Rotation, Slerp

    if len(views) == 1:
        return [views[0].cam_from_world] * frames
    key = np.arange(len(views), dtype=np.float64)
    at = np.linspace(0, len(views) - 1, frames)
    centres = PchipInterpolator(key, [v.cam_from_world.centre for v in views])(at)
    turns = Slerp(key, Rotation.from_matrix([v.cam_from_world.R for v in views]))(at).as_matrix()
    return [Rigid3(R, -R @ c) for R, c in zip(turns, centres, strict=True)]
