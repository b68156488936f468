"""What shards cost: Ray beside processes of this machine, and the driver of a large evaluation.

`pytest -m benchmark -s tests/benchmarks/bench_sharding.py`; PAIRS=60 takes fewer of 3DMatch's.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from time import perf_counter

import pytest

from corr.sharding import Local, Ray
from corr.sharding.worker import thread_settings
from registration.baselines import Open3DRansac
from registration.evaluate import evaluate, read_benchmark
from registration.evaluation.predictions import read_all
from registration.options_eval import EvalOptions
from tests.conftest import ROOT

PAIRS = int(os.environ.get("PAIRS", "200"))
MOST_OVERHEAD, MOST_BOOKKEEPING, MOST_MB, MOST_GROWTH_MB = 1.15, 0.01, 1024, 100
pytestmark = pytest.mark.benchmark


@pytest.mark.data
def test_ray_costs_little_more_than_processes(data_dir, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    root = data_dir / "3dmatch"
    every = max(1, len(read_benchmark("3dmatch", root, tmp_path).pairs) // PAIRS)
    seconds, found = {}, {}
    for name, executor, workers in (("local", Local(), 2), ("ray", Ray(at_once=4), 1)):
        out = tmp_path / name
        options = EvalOptions(
            "3dmatch", str(root), Open3DRansac(), every=every, executor=executor, workers=workers,
            out=str(out),
        )  # fmt: skip
        start = perf_counter()
        evaluate(options)
        seconds[name] = perf_counter() - start
        none = {"seconds": 0.0, "source_seconds": 0.0, "target_seconds": 0.0}
        found[name] = {k: repr(replace(p, **none)) for k, p in read_all(out).items()}
    ratio = seconds["ray"] / seconds["local"]
    print(
        f"\n{len(found['ray'])} pairs, two processes: local {seconds['local']:.1f} s, Ray "
        f"{seconds['ray']:.1f} s with the start of its cluster, ratio {ratio:.3f}"
    )
    assert found["ray"] == found["local"]
    assert ratio <= MOST_OVERHEAD


def test_driver_of_a_large_evaluation_stays_small(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.sharded_driver", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=1200,
        env={**os.environ, **thread_settings(1)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    row = json.loads(done.stdout)
    print(
        f"\n{row['pairs']} pairs in {row['seconds']:.1f} s of one core, {row['bookkeeping']:.2f} s "
        f"of it for shards, {row['results']:.2f} s for the result file; memory "
        f"{row['rss_quarter_mb']:.0f} MB after a quarter, {row['rss_end_mb']:.0f} MB at the end, "
        f"peak {row['peak_mb']:.0f} MB"
    )
    assert row["peak_mb"] <= MOST_MB
    assert row["rss_end_mb"] - row["rss_quarter_mb"] <= MOST_GROWTH_MB
    assert row["bookkeeping"] / row["seconds"] < MOST_BOOKKEEPING
