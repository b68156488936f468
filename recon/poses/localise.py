"""Register one more photo against a finished reconstruction that stays as it is."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from corr.geometry import Rigid3
from corr.matches import Matches
from corr.photos import Image
from recon.poses.intrinsics import FALLBACK
from recon.poses.lens import Lens
from recon.poses.output import DISTORTED_FILE
from recon.poses.undistort import pinhole_of, undistort_picture, undistort_points
from recon.scene import Reconstruction, View

log = logging.getLogger(__name__)
REACH_PX = 6.0  # working pixels between a match and the track observation that it stands for
MAX_ERROR_PX = 3.0  # working pixels, reprojection
MIN_INLIERS = 15


@dataclass(frozen=True, eq=False)
class Located:
    """A registered photo: its pinhole view at working size, its picture, and the evidence."""

    view: View
    picture: UInt8[np.ndarray, "h w 3"]  # undistorted
    valid: Bool[np.ndarray, "h w"] | None  # None = everywhere
    inliers: int
    candidates: int  # 2D-3D matches


def localise(
    image: Image,
    matches: Mapping[str, Matches],
    reconstruction: Reconstruction,
    folder: Path,
    *,
    seed: int = 0,
) -> Located | str:
    """Find the pose of a photo from its matches with placed ones; nothing else moves.

    A match that ends near a track's observation in a placed photo lends the photo the track's
    point; the small distance between the two is carried over to the photo.

    Args:
        image: The photo.
        matches: With placed photos, by their names; side a is `image`, original pixels.
        reconstruction: What the camera stage returned.
        folder: The camera stage's folder; its lenses serve the photo too when the size fits.
        seed: Of the sampling.

    Returns:
        The located photo, or the reason why it could not be registered.
    """
    import poselib

    lenses = {
        name: Lens(**record)
        for name, record in json.loads((folder / DISTORTED_FILE).read_text()).items()
    }
    lens, known = _lens_of(image, lenses)
    camera = pinhole_of(image, lens)
    uv, xyz = _correspondences(image, lens, matches, reconstruction, lenses)
    if len(uv) < MIN_INLIERS:
        total = sum(len(m) for m in matches.values())
        return (
            f"{len(uv)} of its {total} matches end at reconstructed points, {MIN_INLIERS} are "
            "needed: it overlaps too little with the placed photos"
        )
    focal = float(camera.K[0, 0])
    model = {
        "model": "PINHOLE",
        "width": camera.width,
        "height": camera.height,
        "params": [focal, float(camera.K[1, 1]), float(camera.K[0, 2]), float(camera.K[1, 2])],
    }
    ransac = {"max_reproj_error": MAX_ERROR_PX, "seed": seed, "min_iterations": 500}
    pose, info = poselib.estimate_absolute_pose(
        uv, xyz, model, ransac, {"loss_type": "CAUCHY", "loss_scale": 0.5 * MAX_ERROR_PX}
    )
    inliers = int(np.sum(info["inliers"]))
    if inliers < MIN_INLIERS or inliers < 0.1 * len(uv):
        unknown = "" if known else "; its focal length is unknown and was guessed"
        return (
            f"only {inliers} of {len(uv)} matched points agree on a position, {MIN_INLIERS} are "
            f"needed{unknown}"
        )
    picture, valid = undistort_picture(image, lens)
    view = View(image.name, camera, Rigid3(pose.R, pose.t))
    return Located(view, picture, valid, inliers, len(uv))


def _lens_of(image: Image, lenses: Mapping[str, Lens]) -> tuple[Lens, bool]:
    """The lens of the placed photos of the same size, nearest in EXIF focal length."""
    same = [x for x in lenses.values() if (x.width, x.height) == (image.width, image.height)]
    prior = image.focal_prior_px
    if same and prior:
        return min(same, key=lambda x: abs(np.log(x.focal_px / prior))), True
    if same:
        return same[0], True
    focal = prior or FALLBACK * max(image.width, image.height)
    return Lens.centred(image.width, image.height, focal), prior is not None


def _correspondences(
    image: Image,
    lens: Lens,
    matches: Mapping[str, Matches],
    reconstruction: Reconstruction,
    lenses: Mapping[str, Lens],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 3"]]:
    """Undistorted pixels of the photo and the points they should show, each point once."""
    from scipy.spatial import cKDTree

    camera = pinhole_of(image, lens)
    tracks = reconstruction.tracks
    seen: dict[int, list[tuple[float, np.ndarray]]] = {}
    for index, view in enumerate(reconstruction.views):
        m = matches.get(view.name)
        rows = np.flatnonzero(tracks.image == index)
        if m is None or not len(m) or not len(rows):
            continue
        placed_uv = undistort_points(m.uv_b, lenses[view.name], view.camera)
        distance, nearest = cKDTree(tracks.uv[rows]).query(placed_uv, distance_upper_bound=REACH_PX)
        near = np.flatnonzero(np.isfinite(distance))
        track_rows = rows[nearest[near]]
        own_uv = undistort_points(m.uv_a[near], lens, camera)
        own_uv = own_uv + (tracks.uv[track_rows] - placed_uv[near])
        for row, d, uv in zip(track_rows.tolist(), distance[near].tolist(), own_uv, strict=True):
            seen.setdefault(int(tracks.track[row]), []).append((d, uv))
    uv = [min(places, key=lambda place: place[0])[1] for places in seen.values()]
    points = np.fromiter(seen, dtype=np.int64, count=len(seen))
    return np.array(uv).reshape(-1, 2), reconstruction.xyz_world[points]
