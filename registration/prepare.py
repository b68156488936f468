"""One cloud made ready: voxels, normals, descriptors, what its sensor saw."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from registration.cloud import PointCloud
from registration.features.fpfh import mirrored, multi_scale_fpfh
from registration.verify import RangeImage, Surface
from registration.viewpoint import infer_viewpoint

FEWEST_VOXELS = 10
NORMAL_RADIUS = 2.0  # voxels
NORMAL_NEIGHBOURS = 60


@dataclass(frozen=True, eq=False)
class Keys:
    """The points that are matched, and what a match of two of them can be checked by."""

    xyz: Float[np.ndarray, "k 3"]
    normals: Float[np.ndarray, "k 3"]
    lab: Float[np.ndarray, "k 3"] | None = None  # CIELAB colour
    noise: Float[np.ndarray, " k"] | None = None  # standard deviation of the position

    def turned(self) -> "Keys":
        """With all normals turned round."""
        return replace(self, normals=-self.normals)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A cloud at working resolution with everything that does not depend on its partner."""

    surface: Surface
    keys: Keys
    features: Float[np.ndarray, "k d"]
    descriptor: str  # "fpfh" | "learned" | "given": what the features are
    voxel: float
    centre: Float[np.ndarray, " 3"]  # of the cloud; what `surface` and `keys` are shifted by
    orientation: str  # "sensor" | "inferred" | "ambiguous" (inferred, with a rival)
    name: str
    rival: Surface | None = None  # the cloud seen from the rival place, normals turned round
    rival_features: Float[np.ndarray, "k d"] | None = None

    @property
    def cloud(self) -> PointCloud:
        """The points that are matched, in the cloud's own frame."""
        return PointCloud(self.keys.xyz + self.centre, name=self.name)

    @cached_property
    def gicp(self) -> Any:
        """The cloud, in voxels, and its search tree as small_gicp wants them."""
        import small_gicp

        cloud = small_gicp.PointCloud(self.surface.xyz / self.voxel)
        tree = small_gicp.KdTree(cloud, num_threads=1)
        small_gicp.estimate_normals_covariances(cloud, tree, num_neighbors=20, num_threads=1)
        return cloud, tree

    @cached_property
    def turned(self) -> "Prepared | None":
        """The cloud as seen from its rival place; kept, since each of its pairs asks for it."""
        if self.rival is None or self.rival_features is None:
            return None
        return replace(
            self, surface=self.rival, keys=self.keys.turned(), features=self.rival_features,
            rival=None,
        )  # fmt: skip

    def scaled(self, factor: float) -> "Prepared":
        """The same cloud `factor` times as large about its centre; for comparing surfaces only."""
        keys = replace(self.keys, xyz=factor * self.keys.xyz)
        return replace(self, surface=self.surface.scaled(factor), keys=keys, rival=None)

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("gicp", "turned")}


def prepare(
    cloud: PointCloud,
    voxel: float,
    radii: tuple[float, ...],
    *,
    descriptor: str = "auto",
    weights: str = "",
) -> Prepared:
    """Voxelise, estimate and orient normals, describe.

    Normals are estimated on all points and averaged per voxel: that is worth as many right
    matches again as the descriptors' second radius. They are turned towards the sensor; where it
    is not known, towards the place that the scan most plausibly was taken from.

    Args:
        cloud: The scan.
        voxel: Edge of a voxel, the cloud's unit.
        radii: Of the histograms, voxels.
        descriptor: fpfh (histograms) | learned (a network) | given (the cloud's own features) |
            auto (given if the cloud has them, else fpfh).
        weights: The network's file.

    Raises:
        ValueError: Too few voxels to describe anything, or no features although they are wanted.
    """
    if descriptor == "auto":
        descriptor = "fpfh" if cloud.features is None else "given"
    if descriptor == "given" and cloud.features is None:
        raise ValueError(
            f"{cloud.name}: it carries no features; give an .npz with xyz and features, or "
            "descriptor=fpfh"
        )
    centre = np.median(cloud.xyz, axis=0)
    full = _with_normals(cloud, centre, voxel)
    sensor, rival, orientation = _viewpoint(cloud, full, voxel, centre)
    thin = _facing(full, sensor).voxel_down_sample(voxel)
    thin.normalize_normals()
    xyz, normals = np.asarray(thin.points), np.asarray(thin.normals)
    if len(xyz) < FEWEST_VOXELS:
        raise ValueError(
            f"{cloud.name}: only {len(xyz)} voxels of {voxel:.4g} are occupied; too small a cloud "
            f"to align, or too large a voxel"
        )
    surface = Surface(xyz, normals, True, cKDTree(xyz), RangeImage.of(xyz, sensor))
    keys = _keys(cloud, surface, np.asarray(thin.colors), centre, given=descriptor == "given")
    features = _described(cloud, surface, voxel, radii, descriptor, weights)
    ready = Prepared(
        surface, keys, features, descriptor, voxel, centre, orientation, cloud.name
    )  # fmt: skip
    if rival is None:
        return ready
    turned = Surface(xyz, -normals, True, surface.tree, RangeImage.of(xyz, rival))
    # Histograms of turned normals are the mirrored histograms; a network has to look again, and
    # what others described stays as it is.
    other = features
    if descriptor == "fpfh":
        other = mirrored(features)
    elif descriptor == "learned":
        other = _described(cloud, turned, voxel, radii, descriptor, weights)
    return replace(ready, rival=turned, rival_features=other)


