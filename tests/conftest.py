"""Shared fixtures: where the real data lie, and small runs of the whole pipeline."""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.warm import Warm

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
# Small enough for a test, large enough that every stage has real work to do.
TINY = [
    "scene.max_side=320",
    "seeder.budget=3000",
    "seeder.max_side=160",
    "seeder.iterations=2",
    "optimiser.iterations=40",
    "optimiser.max_side=160",
    "score_height=120",
]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real photos and scans; skips when it is absent."""
    folder = Path(os.environ.get("CORR_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set CORR_DATA")
    return folder


@cache
def _warm() -> Warm:
    return Warm()


def command(*arguments: str, cwd: Path, timeout: float = 600) -> subprocess.CompletedProcess:
    """Run `python -m …` from a folder, output captured; see `tests.warm`."""
    return _warm().run([str(a) for a in arguments], cwd, timeout)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """The folder in which a small run of five sample photos, one held out, has finished."""
    folder = tmp_path_factory.mktemp("tiny")
    done = command(
        "recon", "run", "scene.use=every:2", "scene.hold_out=photo_05.jpg", "out=run", *TINY,
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "stdout.txt").write_text(done.stdout)
    return folder
