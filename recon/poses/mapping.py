"""Tracks to cameras: pycolmap's mappers with options for a handful of photos."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corr.geometry import Rigid3
from recon.poses.bundle import Bundle
from recon.poses.intrinsics import Group
from recon.poses.lens import Lens
from recon.poses.link import Linked

if TYPE_CHECKING:
    import pycolmap

log = logging.getLogger(__name__)
FEW = 10  # photos up to which two-view tracks count and one model is asked for


def from_model(
    model: "pycolmap.Reconstruction", lens_of: Mapping[int, int], lenses: tuple[Lens, ...]
) -> Bundle | None:
    """Poses and lenses that the mapper found, as a bundle without points.

    None when the mapper let a focal length run through zero, which makes all of it void.
    """
    if any(camera.params[0] <= 0 for camera in model.cameras.values()):
        log.info("map: a focal length ran below zero, attempt dropped")
        return None
    poses = {
        number - 1: Rigid3.from_matrix(model.images[number].cam_from_world().matrix())
        for number in sorted(model.reg_image_ids())
    }
    new = tuple(
        lens.with_params(model.cameras[number].params) if number in model.cameras else lens
        for number, lens in enumerate(lenses, 1)
    )
    return Bundle.without_points(poses, new, lens_of)


def write_database(
    path: Path,
    groups: Sequence[Group],
    names: Sequence[str],
    tracks: Linked,
    pairs: Iterable[tuple[int, int]],
    *,
    min_matches: int,
) -> None:
    """A COLMAP database: one key point per observation; in the given pairs, what tracks connect.

    Of each pair all tracks that see both photos are written, matched directly or through others.
    COLMAP makes a rig per camera and a frame per image itself as long as none is written.
    """
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
        for i, j in pairs:
            _, in_i, in_j = np.intersect1d(
                tracks.track[rows_of[i]], tracks.track[rows_of[j]], return_indices=True
            )
            if len(in_i) < min_matches:
                continue
            matches = np.stack([in_i, in_j], -1).astype(np.uint32)
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            geometry.inlier_matches = matches
            database.write_matches(i + 1, j + 1, matches)
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
    database: Path,
    num_photos: int,
    angle_deg: float,
    seed: int,
    *,
    min_inliers: int,
    refine_focal: bool,
) -> "pycolmap.Reconstruction | None":
    """One run of the incremental mapper; the model with most photos, then observations."""
    import pycolmap

    pycolmap.set_random_seed(seed)
    options = incremental_options(
        num_photos, angle_deg, seed, min_inliers=min_inliers, refine_focal=refine_focal
    )
    with quiet(), tempfile.TemporaryDirectory() as folder:
        models = pycolmap.incremental_mapping(database, folder, folder, options)
    return _largest(models.values())


def map_globally(
    database: Path, num_photos: int, seed: int, *, min_inliers: int
) -> "pycolmap.Reconstruction | None":
    """The global mapper: rotation averaging, then all positions and points at once."""
    import pycolmap

    pycolmap.set_random_seed(seed)
    o = pycolmap.GlobalPipelineOptions()
    o.min_num_matches = min_inliers
    o.num_threads = 1
    o.random_seed = seed
    o.min_model_size = 2
    o.mapper.num_threads = 1
    o.mapper.random_seed = seed
    o.mapper.track_min_num_views_per_track = 2 if num_photos <= FEW else 3
    o.mapper.global_positioning.min_num_view_per_track = 2 if num_photos <= FEW else 3
    o.mapper.global_positioning.use_gpu = False
    o.mapper.global_positioning.random_seed = seed
    o.mapper.bundle_adjustment.min_track_length = 2 if num_photos <= FEW else 3
    o.mapper.bundle_adjustment.ceres.use_gpu = False
    with quiet(), tempfile.TemporaryDirectory() as folder:
        models = pycolmap.global_mapping(database, folder, folder, o)
    return _largest(models.values())


def _largest(models: "Iterable[pycolmap.Reconstruction]") -> "pycolmap.Reconstruction | None":
    def support(model: "pycolmap.Reconstruction") -> tuple[int, int]:
        return model.num_reg_images(), model.compute_num_observations()

    return max(models, key=support, default=None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep COLMAP's own progress lines off the screen; errors still show."""
    import pycolmap

    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = max(before, 2)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before
