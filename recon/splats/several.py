"""One training by several processes, one per GPU, on this machine."""

import logging
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from corr.spawning import spawning
from recon.scene import View
from recon.splats.fitted import Fitted
from recon.splats.seeds import Seeds
from recon.splats.team import SeveralProcesses

if TYPE_CHECKING:
    from recon.render.base import Renderer
    from recon.splats.optimiser import Optimiser

BACKENDS = {"cuda": "nccl", "cpu": "gloo"}


@dataclass(frozen=True, eq=False)
class Work:
    """What every process needs to know."""

    options: "Optimiser"
    seeds: Seeds
    views: tuple[View, ...]
    pictures: Mapping[str, np.ndarray]
    masks: Mapping[str, np.ndarray]
    renderer: "Renderer"
    folder: Path
    seed: int

    @property
    def meeting(self) -> Path:
        """The file by which the processes find each other."""
        return self.folder / "meeting"

    @property
    def outcome(self) -> Path:
        """What the first process leaves for the one that started them."""
        return self.folder / "outcome.pkl"


def train_together(work: Work, size: int, kind: str = "cuda") -> Fitted:
    """Train in `size` processes; continues from a checkpoint like one process.

    The first one logs, shows the progress bar and writes checkpoints. When one fails, the others
    are stopped and its traceback is raised.

    Args:
        work: Everything; `options.batch` is a multiple of `size`.
        size: How many processes; with `cuda` the n-th takes the n-th GPU.
        kind: `cuda`, or `cpu` for processes that share the cores.
    """
    with spawning() as context:
        lines = context.Queue()
        listener = QueueListener(lines, *logging.getLogger().handlers, respect_handler_level=True)
        work.meeting.unlink(missing_ok=True)
        listener.start()
        try:
            _run(work, size, kind, lines)
            return pickle.loads(work.outcome.read_bytes())
        finally:
            listener.stop()
            lines.close()
            for left in (work.meeting, work.outcome):
                left.unlink(missing_ok=True)


def _run(work: Work, size: int, kind: str, lines: Any) -> None:
    """All processes to their end; none is left when this one is interrupted."""
    running = spawn(_member, (work, size, kind, lines), nprocs=size, join=False)
    try:
        while not running.join():
            pass
    except BaseException:
        for process in running.processes:
            process.kill()
            process.join()
        raise


def _member(rank: int, work: Work, size: int, kind: str, lines: Any) -> None:
    """The life of one process."""
    from recon.splats.training import train

    root = logging.getLogger()
    root.handlers = [QueueHandler(lines)]
    root.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    if kind == "cuda":
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    device = torch.device("cuda", rank) if kind == "cuda" else torch.device("cpu")
    dist.init_process_group(
        BACKENDS[kind], store=dist.FileStore(str(work.meeting), size), rank=rank, world_size=size,
        device_id=device if kind == "cuda" else None,
    )  # fmt: skip
    fitted = train(
        work.options, work.seeds, work.views, work.pictures, work.masks, work.renderer,
        work.folder, work.seed, SeveralProcesses(device), device,
    )  # fmt: skip
    if rank == 0:
        work.outcome.write_bytes(pickle.dumps(fitted))
    dist.destroy_process_group()  # not when it failed: that would wait for the others
