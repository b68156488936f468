"""The poses that fit the edges best, by Open3D's global optimisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from corr.geometry.rigid import Rigid3
from registration.pose_graph import Edge, chained


@dataclass(frozen=True)
class Pruning:
    """Open3D's global optimisation: what it may drop."""

    distance: float  # largest distance of corresponding points, data's unit
    threshold: float = 0.25  # of a loop's line process
    preference: float = 20.0  # of loops over neighbours in the order


def balanced(info: Float[np.ndarray, "6 6"]) -> Float[np.ndarray, "6 6"]:
    """Information (rotation first) of a link whose error is more than its points' noise.

    Fragments are bent by centimetres, so a link errs alike in all directions, however well its
    points fix it: `n * diag(3, 3, 3, 1, 1, 1)` for its n points is added.
    """
    return info + info[5, 5] * np.diag([3.0, 3.0, 3.0, 1.0, 1.0, 1.0])


def optimised(
    group: Sequence[int], edges: Sequence[Edge], pruning: Pruning, *, certain: set[tuple[int, int]]
) -> tuple[dict[int, Rigid3], list[Edge]]:
    """`world_from_scan` by Levenberg-Marquardt, and the edges that were not pruned.

    Args:
        group: Connected scans; the first one's frame is the world.
        edges: Among them.
        pruning: Line-process settings.
        certain: Edges (source, target) that are not to be pruned.
    """
    import open3d as o3d

    registration: Any = o3d.pipelines.registration
    number = {n: k for k, n in enumerate(group)}
    graph = registration.PoseGraph()
    for pose in chained(group, edges).values():
        graph.nodes.append(registration.PoseGraphNode(pose.matrix))
    for e in edges:
        info = np.eye(6) if e.info is None else balanced(e.info)
        graph.edges.append(
            registration.PoseGraphEdge(
                number[e.source], number[e.target], e.target_from_source.matrix, info,
                uncertain=e.key not in certain, confidence=1.0,
            )
        )  # fmt: skip
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        registration.global_optimization(
            graph,
            registration.GlobalOptimizationLevenbergMarquardt(),
            registration.GlobalOptimizationConvergenceCriteria(),
            registration.GlobalOptimizationOption(
                max_correspondence_distance=pruning.distance,
                edge_prune_threshold=pruning.threshold,
                preference_loop_closure=pruning.preference,
                reference_node=0,
            ),
        )
    poses = {n: _pose(graph.nodes[number[n]].pose) for n in group}
    left = {(group[e.source_node_id], group[e.target_node_id]) for e in graph.edges}
    world = poses[group[0]].inverse()
    return {n: world @ pose for n, pose in poses.items()}, [e for e in edges if e.key in left]


def _pose(matrix: np.ndarray) -> Rigid3:
    U, _, Vt = np.linalg.svd(matrix[:3, :3])
    return Rigid3(U @ Vt, matrix[:3, 3])
