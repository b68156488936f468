"""A mesh beside a true surface: distances both ways, and the scores that are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from recon.surface.mesh import Mesh
from recon.surface.metrics import mesh_samples
from recon.surface.truth import Truth
from recon.surface.tsdf import Box

_MOST_SAMPLES = 3_000_000


@dataclass(frozen=True, eq=False)
class Comparison:
    """Nearest-neighbour distances between samples of a mesh and true points, the truth's unit.

    Cosines are between the normals of the two neighbours, signed; NaN where a normal is unknown.
    """

    samples: Float[np.ndarray, "n 3"]
    to_truth: Float[np.ndarray, " n"]
    sample_cos: Float[np.ndarray, " n"]
    truth: Truth  # the points that ought to be there
    to_mesh: Float[np.ndarray, " m"]
    truth_cos: Float[np.ndarray, " m"]
    diagonal: float  # of the whole truth's 0.5-99.5 percentile box
    ignored_share: float  # mesh samples that were not judged


def compare(
    samples: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    truth: Truth,
    *,
    wanted: Bool[np.ndarray, " m"] | None = None,
    margin: float = 0.05,
) -> Comparison:
    """Distances of mesh samples to the truth, and of the wanted true points to the samples.

    Samples outside the true points' box grown by `margin` diagonals are ignored: the truth knows
    nothing about there. Inside, all count, also where the truth has a hole.

    Args:
        samples: On the mesh, in the truth's frame.
        normals: Of the samples, unit length.
        truth: Everything that is known of the true surface.
        wanted: True points that a perfect mesh would hold; None = all of them.
        margin: Share of the diagonal.
    """
    box, diagonal = Box.around(truth.xyz), Box.around(truth.xyz, percentile=0.5).diagonal
    inside = Box(box.low - margin * diagonal, box.high + margin * diagonal).contains(samples)
    ignored = 1.0 - float(inside.mean()) if len(samples) else 0.0
    samples, normals = samples[inside], normals[inside]
    target = truth if wanted is None else truth.select(wanted)
    to_truth, sample_cos = nearest(samples, normals, truth.xyz, truth.normals)
    to_mesh, truth_cos = nearest(target.xyz, target.normals, samples, normals)
    return Comparison(samples, to_truth, sample_cos, target, to_mesh, truth_cos, diagonal, ignored)


def nearest(
    xyz: np.ndarray, normals: np.ndarray | None, other: np.ndarray, other_normals: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest other point (inf if there is none), cosine of the two normals."""
    from scipy.spatial import cKDTree

    if len(other) == 0:
        return np.full(len(xyz), np.inf), np.full(len(xyz), np.nan)
    distance, index = cKDTree(other).query(xyz, workers=-1)
    if normals is None or other_normals is None:
        return distance, np.full(len(xyz), np.nan)
    return distance, (normals * other_normals[index]).sum(axis=1)


def sampled_evenly(
    mesh: Mesh, *, spacing: float, seed: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points on the mesh, one per `spacing` squared, at most three million, with normals."""
    count = int(np.ceil(float(mesh.face_areas.sum()) / spacing**2))
    return mesh_samples(mesh, count=max(1, min(_MOST_SAMPLES, count)), seed=seed)


@dataclass(frozen=True, eq=False)
class MeshScores:
    """What a comparison says in numbers; distances in the truth's unit, shares in [0, 1]."""

    thresholds: tuple[float, ...]  # distances
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    accuracy: float  # mean distance mesh to truth
    accuracy_median: float
    completeness: float  # mean distance truth to mesh
    completeness_median: float
    chamfer: float  # mean of the two means
    normal_consistency: float | None  # mean |cos| of both ways, within the largest threshold
    flipped: float | None  # share of those mesh samples whose normal points to the wrong side
    diagonal: float
    ignored_share: float


def scores(found: Comparison, thresholds: Sequence[float], *, cap: float = np.inf) -> MeshScores:
    """Scores at the thresholds.

    Args:
        found: The comparison.
        thresholds: Distances in the truth's unit.
        cap: Distances from here on are left out of the means (DTU: 20 mm); they still count as
            misses at the thresholds.
    """
    precision = tuple(_share(found.to_truth <= t) for t in thresholds)
    recall = tuple(_share(found.to_mesh <= t) for t in thresholds)
    f1 = tuple(
        2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)
    )
    near_truth, near_mesh = found.to_truth[found.to_truth < cap], found.to_mesh[found.to_mesh < cap]
    accuracy, completeness = _mean(near_truth), _mean(near_mesh)
    reach = max(thresholds)
    ways = [
        np.abs(c[(d <= reach) & np.isfinite(c)])
        for c, d in ((found.sample_cos, found.to_truth), (found.truth_cos, found.to_mesh))
    ]
    signed = found.sample_cos[(found.to_truth <= reach) & np.isfinite(found.sample_cos)]
    known = all(len(w) for w in ways)
    return MeshScores(
        thresholds=tuple(float(t) for t in thresholds),
        precision=precision,
        recall=recall,
        f1=f1,
        accuracy=accuracy,
        accuracy_median=_median(near_truth),
        completeness=completeness,
        completeness_median=_median(near_mesh),
        chamfer=0.5 * (accuracy + completeness),
        normal_consistency=0.5 * float(ways[0].mean() + ways[1].mean()) if known else None,
        flipped=float((signed < 0).mean()) if known else None,
        diagonal=found.diagonal,
        ignored_share=found.ignored_share,
    )


def _share(hits: Bool[np.ndarray, " n"]) -> float:
    return float(hits.mean()) if len(hits) else 0.0


def _mean(distances: Float[np.ndarray, " n"]) -> float:
    return float(distances.mean()) if len(distances) else float("inf")


def _median(distances: Float[np.ndarray, " n"]) -> float:
    return float(np.median(distances)) if len(distances) else float("inf")
