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
class Prepared:
    """A cloud at working resolution with everything that does not depend on its partner."""

    surface: Surface
    features: Float[np.ndarray, "n d"]
    voxel: float
    centre: Float[np.ndarray, " 3"]  # of the cloud; what `surface` is shifted by
    orientation: str  # "sensor" | "inferred" | "ambiguous" (inferred, with a rival)
    name: str
    rival: Surface | None = None  # the cloud seen from the rival place, normals turned round
    rival_features: Float[np.ndarray, "n d"] | None = None

    @property
    def cloud(self) -> PointCloud:
        """The voxelised points, in the cloud's own frame."""
        return PointCloud(self.surface.xyz + self.centre, name=self.name)

    @cached_property
    def gicp(self) -> Any:
        """The cloud and its search tree as small_gicp wants them."""
        import small_gicp

        cloud = small_gicp.PointCloud(self.surface.xyz)
        tree = small_gicp.KdTree(cloud, num_threads=1)
        small_gicp.estimate_normals_covariances(cloud, tree, num_neighbors=20, num_threads=1)
        return cloud, tree

    @cached_property
    def turned(self) -> "Prepared | None":
        """The cloud as seen from its rival place; kept, since each of its pairs asks for it."""
        if self.rival is None or self.rival_features is None:
            return None
        return replace(self, surface=self.rival, features=self.rival_features, rival=None)

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("gicp", "turned")}


def prepare(
    cloud: PointCloud, voxel: float, radii: tuple[float, ...], *, learned: bool = False
) -> Prepared:
    """Voxelise, estimate and orient normals, describe.

    Normals are estimated on all points and averaged per voxel: that is worth as many right
    matches again as the descriptors' second radius. They are turned towards the sensor; where it
    is not known, towards the place that the scan most plausibly was taken from.

    Args:
        cloud: The scan.
        voxel: Edge of a voxel, the cloud's unit.
        radii: Of the descriptors, voxels.
        learned: Use the shipped network's descriptor instead of the histograms.

    Raises:
        ValueError: Too few voxels to describe anything.
    """
    import open3d as o3d

    centre = np.median(cloud.xyz, axis=0)
    full = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.xyz - centre))
    # A cloud far denser than the voxels is thinned first: normals need no more.
    if len(cloud) > 50_000:
        full = full.voxel_down_sample(voxel / 3)
    full.estimate_normals(
        o3d.geometry.KDTreeSearchParamHybrid(NORMAL_RADIUS * voxel, NORMAL_NEIGHBOURS)
    )
    points, normals = np.asarray(full.points), np.asarray(full.normals)
    sensor, rival, orientation = _viewpoint(cloud, points, normals, voxel, centre)
    towards = np.einsum("ni,ni->n", sensor - points, normals)
    full.normals = o3d.utility.Vector3dVector(np.where(towards[:, None] < 0, -normals, normals))
    thin = full.voxel_down_sample(voxel)
    thin.normalize_normals()
    xyz, normals = np.asarray(thin.points), np.asarray(thin.normals)
    if len(xyz) < FEWEST_VOXELS:
        raise ValueError(
            f"{cloud.name}: only {len(xyz)} voxels of {voxel:.4g} are occupied; too small a cloud "
            f"to align, or too large a voxel"
        )
    features = _described(xyz, normals, voxel, radii, learned)
    surface = Surface(xyz, normals, True, cKDTree(xyz), RangeImage.of(xyz, sensor))
    ready = Prepared(surface, features, voxel, centre, orientation, cloud.name)
    if rival is None:
        return ready
    turned = Surface(xyz, -normals, True, surface.tree, RangeImage.of(xyz, rival))
    # Histograms of turned normals are the mirrored histograms; a network has to look again.
    other = _described(xyz, -normals, voxel, radii, True) if learned else mirrored(features)
    return replace(ready, rival=turned, rival_features=other)


def _described(xyz, normals, voxel: float, radii: tuple[float, ...], learned: bool) -> np.ndarray:
    if not learned:
        return multi_scale_fpfh(xyz, normals, tuple(r * voxel for r in radii))
    from registration.learned.descriptor import LearnedDescriptor

    return LearnedDescriptor().describe(xyz, normals, voxel)


def _viewpoint(cloud: PointCloud, points, normals, voxel: float, centre):
    """Where the scan was taken from, a rival place and how both are known."""
    if cloud.sensor is not None:
        return cloud.sensor - centre, None, "sensor"
    place, rival = infer_viewpoint(points, normals, voxel)
    return place, rival, "inferred" if rival is None else "ambiguous"
