"""How close a mesh is to a true surface given as points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from corr.geometry import Sim3
from recon.surface.mesh import Mesh
from recon.surface.tsdf import Box

_SAMPLE_SHARE = 0.003  # spacing of the samples on the mesh, share of the diagonal
_MAX_SAMPLES = 400_000


@dataclass(frozen=True, eq=False)
class SurfaceScores:
    """Distances in the true surface's unit; per threshold a share in [0, 1]."""

    diagonal: float  # of the true surface's 0.5-99.5 percentile box
    thresholds: tuple[float, ...]  # shares of the diagonal
    precision: tuple[float, ...]  # scored mesh samples that close to a true point
    recall: tuple[float, ...]  # true points that close to the mesh
    f1: tuple[float, ...]  # harmonic mean of the two
    accuracy_mean: float  # mesh to truth
    accuracy_median: float
    completeness_mean: float  # truth to mesh
    completeness_median: float
    ignored_share: float  # mesh samples outside the scored box

    def as_dict(self) -> dict[str, float]:
        """Flat numbers for `metrics.json`; `f1_at_2` is F1 at 2 % of the diagonal."""
        out = {
            "diagonal": self.diagonal,
            "accuracy_mean": self.accuracy_mean,
            "accuracy_median": self.accuracy_median,
            "completeness_mean": self.completeness_mean,
            "completeness_median": self.completeness_median,
            "ignored_share": self.ignored_share,
        }
        for name in ("precision", "recall", "f1"):
            for threshold, value in zip(self.thresholds, getattr(self, name), strict=True):
                out[f"{name}_at_{100 * threshold:g}"] = value
        return out


def surface_scores(
    mesh: Mesh,
    true_points: Float[np.ndarray, "n 3"],
    *,
    thresholds: Sequence[float] = (0.01, 0.02),
    true_from_mesh: Sim3 | None = None,
    margin: float = 0.05,
    seed: int = 0,
) -> SurfaceScores:
    """Precision, recall and F1 at shares of the scene's diagonal, and mean and median distances.

    The mesh is sampled uniformly by area, 0.3 % of the diagonal apart on average, at most 400 000
    points. Distances are to the nearest point of the other set, so the true points should be denser
    than the smallest threshold.

    Which samples count (DTU's observation mask, made simple): the truth knows nothing beyond its
    box, so samples outside the true points' bounding box grown by `margin` diagonals are ignored.
    Inside, every sample counts, also where the truth has a hole: a surface there is an error.

    Args:
        mesh: The mesh to score.
        true_points: Points of the true surface.
        thresholds: Shares of the diagonal of the true points' 0.5-99.5 percentile box.
        true_from_mesh: Applied to the mesh first. Take it from the cameras (`umeyama` on their
            centres): aligning on the surface itself would hide a wrong scale.
        margin: Share of the diagonal, see above.
        seed: For the samples.

    Returns:
        The scores; all zero (distances infinite) for a mesh without a scored sample.
    """
    from scipy.spatial import cKDTree

    diagonal = Box.around(true_points, percentile=0.5).diagonal
    samples = sampled(mesh, spacing=_SAMPLE_SHARE * diagonal, seed=seed, transform=true_from_mesh)
    box = Box.around(true_points)
    grown = Box(box.low - margin * diagonal, box.high + margin * diagonal)
    inside = grown.contains(samples)
    ignored = 1.0 - float(inside.mean()) if len(samples) else 0.0
    samples = samples[inside]
    if len(samples) == 0:
        to_truth, to_mesh = np.array([np.inf]), np.full(len(true_points), np.inf)
    else:
        to_truth = cKDTree(true_points).query(samples, workers=-1)[0]
        to_mesh = cKDTree(samples).query(true_points, workers=-1)[0]
    precision = tuple(float((to_truth <= t * diagonal).mean()) for t in thresholds)
    recall = tuple(float((to_mesh <= t * diagonal).mean()) for t in thresholds)
    f1 = tuple(
        2 * p * r / (p + r) if p + r > 0 else 0.0 for p, r in zip(precision, recall, strict=True)
    )
    return SurfaceScores(
        diagonal=diagonal,
        thresholds=tuple(thresholds),
        precision=precision,
        recall=recall,
        f1=f1,
        accuracy_mean=float(to_truth.mean()),
        accuracy_median=float(np.median(to_truth)),
        completeness_mean=float(to_mesh.mean()),
        completeness_median=float(np.median(to_mesh)),
        ignored_share=ignored,
    )


def sampled(
    mesh: Mesh, *, spacing: float, seed: int, transform: Sim3 | None = None
) -> Float[np.ndarray, "n 3"]:
    """Points spread uniformly over the (transformed) mesh's area, one per `spacing` squared."""
    if transform is not None:
        mesh = Mesh(transform.apply(mesh.vertices), mesh.faces, mesh.rgb)
    total = float(mesh.face_areas.sum())
    count = int(min(_MAX_SAMPLES, np.ceil(total / spacing**2)))
    return mesh_samples(mesh, count=count, seed=seed)[0]


def mesh_samples(
    mesh: Mesh, *, count: int, seed: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points spread uniformly over the mesh's area, and their faces' outward unit normals."""
    cross = mesh.face_cross
    length = np.linalg.norm(cross, axis=1)
    total = length.sum()
    if not total > 0:
        return np.zeros((0, 3)), np.zeros((0, 3))
    rng = np.random.default_rng(seed)
    # one sample per equal slice of the summed area: even coverage, no empty patches
    where = (np.arange(count) + rng.random(count)) / count * total
    face = np.minimum(np.searchsorted(np.cumsum(length), where), len(length) - 1)
    a, b, c = (mesh.vertices[mesh.faces[face, i]] for i in range(3))
    u, v = rng.random((2, count, 1))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    return a + u * (b - a) + v * (c - a), cross[face] / length[face, None]


def normal_consistency(
    mesh: Mesh,
    true_points: Float[np.ndarray, "n 3"],
    true_normals: Float[np.ndarray, "n 3"],
    *,
    true_from_mesh: Sim3 | None = None,
    reach: float,
) -> float:
    """Mean cosine between the true normals and those of the nearest mesh vertex within `reach`.

    Signed: an inside-out surface scores negative. NaN when no true point is within reach.
    """
    from scipy.spatial import cKDTree

    vertices, normals = mesh.vertices, mesh.vertex_normals
    if true_from_mesh is not None:
        vertices, normals = true_from_mesh.apply(vertices), normals @ true_from_mesh.R.T
    if len(vertices) == 0:
        return float("nan")
    distance, index = cKDTree(vertices).query(true_points, workers=-1)
    near: Bool[np.ndarray, " n"] = distance <= reach
    if not near.any():
        return float("nan")
    return float((normals[index[near]] * true_normals[near]).sum(1).mean())
