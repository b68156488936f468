"""Edges to poses: believe, group, optimise, drop what the optimum contradicts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.multiway_edges import Rules, accepted
from registration.multiway_refine import Surfaces, added, all_refined
from registration.pose_graph import Edge, groups, residual, spanning_tree
from registration.pose_graph_average import averaged
from registration.pose_graph_loops import agreeing
from registration.pose_graph_optimise import Pruning, optimised

OVERLAP_SHARE = 2 / 3  # of the overlap that a link needs to be believed; once it is borne out


@dataclass(frozen=True, eq=False)
class Solution:
    """Poses of the scans that hang together, and what was left out.

    Args:
        world_from_scan: By index; the frame of the first scan of the group.
        edges: What the poses were fitted to.
        left_out: Index to reason.
        other_groups: Poses of smaller groups that hang together among themselves.
    """

    world_from_scan: dict[int, Rigid3]
    edges: list[Edge]
    left_out: dict[int, str]
    other_groups: tuple[dict[int, Rigid3], ...] = ()


def solve(
    edges: Sequence[Edge],
    clouds: Mapping[int, PointCloud],
    rules: Rules,
    pruning: Pruning,
    surfaces: Surfaces | None = None,
) -> Solution:
    """Believe, group, optimise; edges that the optimum contradicts are dropped, and again.

    With `surfaces` the edges are made precise by ICP, and further ones are added where the poses
    show that scans overlap.
    """
    centres = {index: cloud.xyz.mean(0) for index, cloud in clouds.items()}
    kept, reasons = accepted(edges, centres, rules)
    if surfaces is not None:
        kept = all_refined(kept, surfaces, "refining links")
    solved: list[tuple[dict[int, Rigid3], list[Edge]]] = []
    for group in groups(clouds, kept):
        inside = [e for e in kept if e.source in set(group)]
        if len(group) > 1:
            inside = agreeing(group, inside, centres, rules.drift)
            parts = _solve_group(group, inside, centres, rules, pruning)
            solved += [_densified(p, centres, rules, pruning, surfaces) for p in parts]
    solved.sort(key=lambda s: (-len(s[0]), min(s[0])))
    solved = [(_averaged(poses, edges, centres, rules), used) for poses, used in solved]
    if not solved:
        return Solution({}, [], {n: reasons.get(n, "alone") for n in clouds})
    poses, used = solved[0]
    left_out = {}
    for n in clouds:
        if n not in poses:
            friends = next((sorted(s[0]) for s in solved[1:] if n in s[0]), [])
            left_out[n] = (
                f"linked only to {ranges(f for f in friends if f != n)}" if friends
                else reasons.get(n, "its links contradict the others")
            )  # fmt: skip
    return Solution(poses, used, left_out, tuple(s[0] for s in solved[1:]))


def _solve_group(
    group: Sequence[int],
    edges: list[Edge],
    centres: Mapping[int, np.ndarray],
    rules: Rules,
    pruning: Pruning,
) -> list[tuple[dict[int, Rigid3], list[Edge]]]:
    """Optimise until no edge is left that the poses contradict; a group may fall apart."""
    certain = {e.key for e in spanning_tree(group, edges) if e.belief >= rules.sure}
    poses, left = optimised(group, edges, pruning, certain=certain)
    agree = [
        e for e in left if rules.closure.holds(residual(e, poses, centres[e.source]))
    ]  # fmt: skip
    parts = [g for g in groups(group, agree) if len(g) > 1]
    if len(agree) == len(edges) or not parts:
        return [(poses, agree)] if parts else []
    solved = []
    for part in parts:
        solved += _solve_group(
            part, [e for e in agree if e.source in set(part)], centres, rules, pruning
        )
    return solved


def _averaged(
    poses: Mapping[int, Rigid3],
    edges: Sequence[Edge],
    centres: Mapping[int, np.ndarray],
    rules: Rules,
) -> dict[int, Rigid3]:
    """The robust mean of all links that the poses bear out, also of those between few points."""
    least = OVERLAP_SHARE * rules.min_overlap
    inside = [e for e in edges if {e.source, e.target} <= poses.keys() and e.overlap >= least]
    agree = [e for e in inside if rules.closure.holds(residual(e, poses, centres[e.source]))]
    return averaged(poses, agree, centres, rules.link_error)


def _densified(
    part: tuple[dict[int, Rigid3], list[Edge]],
    centres: Mapping[int, np.ndarray],
    rules: Rules,
    pruning: Pruning,
    surfaces: Surfaces | None,
) -> tuple[dict[int, Rigid3], list[Edge]]:
    """Solve once more with the links that the poses bring to light."""
    poses, edges = part
    further = [] if surfaces is None else added(poses, edges, surfaces, rules)
    if not further:
        return part
    again = _solve_group(sorted(poses), [*edges, *further], centres, rules, pruning)
    same = [p for p in again if len(p[0]) == len(poses)]
    return same[0] if same else part


def ranges(numbers: Iterable[int]) -> str:
    """`0-3, 7` of 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
