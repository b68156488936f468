"""Training pairs made ahead by processes of their own.

Drawing scenes is thousands of small operations: one process that does it between two training
steps leaves a GPU idle half of the time. Batch k depends on the seed and k alone, so who makes it
makes no difference.
"""

import queue
import threading
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from corr.matchers.dense.data.pairs import PairOptions, PairSource
from corr.matchers.dense.data.photos import load_photos
from corr.matchers.dense.losses import Truth

AHEAD = 2  # batches per process that wait
PATIENCE_S = 300.0  # for one batch


class BatchesAhead:
    """Asks `workers` processes for batches in order; `get` hands them out in that order.

    Args:
        options: How the data are made.
        seed: Of the data.
        device: Where they are made and wanted.
        photos: Path of the packed pictures; empty = procedural only.
        workers: Processes.
    """

    def __init__(
        self, options: PairOptions, seed: int, device: torch.device, photos: str, workers: int
    ):
        context = mp.get_context("spawn")
        self.device = device
        self.asked = [context.Queue() for _ in range(workers)]
        self.made = [context.Queue(AHEAD) for _ in range(workers)]
        self.ready: list[queue.Queue] = [queue.Queue(1) for _ in range(workers)]
        self.processes = [
            context.Process(
                target=_make, args=(options, seed, str(device), photos, a, m), daemon=True
            )
            for a, m in zip(self.asked, self.made, strict=True)
        ]
        for process in self.processes:
            process.start()
        for k in range(workers):
            threading.Thread(target=self._fetch, args=(k,), daemon=True).start()

    def ask(self, index: int, count: int, width: int, height: int) -> None:
        """Order batch `index`; see `PairSource.batch`."""
        self.asked[index % len(self.asked)].put((index, count, width, height))

    def get(self, index: int) -> tuple[Tensor, Truth]:
        """The batch that was asked for as `index`.

        Raises:
            RuntimeError: The process that makes it has failed.
        """
        found, batch = self.ready[index % len(self.ready)].get(timeout=PATIENCE_S)
        if isinstance(batch, Exception):
            raise RuntimeError(f"making training pairs failed: {batch}") from batch
        if found != index:
            raise RuntimeError(f"batch {index} was asked for, {found} came")
        images, warp, visible = batch
        return images.float(), Truth(warp, visible)

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.terminate()

    def _fetch(self, k: int) -> None:
        while True:
            index, batch = self.made[k].get()
            if not isinstance(batch, Exception):
                batch = _moved(batch, self.device)
            self.ready[k].put((index, batch))


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    return tuple(_moved(v, device) for v in value)


def _make(options: PairOptions, seed: int, device: str, photos: str, asked, made) -> None:
    torch.set_num_threads(1)
    place = torch.device(device)
    source = PairSource(options, seed, place, load_photos(photos, place))
    while True:
        index, count, width, height = asked.get()
        try:
            with torch.no_grad():
                images, truth = source.batch(index, count, width, height)
            batch = (images.half(), truth.warp, truth.visible)
            made.put((index, _moved(batch, torch.device("cpu"))))
        except Exception as error:  # told to the process that waits for it
            made.put((index, RuntimeError(repr(error))))
