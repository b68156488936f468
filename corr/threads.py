"""Work in threads, for libraries that let go of Python's lock: results in order, bit for bit."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from corr.machine import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`work` of every item, in the order of the items, on all cores that may be used.

    The first error ends it, and what has not begun is not done.
    """
    pool = ThreadPoolExecutor(available_cores())
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
