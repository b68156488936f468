"""Bundle adjustment: cameras, lenses and points that fit all observations best."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from corr.geometry import Rigid3, Sim3
from recon.poses.lens import Lens
from recon.poses.link import Linked
from recon.poses.triangulate import leftover, triangulate_tracks

if TYPE_CHECKING:
    import pycolmap

log = logging.getLogger(__name__)
MIN_DEPTH = 1e-6
MAX_PARTS = 2  # points that one linked track may fall into


@dataclass(frozen=True, eq=False)
class Bundle:
    """Placed photos, their shared lenses and the points; observation k sees point `track[k]`.

    Pixels are working pixels as taken (distorted). `active` observations take part; the others
    are kept since they may fit later.
    """

    poses: Mapping[int, Rigid3]  # cam_from_world by photo index
    lenses: tuple[Lens, ...]
    lens_of: Mapping[int, int]  # photo index -> index into lenses
    xyz: Float[np.ndarray, "p 3"]
    tracks: Linked
    active: Bool[np.ndarray, " m"]

    @classmethod
    def without_points(
        cls, poses: Mapping[int, Rigid3], lenses: tuple[Lens, ...], lens_of: Mapping[int, int]
    ) -> "Bundle":
        """Cameras alone."""
        none = np.zeros(0, dtype=np.int64)
        empty = Linked(none, none, np.zeros((0, 2)))
        return cls(poses, lenses, lens_of, np.zeros((0, 3)), empty, none.astype(bool))

    @property
    def rms_px(self) -> float:
        """Root mean square distance of the active observations."""
        error = self.errors()[self.active]
        return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")

    def lens(self, photo: int) -> Lens:
        """The lens of a photo."""
        return self.lenses[self.lens_of[photo]]

    def project(
        self, photo: int, xyz: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Distorted pixels and depths of world points in a photo."""
        local = self.poses[photo].apply(xyz)
        depth = local[:, 2]
        return self.lens(photo).distort(local[:, :2] / np.maximum(depth, MIN_DEPTH)[:, None]), depth

    def errors(self) -> Float[np.ndarray, " m"]:
        """Reprojection error of every observation; infinite behind the camera or not placed."""
        error = np.full(len(self.tracks.track), np.inf)
        for photo in self.poses:
            rows = np.flatnonzero(self.tracks.photo == photo)
            uv, depth = self.project(photo, self.xyz[self.tracks.track[rows]])
            distance = np.linalg.norm(uv - self.tracks.uv[rows], axis=-1)
            error[rows] = np.where(depth > MIN_DEPTH, distance, np.inf)
        return error

    def angles_deg(self) -> Float[np.ndarray, " p"]:
        """Largest angle under which the active observations of each point cross."""
        widest = np.zeros(len(self.xyz))
        photos = sorted(self.poses)
        rays = {}
        for photo in photos:
            ray = self.xyz - self.poses[photo].centre
            rays[photo] = ray / np.maximum(np.linalg.norm(ray, axis=-1, keepdims=True), 1e-12)
        sees = np.zeros((len(photos), len(self.xyz)), dtype=bool)
        for i, photo in enumerate(photos):
            sees[i, self.tracks.track[self.active & (self.tracks.photo == photo)]] = True
        for i in range(len(photos)):
            for j in range(i + 1, len(photos)):
                both = np.flatnonzero(sees[i] & sees[j])
                sine = np.linalg.norm(
                    np.cross(rays[photos[i]][both], rays[photos[j]][both]), axis=-1
                )
                cosine = (rays[photos[i]][both] * rays[photos[j]][both]).sum(-1)
                angle = np.degrees(np.arctan2(sine, cosine))
                widest[both] = np.maximum(widest[both], angle)
        return widest

    def filtered(self, max_error_px: float, min_angle_deg: float) -> "Bundle":
        """Activate what fits, deactivate what does not; points need two views and an angle.

        Points whose every observation is inactive stay in the table, so indices do not move.
        """
        active = self.errors() <= max_error_px
        kept = replace(self, active=active)
        count = np.bincount(self.tracks.track[active], minlength=len(self.xyz))
        good = (count >= 2) & (kept.angles_deg() >= min_angle_deg)
        return replace(self, active=active & good[self.tracks.track])

    def observations(self) -> dict[int, int]:
        """Active observations per placed photo."""
        count = np.bincount(
            self.tracks.photo[self.active], minlength=max(self.poses, default=0) + 1
        )
        return {photo: int(count[photo]) for photo in self.poses}

    def transformed(self, new_from_old: Sim3) -> "Bundle":
        """The same in another world."""
        poses = {p: new_from_old.apply_to_camera(pose) for p, pose in self.poses.items()}
        return replace(self, poses=poses, xyz=new_from_old.apply(self.xyz))

    def without(self, photo: int) -> "Bundle":
        """The same without one photo."""
        poses = {p: pose for p, pose in self.poses.items() if p != photo}
        return replace(self, poses=poses, active=self.active & (self.tracks.photo != photo))


