"""What runs where: versions, commit, processor. Nothing here may make a run fail."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DISTRIBUTION = "few-view-recon"


def package_version(name: str) -> str | None:
    """Installed version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_state(folder: Path | None = None) -> tuple[str | None, bool | None]:
    """Commit of this checkout and whether tracked files were changed; None, None outside git."""
    folder = folder or Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    tracked = _git(folder, "ls-files", "--error-unmatch", ".")
    if commit is None or not tracked:  # e.g. installed below somebody else's repository
        return None, None
    status = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/")
    return commit.strip(), None if status is None else bool(status.strip())


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def compile_clock() -> Iterator[Callable[[], float]]:
    """Seconds that numba's compiler took so far inside the block; kernels kept on disk cost none.

    Only the first run on a machine compiles, so its times are not those of the method.
    """
    from numba.core import event

    with event.install_recorder("numba:compile") as recorder:
        yield lambda: _outermost(recorder.buffer)


def _outermost(buffer: list) -> float:
    """Total length of the spans that lie in no other; kernels compile the kernels they call."""
    total, depth, begun = 0.0, 0, 0.0
    for stamp, one in buffer:
        if one.is_start:
            begun = stamp if depth == 0 else begun
            depth += 1
        elif one.is_end:
            depth -= 1
            total += stamp - begun if depth == 0 else 0.0
    return total
