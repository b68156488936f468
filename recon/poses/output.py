"""From the solved bundle to what the next stages read: pinhole views, points, pictures."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from corr.geometry import Rigid3, Sim3
from corr.photos import Image
from corr.store import write_atomic
from corr.threads import in_threads
from corr.tracks import Tracks
from recon.poses.bundle import Bundle
from recon.poses.intrinsics import scale_of
from recon.poses.lens import Lens
from recon.poses.uncertainty import Uncertainty
from recon.poses.undistort import (
    pinhole_of,
    save_picture,
    undistort_picture,
    undistort_points,
)
from recon.scene import Reconstruction, View

MEDIAN_DEPTH = 5.0  # of the points in front of the cameras, in units of the new world
DISTORTED_FILE = "distorted.json"
UNCERTAINTY_FILE = "uncertainty.json"
log = logging.getLogger(__name__)


def to_reconstruction(
    bundle: Bundle,
    images: Sequence[Image],
    left_out: dict[str, str],
    folder: Path,
    *,
    keep_frame: bool = False,
) -> tuple[Reconstruction, float]:
    """Write pictures, masks and `distorted.json`; return the views and the change of scale.

    The world is normalised, or kept as it is when the user's poses define it.
    """
    photos = sorted(bundle.poses)
    rows = np.flatnonzero(bundle.active)
    points, track = np.unique(bundle.tracks.track[rows], return_inverse=True)
    xyz = bundle.xyz[points]
    identity = Sim3(1.0, np.eye(3), np.zeros(3))
    new_from_old = identity if keep_frame else normalising_transform(bundle, xyz)
    xyz_world = new_from_old.apply(xyz)
    index_of = np.full(len(images), -1, dtype=np.int64)
    index_of[photos] = np.arange(len(photos))
    uv = np.zeros((len(rows), 2))
    colour_sum = np.zeros((len(points), 3))
    views, lenses, written = [], {}, []
    for photo in photos:
        image = images[photo]
        lens = bundle.lens(photo).scaled(1.0 / scale_of(image))
        # Scaling back and forth must not move the size by a rounding error.
        lens = replace(lens, width=float(image.width), height=float(image.height))
        lenses[image.name] = lens.record()
        camera = pinhole_of(image, lens)
        mine = np.flatnonzero(bundle.tracks.photo[rows] == photo)
        uv_original = bundle.tracks.uv[rows[mine]] / scale_of(image)
        uv[mine] = undistort_points(uv_original, lens, camera)
        written.append((image, lens, track[mine], uv[mine]))
        pose = bundle.poses[photo]  # kept bit by bit unless the world changes
        pose = pose if keep_frame else new_from_old.apply_to_camera(pose)
        views.append(View(image.name, camera, pose))

    def write(item: tuple[Image, Lens, np.ndarray, np.ndarray]) -> np.ndarray:
        image, lens, _, at = item
        picture, valid = undistort_picture(image, lens)
        save_picture(folder, image.name, picture, valid)
        return nearest_colour(picture, at)

    for (_, _, seen, _), colour in zip(written, in_threads(write, written), strict=True):
        np.add.at(colour_sum, seen, colour)
    write_atomic(folder / DISTORTED_FILE, json.dumps(lenses, indent=1))
    count = np.bincount(track, minlength=len(points))[:, None]
    order = np.lexsort((index_of[bundle.tracks.photo[rows]], track))
    reconstruction = Reconstruction(
        views=tuple(views),
        xyz_world=xyz_world,
        rgb=np.round(colour_sum / np.maximum(count, 1)).astype(np.uint8),
        tracks=Tracks(
            track[order].astype(np.int64),
            index_of[bundle.tracks.photo[rows]][order],
            uv[order],
            tuple(view.name for view in views),
        ),
        left_out=left_out,
    )
    return reconstruction, new_from_old.scale


def save_uncertainty(
    folder: Path, uncertainty: Uncertainty, names: Sequence[str], scale: float
) -> None:
    """Write `uncertainty.json`: sigmas of every camera in the new world, which are unsure."""
    cameras = {}
    for photo, sigma in uncertainty.cameras.items():
        known = {**sigma.record(), "centre": sigma.centre * scale}
        cameras[names[photo]] = {**known, "unsure": sigma.unsure}
        if sigma.unsure:
            log.warning(
                "%s is placed, but unsure: +- %.2f deg, +- %.1f %% of the cameras' extent",
                names[photo], sigma.rotation_deg, sigma.centre_percent,
            )  # fmt: skip
    record = {
        "reduced_chi_squared": uncertainty.chi2,
        "redundancy": uncertainty.redundancy,
        "hidden_noise_px": uncertainty.hidden_px,
        "focal_percent": {str(k): v for k, v in uncertainty.focal_percent.items()},
        "cameras": cameras,
    }
    write_atomic(folder / UNCERTAINTY_FILE, json.dumps(record, indent=1))


def nearest_colour(
    picture: UInt8[np.ndarray, "h w 3"], uv: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 3"]:
    """Colour of the pixels that the points fall into."""
    column = np.floor(uv[:, 0]).astype(np.int64).clip(0, picture.shape[1] - 1)
    row = np.floor(uv[:, 1]).astype(np.int64).clip(0, picture.shape[0] - 1)
    return picture[row, column].astype(np.float64)


def normalising_transform(bundle: Bundle, xyz: Float[np.ndarray, "p 3"]) -> Sim3:
    """`new_from_old`: origin at the median point, y down as the cameras see it, depth about 5.

    The new y axis is the mean of the cameras' y axes (they point down in an upright photo), z
    the mean direction of view, made perpendicular.
    """
    poses: list[Rigid3] = [bundle.poses[p] for p in sorted(bundle.poses)]
    down = _unit(sum((pose.R[1] for pose in poses), np.zeros(3)), poses[0].R[1])
    forward = sum((pose.R[2] for pose in poses), np.zeros(3))
    if np.linalg.norm(np.cross(down, forward)) < 1e-3 * len(poses):
        forward = poses[0].R[2]
    right = _unit(np.cross(down, forward), poses[0].R[0])
    R = np.stack([right, down, np.cross(right, down)])
    depths = np.concatenate([pose.apply(xyz)[:, 2] for pose in poses])
    scale = MEDIAN_DEPTH / float(np.median(depths[depths > 0]))
    return Sim3(scale, R, -np.median(scale * xyz @ R.T, axis=0))


def _unit(vector: Float[np.ndarray, " 3"], otherwise: Float[np.ndarray, " 3"]) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-6 else otherwise / np.linalg.norm(otherwise)
