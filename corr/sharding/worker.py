"""What runs in a process that computes shards."""

import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from corr.errors import UserError
from corr.sharding.executor import Trouble, Work

# Read when the libraries are loaded, so they are set before a process starts.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

_work: Work | None = None


def thread_settings(count: int) -> dict[str, str]:
    """Environment of a process that computes with so many threads."""
    return dict.fromkeys(THREADS, str(count))


def start(work: Work) -> None:
    """Make ready for shards of this work."""
    global _work
    _work = work
    warnings.filterwarnings("ignore", message="The TBB threading layer")  # another one is taken
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all processes: end, say nothing
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed run must not leave workers behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def compute(items: Sequence[Any]) -> list[bytes] | Trouble:
    """Payloads of a shard with the work of `start`."""
    assert _work is not None, "a process is made ready by start()"
    return guarded(_work, items)


def guarded(work: Work, items: Sequence[Any]) -> list[bytes] | Trouble:
    """Payloads of a shard, or what went wrong."""
    try:
        return counted(list(work(items)), items)
    except Exception as error:
        return trouble_of(error)


def counted(payloads: list[bytes], items: Sequence[Any]) -> list[bytes]:
    """The payloads.

    Raises:
        RuntimeError: There is not one for each item.
    """
    if len(payloads) != len(items):
        raise RuntimeError(f"the work gave {len(payloads)} payloads for {len(items)} items")
    return payloads


def trouble_of(error: Exception) -> Trouble:
    """An exception as something that can be sent and shown."""
    if isinstance(error, UserError):
        return Trouble(str(error), final=True)
    text = " ".join(str(error).split())
    return Trouble(
        f"{type(error).__name__}: {text}" if text else type(error).__name__,
        "".join(traceback.format_exception(error)),
    )
