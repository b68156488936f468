"""Voting on matches alone, over a grid of sizes, outliers and noise, beside Open3D's RANSAC.

`pytest -m benchmark -s tests/benchmarks/bench_votes.py`; TRIALS=100 for the papers' number of them.
Points fill a unit cube, wrong matches are uniform; a motion is right within 5 degrees and 0.1.
"""

import os
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from corr.geometry.rigid import rotation_angle
from registration.compatibility import Pairing
from registration.evaluation.tables import table
from registration.voting.hypotheses import VoteSettings, hypothesise

TRIALS = int(os.environ.get("TRIALS", "20"))
SIZES, NOISE = (100, 1000, 5000), (0.0, 0.01, 0.05)
OUTLIERS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
FEWEST = 4  # true matches; fewer than that decide nothing
LIMIT_S = 0.3  # at 5000 matches and 99 % outliers, noise 0.01
pytestmark = pytest.mark.benchmark


@dataclass(frozen=True)
class Cell:
    """Share of right answers and median seconds, ours and RANSAC's."""

    success: float
    seconds: float
    peer_success: float
    peer_seconds: float


def world(rng, n, outliers, sigma):
    R, t = Rotation.random(random_state=int(rng.integers(1 << 31))).as_matrix(), rng.normal(size=3)
    source = rng.uniform(-0.5, 0.5, (n, 3))
    target = source @ R.T + t + rng.normal(0, sigma, (n, 3))
    wrong = rng.permutation(n)[: round(outliers * n)]
    target[wrong] = rng.uniform(-0.87, 0.87, (len(wrong), 3)) + t
    return Pairing(source, target), R, t


def right(R, t, true_R, true_t) -> bool:
    return rotation_angle(R @ true_R.T) < np.radians(5) and np.linalg.norm(t - true_t) < 0.1


def ransac(pairs: Pairing, bound: float):
    import open3d as o3d

    clouds = [o3d.geometry.PointCloud(o3d.utility.Vector3dVector(xyz))
              for xyz in (pairs.source, pairs.target)]  # fmt: skip
    index = o3d.utility.Vector2iVector(np.arange(len(pairs)).repeat(2).reshape(-1, 2))
    registration = o3d.pipelines.registration
    found = registration.registration_ransac_based_on_correspondence(
        *clouds, index, bound, registration.TransformationEstimationPointToPoint(False), 3,
        [registration.CorrespondenceCheckerBasedOnEdgeLength(0.9)],
        registration.RANSACConvergenceCriteria(1_000_000, 0.999),
    ).transformation  # fmt: skip
    return found[:3, :3], found[:3, 3]


def cell(n: int, outliers: float, sigma: float) -> Cell:
    voxel = max(2.5 * sigma, 0.01)
    ok, seconds = np.zeros((TRIALS, 2), bool), np.zeros((TRIALS, 2))
    for k in range(TRIALS):
        pairs, R, t = world(np.random.default_rng([n, k]), n, outliers, sigma)
        start = perf_counter()
        found = hypothesise(pairs, VoteSettings(voxel, shortest=0.25 / voxel))
        middle = perf_counter()
        peer = ransac(pairs, 2 * voxel)
        seconds[k] = middle - start, perf_counter() - middle
        ok[k] = bool(found) and right(found[0].R, found[0].t, R, t), right(*peer, R, t)
    (ours, peers), (fast, slow) = ok.mean(0), np.median(seconds, 0)
    return Cell(ours, fast, peers, slow)


def test_grid():
    hypothesise(world(np.random.default_rng(0), 100, 0.5, 0.01)[0], VoteSettings(0.025))  # compiles
    rows, cells = [], {}
    for sigma in NOISE:
        for n in SIZES:
            for outliers in OUTLIERS:
                if n * (1 - outliers) < FEWEST:
                    continue
                c = cells[n, outliers, sigma] = cell(n, outliers, sigma)
                rows.append(
                    [f"{sigma:g}", str(n), f"{100 * outliers:.0f} %", f"{100 * c.success:.0f} %",
                     f"{c.seconds:.3f}", f"{100 * c.peer_success:.0f} %", f"{c.peer_seconds:.3f}",
                     f"{c.peer_seconds / c.seconds:.1f}"]
                )  # fmt: skip
    head = ["noise", "matches", "wrong", "right", "s", "RANSAC right", "RANSAC s", "RANSAC s / s"]
    print(f"\n{TRIALS} trials a row\n{table(head, rows)}")
    bar = cells[5000, 0.99, 0.01]
    assert bar.success >= 0.95
    assert bar.seconds < LIMIT_S
    assert all(c.success >= c.peer_success - 0.1 for c in cells.values())
