"""The working resolution, from the data's own spacing and extent."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from registration.cloud import PointCloud

SPACINGS = 2.0  # a voxel is at least this many point spacings
MOST_VOXELS = 6000  # occupied ones per cloud: bounds time and memory
SAMPLE = 3000  # points whose spacing is looked at
NEIGHBOURS = (4, 64)  # a scan may hold every point several times
ENOUGH = 0.1  # share of the sample with a distinct one among those
GROWTH = 1.05  # of the voxel at the least, until few enough are occupied


@dataclass(frozen=True)
class Scale:
    """The voxel that every other length is a multiple of, and where it comes from."""

    voxel: float  # data's unit
    spacing: float  # median distance to the nearest other point, data's unit
    extent: float  # diagonal of the central 98 % of the points, data's unit
    occupied: int  # voxels of the larger cloud
    given: bool = False

    def text(self) -> str:
        """One line for people."""
        why = "as given" if self.given else (
            f"{self.voxel / self.spacing:.1f} point spacings, {self.occupied} occupied voxels"
        )  # fmt: skip
        v = self.voxel
        return (
            f"voxel {v:.4g} ({why}); point spacing {self.spacing:.3g}, extent {self.extent:.4g}; "
            f"normals within {2 * v:.3g}, descriptors within {4 * v:.3g} to {13 * v:.3g}, "
            f"inliers within {2 * v:.3g}; data's own unit"
        )


def choose_voxel(source: PointCloud, target: PointCloud, voxel: float = 0.0) -> Scale:
    """A voxel that suits both clouds: a few spacings, and not too many voxels.

    Args:
        source: One cloud.
        target: The other, same unit.
        voxel: Take this one instead; 0 = choose.

    Raises:
        ValueError: A cloud has no extent, or the given voxel is as large as a cloud.
    """
    gap = max(spacing(source), spacing(target))
    size = min(extent(source), extent(target))
    if voxel > 0:
        if voxel > size / 4:
            raise ValueError(
                f"voxel must be well below the clouds' extent ({size:.4g}), got {voxel:.4g}; "
                f"it is in the data's own unit"
            )
        return Scale(voxel, gap, size, _most(source, target, voxel), given=True)
    chosen = SPACINGS * gap
    # One point per fine voxel counts coarser voxels nearly as well, in a fraction of the time.
    thin = [_representatives(c.xyz, chosen) for c in (source, target)]
    while (occupied := max(len(_representatives(xyz, chosen)) for xyz in thin)) > MOST_VOXELS:
        # On a surface the count falls with the square of the voxel; stay a little below the aim.
        chosen *= max(GROWTH, 0.97 * np.sqrt(occupied / MOST_VOXELS))
    return Scale(float(chosen), gap, size, occupied)


def _most(source: PointCloud, target: PointCloud, voxel: float) -> int:
    return max(len(_representatives(c.xyz, voxel)) for c in (source, target))


def _representatives(xyz: np.ndarray, voxel: float) -> np.ndarray:
    """One point of each occupied voxel."""
    cells = np.floor((xyz - xyz.min(0)) / voxel).astype(np.int64)
    size = cells.max(0) + 1
    if float(size[0]) * float(size[1]) * float(size[2]) > 2**62:
        return xyz[np.unique(cells, axis=0, return_index=True)[1]]
    key = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    return xyz[np.unique(key, return_index=True)[1]]


def spacing(cloud: PointCloud) -> float:
    """Median distance of a few thousand points to their nearest distinct neighbour, cloud's unit.

    Raises:
        ValueError: There is no other place than one.
    """
    tree = cKDTree(cloud.xyz, balanced_tree=False, compact_nodes=False)
    some = cloud.xyz[:: max(1, len(cloud) // SAMPLE)]
    for k in NEIGHBOURS:
        distance, _ = tree.query(some, k=range(1, min(k, len(cloud)) + 1))
        nearest = np.where(distance > 0, distance, np.inf).min(1)
        nearest = nearest[np.isfinite(nearest)]
        if len(nearest) > ENOUGH * len(some):
            return float(np.median(nearest))
    # Nearly every place is taken many times; sorting all points is slow, but then they are few.
    distinct = np.unique(cloud.xyz, axis=0)
    if len(distinct) < 2:
        raise ValueError(f"{cloud.name}: all points lie in one place; there is nothing to align")
    distance, _ = cKDTree(distinct).query(distinct[:: max(1, len(distinct) // SAMPLE)], k=2)
    return float(np.median(distance[:, 1]))


def extent(cloud: PointCloud) -> float:
    """Diagonal of the central 98 % of the points, the cloud's unit."""
    low, high = np.percentile(cloud.xyz, [1, 99], axis=0)
    return float(np.linalg.norm(high - low))
