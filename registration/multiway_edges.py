"""From pairwise answers to the edges of a pose graph: measure the overlap, then believe or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from registration.cloud import PointCloud
from registration.evaluation.predictions import Prediction
from registration.pose_graph import Closure, Edge, believed

OVERLAP_VOXELS = 1.5


@dataclass(frozen=True)
class Rules:
    """What an edge must fulfil."""

    min_probability: float
    min_overlap: float  # share of the smaller scan
    sure: float  # probability of an edge that no triangle supports
    rotation_rad: float  # around a triangle
    translation: float  # around a triangle, data's unit

    @property
    def closure(self) -> Closure:
        """When a triangle closes."""
        return Closure(self.rotation_rad, self.translation)


def measured(
    predictions: Iterable[Prediction],
    clouds: Mapping[int, PointCloud],
    voxel: float,
    rules: Rules,
) -> list[Edge]:
    """The answers that are probable enough, with the overlap and information of their surfaces.

    Overlap is the number of source points with a target point within 1.5 voxels, over the points of
    the smaller scan.

    Source: `multiway/test_multi_ate.py` of PointDSC (Bai et al., CVPR 2021).
    """
    import open3d as o3d

    registration: Any = o3d.pipelines.registration
    points = {
        index: o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.xyz))
        for index, cloud in clouds.items()
    }
    edges = []
    for p in sorted(predictions, key=lambda p: p.key):
        estimate = p.target_from_source
        if estimate is None or p.probability < rules.min_probability:
            continue
        info = np.asarray(
            registration.get_information_matrix_from_point_clouds(
                points[p.source], points[p.target], OVERLAP_VOXELS * voxel, estimate.matrix
            )
        )
        smaller = min(len(clouds[p.source]), len(clouds[p.target]))
        overlap = min(1.0, float(info[5, 5] / smaller))
        edges.append(Edge(p.source, p.target, estimate, p.probability, overlap, info))
    return edges


def accepted(
    edges: Sequence[Edge], centres: Mapping[int, np.ndarray], rules: Rules
) -> tuple[list[Edge], dict[int, str]]:
    """The edges that count, and for scans without any, why.

    An edge counts if its surfaces overlap, it is believed after looking at the triangles around it,
    and either one of them supports it or it is sure by itself.
    """
    overlapping = [e for e in edges if e.overlap >= rules.min_overlap]
    judged = believed(overlapping, rules.closure, centres)
    kept = [
        e for e in judged
        if e.belief >= max(0.5, rules.min_probability)
        and (e.support > e.conflicts or (not e.conflicts and e.probability >= rules.sure))
    ]  # fmt: skip
    linked = {n for e in kept for n in e.key}
    reasons = {
        n: _reason([e for e in edges if n in e.key], judged, rules)
        for n in centres
        if n not in linked
    }
    return kept, reasons


def _reason(edges: list[Edge], judged: list[Edge], rules: Rules) -> str:
    """Why none of a scan's edges counts."""
    if not edges:
        return f"no pair with it reaches probability {rules.min_probability:g}"
    best = max(edges, key=lambda e: e.overlap)
    if best.overlap < rules.min_overlap:
        return f"its best pair overlaps by {best.overlap:.0%} ({rules.min_overlap:.0%} needed)"
    keys = {e.key for e in edges}
    strongest = max((e for e in judged if e.key in keys), key=lambda e: e.belief)
    if strongest.conflicts >= strongest.support and strongest.conflicts:
        return f"its best link contradicts {strongest.conflicts} triangles of other links"
    return (
        f"its best link has probability {strongest.probability:.2f} and no third scan confirms it "
        f"({rules.sure:g} needed)"
    )
