"""Bundle adjustment: cameras, lenses and points that fit all observations best."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from corr.geometry import Rigid3
from recon.poses.lens import Lens
from recon.poses.link import Linked

if TYPE_CHECKING:
    import pycolmap

log = logging.getLogger(__name__)
MIN_DEPTH = 1e-6


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

    def without(self, photo: int) -> "Bundle":
        """The same without one photo."""
        poses = {p: pose for p, pose in self.poses.items() if p != photo}
        return replace(self, poses=poses, active=self.active & (self.tracks.photo != photo))


def from_model(
    model: "pycolmap.Reconstruction",
    tracks: Linked,
    lens_of: Mapping[int, int],
    lenses: tuple[Lens, ...],
) -> Bundle:
    """What the mapper found, on our own observation table.

    A track that the mapper split into several points becomes several tracks; observations that it
    left out follow the largest part and are tested again later.
    """
    rows_of: dict[int, Int[np.ndarray, " n"]] = {}
    poses = {}
    for image_id in sorted(model.reg_image_ids()):
        photo = image_id - 1
        poses[photo] = Rigid3.from_matrix(model.images[image_id].cam_from_world().matrix())
        rows_of[photo] = np.flatnonzero(tracks.photo == photo)
    point_of = np.full(len(tracks.track), -1, dtype=np.int64)
    xyz = np.zeros((model.num_points3D(), 3))
    for index, number in enumerate(sorted(model.point3D_ids())):
        point = model.points3D[number]
        xyz[index] = point.xyz
        for element in point.track.elements:
            point_of[rows_of[element.image_id - 1][element.point2D_idx]] = index
    # Unassigned observations: to the point with most observations of their track.
    assigned = point_of >= 0
    pairs, count = np.unique(
        np.stack([tracks.track[assigned], point_of[assigned]], -1), axis=0, return_counts=True
    )
    main = np.full(tracks.num_tracks, -1, dtype=np.int64)
    order = np.argsort(count, kind="stable")
    main[pairs[order, 0]] = pairs[order, 1]
    point_of = np.where(assigned, point_of, main[tracks.track])
    keep = np.flatnonzero(point_of >= 0)
    keep = keep[np.lexsort((tracks.photo[keep], point_of[keep]))]
    # One observation per photo and point: a second one is of another part of a split track.
    keep = keep[_first_of_each(point_of[keep], tracks.photo[keep])]
    table = Linked(
        point_of[keep], tracks.photo[keep], tracks.uv[keep], tracks.reference[keep], tracks.cut
    )
    new = tuple(
        lens.with_params(model.cameras[number].params) if number in model.cameras else lens
        for number, lens in enumerate(lenses, 1)
    )
    return Bundle(poses, new, lens_of, xyz, table, assigned[keep])


def _first_of_each(point: np.ndarray, photo: np.ndarray) -> Bool[np.ndarray, " m"]:
    first = np.ones(len(point), dtype=bool)
    first[1:] = (np.diff(point) != 0) | (np.diff(photo) != 0)
    return first


def adjust(
    bundle: Bundle,
    *,
    refine_focal: bool,
    refine_distortion: bool,
    loss_px: float = 1.0,
    refine_centre: bool = False,
) -> Bundle:
    """Minimise the robust reprojection error of the active observations with Ceres.

    Soft L1 grows linearly beyond `loss_px`. One thread, so that the same input gives the same
    output bit by bit.
    """
    import pycolmap

    model, number_of = _to_model(bundle)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = refine_focal
    options.refine_extra_params = refine_distortion
    options.refine_principal_point = refine_centre
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.loss_function_scale = loss_px
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.max_num_iterations = 50
    options.ceres.solver_options.function_tolerance = 1e-6
    config = pycolmap.BundleAdjustmentConfig()
    for photo in bundle.poses:
        config.add_image(photo + 1)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()
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
