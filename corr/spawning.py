"""Fresh processes, whatever the process that starts them was told about starting processes."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext


@contextmanager
def spawning() -> Iterator[BaseContext]:
    """The context of spawned processes.

    A spawned process is told the default way of its parent and looks it up. In the jobs of joblib
    that is `loky`, which a fresh process does not know; so it is `spawn` for as long as this lasts.
    """
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        yield multiprocessing.get_context("spawn")
    finally:
        multiprocessing.set_start_method(before, force=True)
