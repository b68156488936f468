"""Register one more photo against a finished reconstruction that stays as it is."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image as PilImage

from corr.geometry import Camera, Rigid3
from corr.matches import Matches
from corr.photos import Image
from recon.poses.align import Alignment, align_patches, local_affine, smoothed
from recon.poses.intrinsics import FALLBACK
from recon.poses.lens import Lens
from recon.poses.output import DISTORTED_FILE
from recon.poses.undistort import pinhole_of, undistort_picture, undistort_points
from recon.scene import Reconstruction, View

log = logging.getLogger(__name__)
REACH_PX = 6.0  # working pixels between a match and the track observation that it stands for
MAX_ERROR_PX = 3.0  # working pixels, reprojection
MIN_INLIERS = 15
ENOUGH_FOR_TURN = 12  # matches of a pair from which its turn and zoom are known
ALIGNED_FROM = 50  # aligned points that may replace the matched ones


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
    ransac = {"max_reproj_error": MAX_ERROR_PX, "seed": seed, "min_iterations": 500}
    loss = {"loss_type": "CAUCHY", "loss_scale": 0.5 * MAX_ERROR_PX}
    pose, info = poselib.estimate_absolute_pose(uv, xyz, _poselib_camera(camera), ransac, loss)
    inliers = int(np.sum(info["inliers"]))
    if inliers < MIN_INLIERS or inliers < 0.1 * len(uv):
        unknown = "" if known else "; its focal length is unknown and was guessed"
        return (
            f"only {inliers} of {len(uv)} matched points agree on a position, {MIN_INLIERS} are "
            f"needed{unknown}"
        )
    picture, valid = undistort_picture(image, lens)
    rough = View(image.name, camera, Rigid3(pose.R, pose.t))
    view = _sharpened(rough, picture, valid, reconstruction, folder)
    return Located(view, picture, valid, inliers, len(uv))


def _poselib_camera(camera: Camera) -> dict:
    K = camera.K
    return {
        "model": "PINHOLE",
        "width": camera.width,
        "height": camera.height,
        "params": [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])],
    }


def _sharpened(
    view: View,
    picture: UInt8[np.ndarray, "h w 3"],
    valid: Bool[np.ndarray, "h w"] | None,
    reconstruction: Reconstruction,
    folder: Path,
) -> View:
    """The pose after aligning the patches of all points that should be seen, to sub-pixels.

    Every point is compared with the placed photo that sees it from most nearly the same side.
    The rough pose is returned when hardly any patch can be aligned.
    """
    import poselib

    how = Alignment()
    at, depth = view.camera.project(view.cam_from_world.apply(reconstruction.xyz_world))
    inside = (at > 0) & (at < np.array([view.camera.width, view.camera.height]))
    reach = (depth > 0) & inside.all(-1)
    if valid is not None:
        reach[reach] = valid[tuple(np.floor(at[reach]).astype(np.int64).T[::-1])]
    own = smoothed(picture, how.sigma_px)
    uv, points = [], []
    for index, rows in _nearest_observations(view, reconstruction, reach).items():
        point = reconstruction.tracks.track[rows]
        name = reconstruction.views[index].name
        with PilImage.open(folder / "images" / f"{name}.png") as file:
            other = smoothed(np.asarray(file.convert("RGB")), how.sigma_px)
        seen = reconstruction.tracks.uv[rows]
        stretch = local_affine(seen, at[point])
        found = align_patches(other, own, seen, at[point], stretch, how)
        good = found.similarity >= how.min_similarity
        uv.append(found.uv[good])
        points.append(point[good])
    if sum(map(len, points)) < ALIGNED_FROM:
        return view
    pose, _ = poselib.refine_absolute_pose(
        np.concatenate(uv),
        reconstruction.xyz_world[np.concatenate(points)],
        _as_poselib(view.cam_from_world),
        _poselib_camera(view.camera),
        {"loss_type": "CAUCHY", "loss_scale": 0.5},
    )
    return View(view.name, view.camera, Rigid3(pose.R, pose.t))


def _as_poselib(pose: Rigid3):
    import poselib

    result = poselib.CameraPose()
    result.R, result.t = pose.R, pose.t
    return result


def _nearest_observations(
    view: View, reconstruction: Reconstruction, reach: Bool[np.ndarray, " p"]
) -> dict[int, Int[np.ndarray, " _n"]]:
    """Per placed photo: the observations to compare with, one per reachable point."""
    tracks, xyz = reconstruction.tracks, reconstruction.xyz_world
    centres = np.stack([v.cam_from_world.centre for v in reconstruction.views])
    ray = xyz[tracks.track] - centres[tracks.image]
    wanted = xyz[tracks.track] - view.cam_from_world.centre
    cosine = (ray * wanted).sum(-1) / np.maximum(
        np.linalg.norm(ray, axis=-1) * np.linalg.norm(wanted, axis=-1), 1e-12
    )
    best = np.full(len(xyz), -1, dtype=np.int64)
    order = np.argsort(cosine, kind="stable")
    best[tracks.track[order]] = order
    rows = best[reach & (best >= 0)]
    return {
        int(index): rows[tracks.image[rows] == index] for index in np.unique(tracks.image[rows])
    }


def _turn(placed_uv: Float[np.ndarray, "n 2"], own_uv: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Turn and zoom from a placed photo to the photo, 2 x 2, that most matches agree on."""
    import cv2

    if len(own_uv) < ENOUGH_FOR_TURN:
        return np.eye(2)
    cv2.setRNGSeed(0)
    similarity, _ = cv2.estimateAffinePartial2D(
        placed_uv, own_uv, ransacReprojThreshold=0.05 * float(np.ptp(own_uv, axis=0).max() + 1)
    )
    return np.eye(2) if similarity is None else similarity[:, :2]


def _lens_of(image: Image, lenses: Mapping[str, Lens]) -> tuple[Lens, bool]:
    """The lens of the placed photos of the same size, nearest in EXIF focal length."""
    same = [x for x in lenses.values() if (x.width, x.height) == (image.width, image.height)]
    prior = image.focal_prior_px
    if same and prior:
        return min(same, key=lambda x: abs(np.log(x.focal_px / prior))), True
    if same:
        return same[0], True
    turned = [x for x in lenses.values() if (x.height, x.width) == (image.width, image.height)]
    if turned:  # the same camera held upright, or a photo stored on its side
        return Lens.centred(image.width, image.height, turned[0].focal_px), True
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
        own_uv = (
            own_uv + (tracks.uv[track_rows] - placed_uv[near]) @ _turn(placed_uv[near], own_uv).T
        )
        for row, d, uv in zip(track_rows.tolist(), distance[near].tolist(), own_uv, strict=True):
            seen.setdefault(int(tracks.track[row]), []).append((d, uv))
    uv = [min(places, key=lambda place: place[0])[1] for places in seen.values()]
    points = np.fromiter(seen, dtype=np.int64, count=len(seen))
    return np.array(uv).reshape(-1, 2), reconstruction.xyz_world[points]
