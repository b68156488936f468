"""Tracks to cameras: pycolmap's mappers with options for a handful of photos."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.poses.intrinsics import Group
from recon.poses.link import Linked

if TYPE_CHECKING:
    import pycolmap

log = logging.getLogger(__name__)
FEW = 10  # photos up to which two-view tracks count and one model is asked for
ANGLES_DEG = (16.0, 8.0, 4.0, 2.0)  # least median parallax of the first pair, tried in this order


@dataclass(frozen=True, eq=False)
class Mapped:
    """A pycolmap model in working pixels; image ids are photo index + 1, points2D the tracks'."""

    model: "pycolmap.Reconstruction"
    rung: str  # what it took, e.g. `incremental, first pair 8 deg`
    tried: list[str] = field(default_factory=list)

    @property
    def support(self) -> tuple[int, int]:
        """Placed photos, then observations: what decides between two attempts."""
        return self.model.num_reg_images(), self.model.compute_num_observations()


def write_database(
    path: Path, groups: Sequence[Group], names: Sequence[str], tracks: Linked, min_matches: int
) -> None:
    """A COLMAP database with one key point per observation and all pairs that tracks connect."""
    import pycolmap

    with pycolmap.Database.open(str(path)) as database:
        camera_of = {}
        for number, group in enumerate(groups, 1):
            database.write_camera(_camera(group, number), use_camera_id=True)
            camera_of.update(dict.fromkeys(group.photos, number))
        rows_of = [np.flatnonzero(tracks.photo == i) for i in range(len(names))]
        for i, name in enumerate(names):
            image = pycolmap.Image(name=name, camera_id=camera_of[i], image_id=i + 1)
            database.write_image(image, use_image_id=True)
            database.write_keypoints(i + 1, tracks.uv[rows_of[i]].astype(np.float32))
        for i in range(len(names)):
            for j in range(i + 1, len(names)):
                _, in_i, in_j = np.intersect1d(
                    tracks.track[rows_of[i]], tracks.track[rows_of[j]], return_indices=True
                )
                if len(in_i) < min_matches:
                    continue
                pairs = np.stack([in_i, in_j], -1).astype(np.uint32)
                geometry = pycolmap.TwoViewGeometry()
                geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
                geometry.inlier_matches = pairs
                database.write_matches(i + 1, j + 1, pairs)
                database.write_two_view_geometry(i + 1, j + 1, geometry)


def _camera(group: Group, number: int) -> Any:
    import pycolmap

    lens = group.lens
    return pycolmap.Camera(
        camera_id=number,
        model=lens.model,
        width=round(lens.width),
        height=round(lens.height),
        params=lens.params,
        has_prior_focal_length=group.trusted,
    )


def incremental_options(
    num_photos: int, angle_deg: float, seed: int, *, min_inliers: int, refine_focal: bool
) -> Any:
    """The sparse-view preset; pixels are working pixels."""
    import pycolmap

    o = pycolmap.IncrementalPipelineOptions()
    o.min_num_matches = min_inliers
    o.min_model_size = 2
    o.multiple_models = num_photos > FEW
    o.extract_colors = False
    o.num_threads = 1  # several threads sum in any order: the same seed would not repeat
    o.random_seed = seed
    o.structure_less_registration_fallback = num_photos > 2
    o.ba_refine_focal_length = refine_focal
    o.ba_refine_extra_params = False
    o.mapper.init_min_num_inliers = 30
    o.mapper.init_max_error = 2.0
    o.mapper.init_max_forward_motion = 0.95 if angle_deg > 4 else 0.99
    o.mapper.init_min_tri_angle = angle_deg
    o.mapper.abs_pose_min_num_inliers = min_inliers
    o.mapper.abs_pose_min_inlier_ratio = 0.15
    o.mapper.abs_pose_max_error = 6.0
    o.mapper.abs_pose_refine_focal_length = False
    o.mapper.abs_pose_refine_extra_params = False
    o.mapper.filter_min_tri_angle = 0.75
    o.mapper.filter_max_reproj_error = 4.0
    o.mapper.num_threads = 1
    o.mapper.random_seed = seed
    o.triangulation.ignore_two_view_tracks = num_photos > FEW
    o.triangulation.min_angle = 0.75
    o.triangulation.random_seed = seed
    return o


def map_incrementally(
    database: Path, num_photos: int, seed: int, *, min_inliers: int, refine_focal: bool
) -> Mapped | None:
    """Incremental mapping down the ladder of first-pair angles; the best attempt.

    The ladder ends at the first attempt that places every photo.
    """
    import pycolmap

    best: Mapped | None = None
    tried = []
    for angle in ANGLES_DEG:
        pycolmap.set_random_seed(seed)
        options = incremental_options(
            num_photos, angle, seed, min_inliers=min_inliers, refine_focal=refine_focal
        )
        with tempfile.TemporaryDirectory() as folder:
            models = pycolmap.incremental_mapping(database, folder, folder, options)
        rung = f"incremental, first pair >= {angle:g} deg"
        attempts = [Mapped(model, rung) for model in models.values()]
        attempt = max(attempts, key=lambda m: m.support, default=None)
        placed = attempt.support[0] if attempt else 0
        tried.append(f"{rung}: {placed} of {num_photos} photos")
        if attempt and (best is None or attempt.support[0] > best.support[0]):
            best = attempt
        if placed == num_photos:
            break
    log.info("map: %s", "; ".join(tried))
    return None if best is None else Mapped(best.model, best.rung, tried)


def map_globally(database: Path, num_photos: int, seed: int, *, min_inliers: int) -> Mapped | None:
    """Global mapping (rotation averaging, then positions): the next rung."""
    import pycolmap

    pycolmap.set_random_seed(seed)
    o = pycolmap.GlobalPipelineOptions()
    o.min_num_matches = min_inliers
    o.num_threads = 1
    o.random_seed = seed
    o.min_model_size = 2
    o.mapper.num_threads = 1
    o.mapper.random_seed = seed
    o.mapper.track_min_num_views_per_track = 2 if num_photos <= 4 else 3
    o.mapper.global_positioning.use_gpu = False
    o.mapper.global_positioning.random_seed = seed
    o.mapper.bundle_adjustment.ceres.use_gpu = False
    with tempfile.TemporaryDirectory() as folder:
        models = pycolmap.global_mapping(database, folder, folder, o)
    attempts = [Mapped(model, "global") for model in models.values()]
    best = max(attempts, key=lambda m: m.support, default=None)
    log.info("map: global: %d of %d photos", best.support[0] if best else 0, num_photos)
    return best
