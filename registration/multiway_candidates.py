"""Which pairs of scans to try: all, neighbours in the order, or those that look alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree
from tqdm import tqdm

from registration.described import describe
from registration.evaluation.workers import with_sensor
from registration.files import read_cloud

WORDS = 400
SAMPLE = 300  # descriptors per scan that the words are made of
COARSE = 1.4  # voxels of the run per voxel of the descriptors


def candidate_pairs(
    files: Mapping[int, Path], *, kind: str, reach: int, voxel: float, orientation: str
) -> list[tuple[int, int]]:
    """(target, source) of the pairs to try, target first in the order.

    Args:
        files: The scans.
        kind: `all`; `near`: within `reach` in the order; `similar`: the `reach` scans that look
            most like each, and its neighbours in the order.
        reach: See `kind`.
        voxel: Working resolution.
        orientation: Where the sensor stood, as `registration.evaluation.workers` has it.
    """
    indices = list(files)
    if kind == "similar" and len(indices) > reach + 1:
        return similar_pairs(indices, signatures(files, voxel, orientation), reach)
    reach = reach if kind == "near" else len(indices)
    return [(a, b) for k, a in enumerate(indices) for b in indices[k + 1 : k + 1 + reach]]


def signatures(
    files: Mapping[int, Path], voxel: float, orientation: str
) -> Float[np.ndarray, "n words"]:
    """How often each of 400 typical FPFH descriptors occurs in each scan, as unit vectors.

    Square roots of the shares, less their mean over the scans: what all scans have in common does
    not count.

    Source: Sivic and Zisserman, Video Google, ICCV 2003; Arandjelovic and Zisserman, CVPR 2012 for
    the square root.
    """
    rng = np.random.default_rng(0)
    features = []
    for file in tqdm(files.values(), desc="looks of scans"):
        cloud = with_sensor(read_cloud(file), orientation)
        features.append(np.sqrt(describe(cloud, COARSE * voxel).features))
    drawn = [f[rng.permutation(len(f))[:SAMPLE]] for f in features]
    pool = np.vstack(drawn)
    words, _ = kmeans2(pool, min(WORDS, len(pool)), iter=12, minit="++", rng=rng)
    tree = cKDTree(words)
    counts = np.array([np.bincount(tree.query(f)[1], minlength=len(words)) for f in features])
    roots = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))
    centred = roots - roots.mean(0)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)


def similar_pairs(
    indices: Sequence[int], looks: Float[np.ndarray, "n words"], reach: int
) -> list[tuple[int, int]]:
    """(target, source): each scan with the `reach` most alike, and with its neighbours in order."""
    alike = looks @ looks.T
    np.fill_diagonal(alike, -np.inf)
    best = np.argsort(-alike, axis=1, kind="stable")[:, :reach]
    chosen = {(min(a, int(b)), max(a, int(b))) for a, row in enumerate(best) for b in row}
    chosen |= {(k, k + 1) for k in range(len(indices) - 1)}
    return [(indices[a], indices[b]) for a, b in sorted(chosen)]