def _with_normals(cloud: PointCloud, centre: np.ndarray, voxel: float) -> Any:
    """The centred cloud for Open3D, with normals of arbitrary sign."""
    import open3d as o3d

    full = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.xyz - centre))
    if cloud.rgb is not None:
        full.colors = o3d.utility.Vector3dVector(cloud.rgb / 255.0)
    # A cloud far denser than the voxels is thinned first: normals need no more.
    if len(cloud) > 50_000:
        full = full.voxel_down_sample(voxel / 3)
    full.estimate_normals(
        o3d.geometry.KDTreeSearchParamHybrid(NORMAL_RADIUS * voxel, NORMAL_NEIGHBOURS)
    )
    return full


def _facing(full: Any, place: np.ndarray) -> Any:
    """The cloud with its normals turned towards a place."""
    import open3d as o3d

    normals = np.asarray(full.normals)
    away = np.einsum("ni,ni->n", place - np.asarray(full.points), normals) < 0
    full.normals = o3d.utility.Vector3dVector(np.where(away[:, None], -normals, normals))
    return full


def _described(
    cloud: PointCloud,
    surface: Surface,
    voxel: float,
    radii: tuple[float, ...],
    descriptor: str,
    weights: str,
) -> np.ndarray:
    if descriptor == "given":
        assert cloud.features is not None
        return np.asarray(cloud.features, np.float32)
    if descriptor == "fpfh":
        return multi_scale_fpfh(surface.xyz, surface.normals, tuple(r * voxel for r in radii))
    from registration.learned.descriptor import LearnedDescriptor

    return LearnedDescriptor(weights).describe(surface.xyz, surface.normals, voxel)


def _keys(cloud: PointCloud, surface: Surface, rgb: np.ndarray, centre, *, given: bool) -> Keys:
    """The voxels' points, or those that the given features belong to, with the nearest normals."""
    xyz, normals = surface.xyz, surface.normals
    if given:
        xyz = (cloud.xyz if cloud.keypoints is None else cloud.keypoints) - centre
        nearest = surface.tree.query(xyz)[1]
        normals, rgb = normals[nearest], rgb[nearest] if len(rgb) else rgb
    noise = None
    if cloud.noise is not None:
        noise = cloud.noise[cKDTree(cloud.xyz - centre).query(xyz)[1]]
    return Keys(xyz, normals, _lab(rgb) if cloud.rgb is not None else None, noise)


def _lab(rgb: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """CIELAB of colours 0..1: a distance of 2 is just visible, 100 is black to white."""
    import cv2

    return cv2.cvtColor(rgb.astype(np.float32)[None], cv2.COLOR_RGB2LAB)[0]


def _viewpoint(cloud: PointCloud, full: Any, voxel: float, centre):
    """Where the scan was taken from, a rival place and how both are known."""
    if cloud.sensor is not None:
        return cloud.sensor - centre, None, "sensor"
    place, rival = infer_viewpoint(np.asarray(full.points), np.asarray(full.normals), voxel)
    return place, rival, "inferred" if rival is None else "ambiguous"
