"""From pairwise answers to the edges of a pose graph: measure the overlap, then believe or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from registration.cloud import PointCloud
from registration.confidence import right_share
from registration.evaluation.predictions import Prediction
from registration.pose_graph import Closure, Edge
from registration.pose_graph_average import LinkError
from registration.pose_graph_beliefs import believed
from registration.pose_graph_loops import Drift

OVERLAP_VOXELS = 1.5
EM_ROUNDS = 30


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

    @property
    def drift(self) -> Drift:
        """How far chains may stray: a third of a triangle's closure per link."""
        return Drift(self.closure, Closure(self.rotation_rad / 3, self.translation / 3))

    @property
    def link_error(self) -> LinkError:
        """Usual error of a right link: a third of a triangle's turn, a tenth of its shift."""
        return LinkError(0.3 * self.rotation_rad, 0.1 * self.translation)


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


def adjusted(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Probabilities for pairs that were not chosen for their overlap.

    A registrar's probability is calibrated on pairs of which most overlap; of all pairs of a scene
    few do. The share that does is estimated by expectation maximisation and the odds are scaled
    by it; neighbours in the order keep theirs.

    Source: Saerens, Latinne, Decaestecker, Neural Computation 2002.
    """
    far = [p for p in predictions if abs(p.source - p.target) != 1]
    odds = np.array([p.probability / max(1.0 - p.probability, 1e-6) for p in far])
    share, usual = 0.5, right_share() / (1.0 - right_share())
    posterior = odds
    for _ in range(EM_ROUNDS if far else 0):
        scaled = odds * share / (1.0 - share) / usual
        posterior = scaled / (1.0 + scaled)
        share = float(np.clip(posterior.mean(), 0.01, 0.99))
    shifted = {p.key: float(q) for p, q in zip(far, posterior, strict=True)}
    return [replace(p, probability=shifted.get(p.key, p.probability)) for p in predictions]


def accepted(
    edges: Sequence[Edge], centres: Mapping[int, np.ndarray], rules: Rules
) -> tuple[list[Edge], dict[int, str]]:
    """The edges that count, and for scans without any, why.

    An edge counts if its surfaces overlap, it is believed after looking at the triangles around it,
    and either more of them support than contradict it or it is sure by itself. Neighbours in the
    order count if they are sure: of all pairs they are the likeliest to be right.
    """
    overlapping = [e for e in edges if e.overlap >= rules.min_overlap]
    judged = believed(overlapping, rules.closure, centres)
    kept = [e for e in judged if _counts(e, rules)]
    linked = {n for e in kept for n in e.key}
    reasons = {
        n: _reason([e for e in edges if n in e.key], judged, rules)
        for n in centres
        if n not in linked
    }
    return kept, reasons


def _counts(edge: Edge, rules: Rules) -> bool:
    sure = edge.probability >= rules.sure
    if edge.consecutive and sure:
        return True
    if edge.belief < max(0.5, rules.min_probability):
        return False
    return edge.support > edge.conflicts or (sure and not edge.conflicts)


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
