"""What is drawn of an answer: thinned clouds, the moved source, its distance to the target."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from registration.api import Aligned
from registration.cloud import PointCloud
from registration.pictures import MOST_POINTS, Pair, upright

_MOST_SEARCHED = 400_000  # target points that distances are measured to
_CELLS_PER_VOXEL = 4.0
_SPACING_SAMPLE = 2000


def thinned(cloud: PointCloud, cell: float, most: int) -> Int[np.ndarray, " k"]:
    """Indices of one point per cubic cell, then of `most` of them drawn at random, in order."""
    if len(cloud) <= most:
        return np.arange(len(cloud))
    low = cloud.xyz.min(axis=0)
    key = np.floor((cloud.xyz - low) / cell).astype(np.int64)
    size = key.max(axis=0) + 1
    _, index = np.unique((key[:, 0] * size[1] + key[:, 1]) * size[2] + key[:, 2], return_index=True)
    if len(index) > most:
        index = np.random.default_rng(0).choice(index, most, replace=False)
    return np.sort(index)


def moved_cloud(aligned: Aligned) -> PointCloud | None:
    """The source at full resolution in the target's frame; None without an answer."""
    answer = aligned.registration
    if answer.target_from_source is None:
        return None
    return aligned.source.moved(answer.target_from_source, answer.scale)


def drawn_pair(aligned: Aligned) -> Pair:
    """Thin both clouds, move the source and measure how far it lies from the target."""
    cell = aligned.voxel / _CELLS_PER_VOXEL
    keep_source = thinned(aligned.source, cell, MOST_POINTS)
    keep_target = thinned(aligned.target, cell, MOST_POINTS)
    source, target = aligned.source.taken(keep_source), aligned.target.taken(keep_target)
    answer, moved, distance = aligned.registration, None, None
    if answer.target_from_source is not None:
        moved = source.moved(answer.target_from_source, answer.scale).xyz
        searched = aligned.target.xyz[thinned(aligned.target, cell, _MOST_SEARCHED)]
        distance = cKDTree(searched).query(moved, workers=-1)[0] / aligned.voxel
    up, front = upright(aligned.target)
    return Pair(
        source.xyz, target.xyz, moved, distance, max(spacing(source.xyz), spacing(target.xyz)),
        source.rgb, target.rgb, up, front,
    )  # fmt: skip


def spacing(xyz: Float[np.ndarray, "n 3"]) -> float:
    """Distance to the nearest neighbour that nine in ten points keep below."""
    if len(xyz) < 2:
        return 1.0
    some = xyz[:: max(1, len(xyz) // _SPACING_SAMPLE)]
    nearest = cKDTree(xyz).query(some, k=2)[0][:, 1]
    return float(np.quantile(nearest, 0.9)) or float(np.ptp(xyz, axis=0).max()) / 200 or 1.0
