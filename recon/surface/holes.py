"""Holes of a mesh: closed borders, how large, where, and why there is no surface."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from recon.surface.depth_maps import DepthMap, pixel_values
from recon.surface.mesh import Mesh

UNSEEN = "outside every photo"


@dataclass(frozen=True, eq=False)
class Hole:
    """One closed border. The longest border of a mesh is its outline, not a hole."""

    perimeter: float  # scene units
    centre: Float[np.ndarray, " 3"]  # mean of the border's vertices, world
    why: str  # the commonest reason among the photos' pixels there


def border_edges(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e 2"]:
    """Edges of one face only."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    return edges[count == 1]


def find_holes(
    mesh: Mesh, maps: Sequence[DepthMap], *, smallest: float
) -> tuple[list[Hole], Hole | None]:
    """Borders longer than `smallest` (scene units), the longest first, without the outline; it.

    Borders that touch in a vertex count as one. The reason is looked up at the border's middle in
    every depth map: why the pixel there was refused.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = border_edges(mesh.faces)
    if len(edges) == 0:
        return [], None
    ones = np.ones(len(edges), np.int8)
    size = len(mesh.vertices)
    graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(size, size))
    label = connected_components(graph, directed=False)[1]
    _, loop = np.unique(label[edges[:, 0]], return_inverse=True)
    length = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    perimeter = np.bincount(loop, length)
    middle = mesh.vertices[edges].mean(axis=1)
    sums = np.stack([np.bincount(loop, middle[:, k] * length) for k in range(3)], axis=1)
    centres = sums / perimeter[:, None]
    order = np.argsort(-perimeter, kind="stable")
    found = [
        Hole(float(perimeter[i]), centres[i], _reason(centres[i], maps))
        for i in order[:200]
        if perimeter[i] >= smallest or i == order[0]
    ]
    return found[1:], found[0]


def _reason(centre: Float[np.ndarray, " 3"], maps: Sequence[DepthMap]) -> str:
    """The commonest reason; photos that accepted a depth there look at something else."""
    reasons: Counter[str] = Counter()
    for m in maps:
        uv, z = m.view.camera.project(m.view.cam_from_world.apply(centre[None]))
        if z[0] <= 0 or not (0 <= uv[0, 0] < m.view.camera.width):
            continue
        if not 0 <= uv[0, 1] < m.view.camera.height:
            continue
        code = int(pixel_values(m.why[..., None], uv)[0, 0])
        known = float(pixel_values(m.depth[..., None], uv)[0, 0])
        if code:
            reasons[m.reason(code)] += 1
        elif known > 0:
            reasons["hidden behind what is in front" if known < z[0] else "ragged edge"] += 1
        else:
            reasons["nothing drawn"] += 1
    return reasons.most_common(1)[0][0] if reasons else UNSEEN
