"""Points of tracks from known cameras, robust against wrong observations."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from corr.geometry import Rigid3
from recon.poses.link import Linked

MIN_DEPTH = 1e-6


@dataclass(frozen=True, eq=False)
class Points:
    """A point per track; `fits` marks the observations within the limit (none: no point)."""

    xyz: Float[np.ndarray, "t 3"]
    fits: Bool[np.ndarray, " m"]


def triangulate_tracks(
    tracks: Linked,
    xy: Float[np.ndarray, "m 2"],
    focal_px: Float[np.ndarray, " m"],
    poses: Mapping[int, Rigid3],
    *,
    max_error_px: float,
    min_angle_deg: float,
) -> Points:
    """The point of each track on which most of its observations agree.

    Every pair of observations of a track proposes a point; the one that most observations lie
    near wins (then the one with the smallest truncated error). That is exhaustive where RANSAC
    samples, so it needs no seed; tracks are short, and pairs of photos are handled as arrays.

    Args:
        tracks: Observations; those in photos without a pose are ignored.
        xy: Ideal normalised coordinates of the observations.
        focal_px: Focal length of the photo of each observation, to measure errors in pixels.
        poses: cam_from_world by photo.
        max_error_px: An observation fits below this.
        min_angle_deg: Rays of the proposing pair must cross at this angle or more.
    """
    num = tracks.num_tracks
    photos = sorted(poses)
    row_of = {}  # observation of each track in a photo, -1 = none
    for photo in photos:
        rows = np.flatnonzero(tracks.photo == photo)
        row_of[photo] = np.full(num, -1, dtype=np.int64)
        row_of[photo][tracks.track[rows]] = rows
    best = np.full(num, -np.inf)
    xyz = np.zeros((num, 3))
    for i, a in enumerate(photos):
        for b in photos[i + 1 :]:
            both = np.flatnonzero((row_of[a] >= 0) & (row_of[b] >= 0))
            if not len(both):
                continue
            point, angle = _midpoint(xy[row_of[a][both]], xy[row_of[b][both]], poses[a], poses[b])
            score = np.zeros(len(both))
            for photo in photos:
                rows = row_of[photo][both]
                seen = np.flatnonzero(rows >= 0)
                error = _error_px(point[seen], xy[rows[seen]], focal_px[rows[seen]], poses[photo])
                score[seen] += np.maximum(0.0, 2.0 - (error / max_error_px) ** 2) * (
                    error <= max_error_px
                )
            score[angle < np.radians(min_angle_deg)] = -np.inf
            better = score > best[both]
            best[both[better]], xyz[both[better]] = score[better], point[better]
    fits = np.zeros(len(tracks.track), dtype=bool)
    for photo in photos:
        rows = np.flatnonzero(tracks.photo == photo)
        point = xyz[tracks.track[rows]]
        fits[rows] = _error_px(point, xy[rows], focal_px[rows], poses[photo]) <= max_error_px
    fits &= np.isfinite(best)[tracks.track]
    fits &= (np.bincount(tracks.track[fits], minlength=num) >= 2)[tracks.track]
    return Points(xyz, fits)


def _midpoint(
    xy_a: Float[np.ndarray, "n 2"], xy_b: Float[np.ndarray, "n 2"], a: Rigid3, b: Rigid3
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
    """The point nearest to two rays, and the angle between them, radians."""
    one = np.ones((len(xy_a), 1))
    ray_a = np.concatenate([xy_a, one], -1) @ a.R
    ray_b = np.concatenate([xy_b, one], -1) @ b.R
    ray_a /= np.linalg.norm(ray_a, axis=-1, keepdims=True)
    ray_b /= np.linalg.norm(ray_b, axis=-1, keepdims=True)
    base = b.centre - a.centre
    cosine = (ray_a * ray_b).sum(-1)
    along_a, along_b = ray_a @ base, ray_b @ base
    sine2 = np.maximum(1 - cosine**2, 1e-12)
    depth_a = (along_a - cosine * along_b) / sine2
    depth_b = (cosine * along_a - along_b) / sine2
    point = 0.5 * (a.centre + depth_a[:, None] * ray_a + b.centre + depth_b[:, None] * ray_b)
    angle = np.arctan2(np.linalg.norm(np.cross(ray_a, ray_b), axis=-1), cosine)
    return point, np.where((depth_a > 0) & (depth_b > 0), angle, 0.0)


def _error_px(
    xyz: Float[np.ndarray, "n 3"],
    xy: Float[np.ndarray, "n 2"],
    focal_px: Float[np.ndarray, " n"],
    pose: Rigid3,
) -> Float[np.ndarray, " n"]:
    local = pose.apply(xyz)
    depth = local[:, 2]
    seen = local[:, :2] / np.maximum(depth, MIN_DEPTH)[:, None]
    error = np.linalg.norm(seen - xy, axis=-1) * focal_px
    return np.where(depth > MIN_DEPTH, error, np.inf)


def leftover(tracks: Linked, fits: Bool[np.ndarray, " m"]) -> Linked:
    """The observations that do not fit their track's point, as tracks of their own."""
    has_point = np.bincount(tracks.track[fits], minlength=tracks.num_tracks) > 0
    return tracks.select(~fits & has_point[tracks.track])
