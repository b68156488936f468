"""Choosing pairs of 2,000 photos whose features are made up: time, memory, and what is found.

`pytest -m benchmark -s tests/benchmarks/bench_pair_choice.py`. A camera walks two and a half times
around a block and looks at landmarks; 400 of those it sees are a photo's local features, with noise
and clutter. Pairs that share at least a quarter of what they see are to be found.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from corr.pairs import select_pairs
from corr.retrieval import FEATURES, pool
from corr.store import peak_memory_mb
from tests.conftest import ROOT

PHOTOS, LANDMARKS, DIM, PER_PHOTO = 2000, 160_000, 64, 40
RADIUS_M, ROUNDS, REACH_M, FIELD_DEG = 160.0, 2.5, 12.0, 70.0
# Share of features that are no landmark; noise over signal: two observations of a landmark have a
# cosine of 0.86, where XFeat matches ask for 0.82.
CLUTTER, NOISE = 0.25, 0.4
SHARED = 0.25  # of what either photo sees
MOST_S, MOST_MB, LEAST_RECALL = 60, 4096, 0.95
pytestmark = pytest.mark.benchmark


def trajectory() -> tuple[np.ndarray, np.ndarray]:
    """Places (m) and directions of the cameras; later rounds run beside the first."""
    rng = np.random.default_rng(0)
    turn = 2 * np.pi * ROUNDS * np.arange(PHOTOS) / PHOTOS
    beside = 1.0 * np.floor(turn / (2 * np.pi))
    radius = RADIUS_M + 15 * np.sin(2 * turn) + beside + rng.normal(0, 0.2, PHOTOS)
    place = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1)
    step = np.gradient(place, axis=0)
    heading = np.arctan2(step[:, 1], step[:, 0]) - np.pi / 2 + rng.normal(0, 0.05, PHOTOS)
    return place, np.stack([np.cos(heading), np.sin(heading)], 1)


def seen(place: np.ndarray, direction: np.ndarray) -> list[np.ndarray]:
    """Landmarks that each photo sees, nearest first, as many as it has features for."""
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, 2 * np.pi, LANDMARKS)
    radius = RADIUS_M + 15 * np.sin(2 * angle) + rng.uniform(-14, 14, LANDMARKS)
    landmarks = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    found, most = [], int(FEATURES * (1 - CLUTTER))
    for p, d in zip(place, direction, strict=True):
        ray = landmarks - p
        distance = np.linalg.norm(ray, axis=1)
        ahead = (ray @ d) / np.maximum(distance, 1e-9) > np.cos(np.radians(FIELD_DEG / 2))
        near = np.flatnonzero(ahead & (distance < REACH_M))
        found.append(near[np.argsort(distance[near])][:most])
    return found


def overlapping(found: list[np.ndarray]) -> set[tuple[int, int]]:
    """Pairs that share enough of what either sees."""
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(PHOTOS), [len(f) for f in found])
    columns = np.concatenate(found)
    sees = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (PHOTOS, LANDMARKS))
    common = (sees @ sees.T).tocoo()
    sizes = np.array([len(f) for f in found])
    enough = common.data >= SHARED * np.maximum(sizes[common.row], sizes[common.col])
    pairs = zip(common.row[enough].tolist(), common.col[enough].tolist(), strict=True)
    return {(i, j) for i, j in pairs if i < j}


def write_features(found: list[np.ndarray], folder: Path) -> list[Path]:
    """A file of local features per photo: landmarks with noise, and clutter."""
    rng = np.random.default_rng(2)
    kinds = rng.standard_normal((LANDMARKS, DIM)).astype(np.float32)
    kinds /= np.linalg.norm(kinds, axis=1, keepdims=True)
    files = []
    for k, landmarks in enumerate(found):
        noise = rng.standard_normal((FEATURES, DIM)).astype(np.float32) / np.sqrt(DIM)
        local = NOISE * noise
        local[: len(landmarks)] += kinds[landmarks]
        local[len(landmarks) :] = noise[len(landmarks) :]
        local /= np.linalg.norm(local, axis=1, keepdims=True)
        files.append(folder / f"{k}.npy")
        np.save(files[-1], local)
    return files


def main(folder: Path) -> None:
    """Choose pairs and print what it took; a process of its own, for its peak memory."""
    found = seen(*trajectory())
    files = write_features(found, folder)
    start = perf_counter()
    pairs = select_pairs(pool(files), similar=PER_PHOTO, per_photo=PER_PHOTO)
    seconds = perf_counter() - start
    truth = overlapping(found)
    degree = np.bincount(np.array(pairs).ravel(), minlength=PHOTOS)
    loops = {p for p in truth if p[1] - p[0] > PHOTOS // 10}
    row = {
        "pairs": len(pairs), "true": len(truth), "loops": len(loops),
        "recall": len(truth & set(pairs)) / len(truth),
        "recall_loops": len(loops & set(pairs)) / len(loops),
        "most": int(degree.max()), "mean": float(degree.mean()),
        "true_most": int(np.bincount(np.array(sorted(truth)).ravel()).max()),
        "seconds": seconds, "peak_mb": peak_memory_mb(),
    }  # fmt: skip
    print(json.dumps(row))


def test_pairs_of_2000_photos_are_found(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.bench_pair_choice", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    row = json.loads(done.stdout)
    print(
        f"\n{PHOTOS} photos: {row['pairs']} pairs, {row['mean']:.1f} a photo, at most "
        f"{row['most']}; {100 * row['recall']:.2f} % of {row['true']} true ones, "
        f"{100 * row['recall_loops']:.2f} % of {row['loops']} between rounds; "
        f"{row['seconds']:.1f} s, peak {row['peak_mb']:.0f} MB"
    )
    assert row["recall"] >= LEAST_RECALL
    assert row["most"] <= PER_PHOTO
    assert row["seconds"] < MOST_S
    assert row["peak_mb"] < MOST_MB


if __name__ == "__main__":
    main(Path(sys.argv[1]))