def retriangulate(
    bundle: Bundle, tracks: Linked, *, max_error_px: float, min_angle_deg: float
) -> Bundle:
    """Points of all tracks from the bundle's cameras; a track that disagrees is split in parts."""
    tables, points, active = [], [], []
    rest = tracks
    for _ in range(MAX_PARTS):
        if not rest.num_tracks:
            break
        xy, focal = np.zeros((len(rest.track), 2)), np.ones(len(rest.track))
        for photo in bundle.poses:
            rows = np.flatnonzero(rest.photo == photo)
            xy[rows] = bundle.lens(photo).undistort(rest.uv[rows])
            focal[rows] = bundle.lens(photo).focal_px
        found = triangulate_tracks(
            rest, xy, focal, bundle.poses,
            max_error_px=max_error_px, min_angle_deg=min_angle_deg,
        )  # fmt: skip
        has_point = np.bincount(rest.track[found.fits], minlength=rest.num_tracks) > 0
        keep = has_point[rest.track]
        _, track = np.unique(rest.track[keep], return_inverse=True)
        tables.append((track, rest.photo[keep], rest.uv[keep]))
        points.append(found.xyz[has_point])
        active.append(found.fits[keep])
        rest = leftover(rest, found.fits)
    first = np.cumsum([0, *map(len, points)])
    table = Linked(
        np.concatenate(
            [t[0] + n for t, n in zip(tables, first, strict=False)] or [np.zeros(0, int)]
        ),
        np.concatenate([t[1] for t in tables] or [np.zeros(0, int)]),
        np.concatenate([t[2] for t in tables] or [np.zeros((0, 2))]),
        tracks.cut,
    )
    return replace(
        bundle,
        xyz=np.concatenate([*points, np.zeros((0, 3))]),
        tracks=table,
        active=np.concatenate([*active, np.zeros(0, dtype=bool)]),
    )


def adjust(
    bundle: Bundle,
    *,
    refine_focal: bool,
    refine_distortion: bool,
    loss_px: float = 1.0,
    exact: frozenset[int] = frozenset(),
) -> Bundle:
    """Minimise the robust reprojection error of the active observations with Ceres.

    Soft L1 grows linearly beyond `loss_px`; `exact` lenses stay. One thread, so that the same
    input gives the same output bit by bit.
    """
    import pycolmap

    model, number_of = _to_model(bundle)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = refine_focal
    options.refine_extra_params = refine_distortion
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.loss_function_scale = loss_px
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.max_num_iterations = 50
    options.ceres.solver_options.function_tolerance = 1e-6
    config = pycolmap.BundleAdjustmentConfig()
    for photo in bundle.poses:
        config.add_image(photo + 1)
    for number in exact & {bundle.lens_of[p] for p in bundle.poses}:
        config.set_constant_cam_intrinsics(number + 1)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()
    if any(camera.params[0] <= 0 for camera in model.cameras.values()):
        log.warning("adjust: a focal length ran below zero; lenses are held")
        return adjust(
            bundle, refine_focal=False, refine_distortion=False, loss_px=loss_px, exact=exact
        )
    xyz = bundle.xyz.copy()
    for point, number in number_of.items():
        xyz[point] = model.points3D[number].xyz
    return replace(
        bundle,
        poses={
            photo: Rigid3.from_matrix(model.images[photo + 1].cam_from_world().matrix())
            for photo in bundle.poses
        },
        lenses=tuple(
            lens.with_params(model.cameras[i].params) if i in model.cameras else lens
            for i, lens in enumerate(bundle.lenses, 1)
        ),
        xyz=xyz,
    )


def _to_model(bundle: Bundle) -> "tuple[pycolmap.Reconstruction, dict[int, int]]":
    """A pycolmap model of the active part; also the model's point id of each point."""
    import pycolmap

    model = pycolmap.Reconstruction()
    for number in sorted({bundle.lens_of[p] for p in bundle.poses}):
        lens = bundle.lenses[number]
        model.add_camera_with_trivial_rig(
            pycolmap.Camera(
                camera_id=number + 1, model=lens.model, width=round(lens.width),
                height=round(lens.height), params=lens.params,
            )
        )  # fmt: skip
    rows = np.flatnonzero(bundle.active)
    place = np.zeros(len(bundle.active), dtype=np.int64)
    for photo, pose in sorted(bundle.poses.items()):
        mine = rows[bundle.tracks.photo[rows] == photo]
        place[mine] = np.arange(len(mine))
        image = pycolmap.Image(
            name=str(photo), keypoints=bundle.tracks.uv[mine],
            camera_id=bundle.lens_of[photo] + 1, image_id=photo + 1,
        )  # fmt: skip
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose.matrix[:3]))
    number_of = {}
    starts = np.flatnonzero(np.diff(bundle.tracks.track[rows], prepend=-1))
    for group in np.split(rows, starts[1:]) if len(rows) else []:
        track = pycolmap.Track()
        for row in group.tolist():
            track.add_element(int(bundle.tracks.photo[row]) + 1, int(place[row]))
        point = int(bundle.tracks.track[group[0]])
        number_of[point] = model.add_point3D(bundle.xyz[point], track)
    return model, number_of
