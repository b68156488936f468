"""Result folders: made, proven writable, named in sweeps, with a log inside."""

import hashlib
import logging
import re
from pathlib import Path

from corr.errors import UserError
from corr.sweep import sweeping

LONGEST_JOB_NAME = 80  # characters; file systems end at 255


def sweep_job() -> str:
    """A name for this job of a sweep, unique within it; empty in a single run."""
    from hydra.core.hydra_config import HydraConfig

    if not sweeping():
        return ""
    hydra = HydraConfig.get()
    name = re.sub(r"[^\w.,=-]+", "_", hydra.job.override_dirname)
    if len(name) > LONGEST_JOB_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[:LONGEST_JOB_NAME]}_{digest}"
    # Inputs are not in the name (they are paths), so two jobs may differ in them alone.
    return f"{hydra.job.num}_{name}".rstrip("_")


def job_folder(folder: Path, shard: str = "1/1") -> Path:
    """The result folder; in a sweep that of this job, below it, but shards share theirs."""
    own = shard.endswith("/1")
    return folder / job if own and (job := sweep_job()) else folder


def make_folder(folder: Path) -> None:
    """Create the result folder and prove that it can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write_test"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write to {folder} ({reason}); choose another out=…") from None


def log_to(path: Path) -> logging.Handler:
    """Append the log to a file as well."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler
