"""What runs where: versions, commit, processor. Nothing here may make a run fail."""

import importlib.metadata
import os
import platform
import subprocess
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
