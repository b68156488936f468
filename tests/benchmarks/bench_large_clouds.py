"""Two scans of four million points each through the whole command: time and memory.

`pytest -m benchmark -s tests/benchmarks/bench_large_clouds.py`
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "registration"))
import fragment_world as world

from registration.cloud import PointCloud
from registration.files import write_cloud

SPACING = 0.0029  # m
LIMIT_MB = 2500
pytestmark = pytest.mark.benchmark


@pytest.fixture
def scans(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "SPACING", SPACING)
    points, (first, *_, last) = world.room(), world.poses(4)
    counts = []
    for name, pose in (("a", first), ("b", last)):
        xyz = world.fragment(points, pose)
        counts.append(len(xyz))
        write_cloud(tmp_path / f"{name}.ply", PointCloud(xyz))
    np.savetxt(tmp_path / "truth.txt", (last.inverse() @ first).matrix)
    return tmp_path, counts


def test_four_million_points(scans):
    folder, counts = scans
    run = subprocess.run(
        [sys.executable, "-m", "registration", "run", f"source={folder / 'a.ply'}",
         f"target={folder / 'b.ply'}", f"truth={folder / 'truth.txt'}", f"out={folder / 'out'}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    text = run.stdout + run.stderr
    seconds, peak = re.search(r"total ([\d.]+) s, peak memory (\d+) MB", text).groups()
    error = re.search(r"true error: ([\d.]+)°, ([\d.]+)", text)
    print(f"\n{counts[0]} and {counts[1]} points: {seconds} s, {peak} MB, {error[0]}")
    assert min(counts) > 3_500_000
    assert float(peak) < LIMIT_MB
    assert float(error[1]) < 0.5
