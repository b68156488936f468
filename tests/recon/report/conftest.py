import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from report_world import make_run

from recon.report.metrics import Metrics


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a complete run folder."""
    return lambda **options: make_run(tmp_path / "run", **options)


@pytest.fixture
def edit_metrics() -> Callable[..., None]:
    """Replaces fields in a run's metrics.json."""

    def edit(run: Path, **changes: object) -> None:
        dataclasses.replace(Metrics.read(run), **changes).write(run)

    return edit
