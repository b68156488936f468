"""Where the jobs of a sweep run: presets of Hydra's launchers, refused in one line if unusable."""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

OF_PLUGINS = ("joblib", "ray", "submitit_slurm")  # with their own defaults; presets refine them
# What has to be installed for a launcher, by how its name begins.
PLUGINS = {
    "joblib": ("hydra_joblib_launcher", "pip install 'few-view-recon[sweeps]'"),
    "slurm": ("hydra_submitit_launcher", "pip install 'few-view-recon[sweeps]'"),
    "submitit": ("hydra_submitit_launcher", "pip install 'few-view-recon[sweeps]'"),
    "ray": (
        "hydra_ray_launcher",
        "pip install 'few-view-recon[ray]' and pip install --no-deps hydra-ray-launcher",
    ),
}


def unusable(conf: Path, name: str, *, sweep: bool) -> str:
    """Why a launcher cannot be used, one line; empty: it can.

    Args:
        conf: Folder of the YAML files.
        name: Of the preset.
        sweep: Whether several jobs are to run (`-m`).
    """
    presets = launchers(conf)
    if name not in presets:
        return f"hydra/launcher must be one of {', '.join(presets)}, got {name}"
    if not sweep:
        return f"hydra/launcher={name} is for sweeps; add -m and several values, e.g. -m seed=0,1"
    plugin, advice = next(v for k, v in PLUGINS.items() if name.startswith(k))
    if not _installed(plugin):
        return f"hydra/launcher={name} needs a plugin of Hydra: {advice}"
    if "slurm" in name and shutil.which("srun") is None:
        return f"hydra/launcher={name} needs Slurm's srun, which is not on this machine"
    return ""


def launchers(conf: Path) -> Sequence[str]:
    """The names of the plugins' launchers and of our presets."""
    return sorted({*OF_PLUGINS, *(p.stem for p in (conf / "hydra" / "launcher").glob("*.yaml"))})


def _installed(plugin: str) -> bool:
    return (
        find_spec("hydra_plugins") is not None and find_spec(f"hydra_plugins.{plugin}") is not None
    )
