"""Large short-lived arrays without a page fault per page, on Linux."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Numbers and defaults of glibc's mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
DEFAULTS = {TRIM_THRESHOLD: 128 * 1024, TOP_PAD: 128 * 1024, MMAP_MAX: 65536}
KEPT = {TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 64 * 2**20, MMAP_MAX: 0}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, freed memory stays with the process; at the end it goes back to the system.

    By default glibc maps every array of some megabytes anew, and the kernel clears each page at
    its first touch: more than half of the time of the fine stages. Where there is no glibc
    nothing is done.
    """
    library = _glibc()
    if library is None:
        yield
        return
    for name, value in KEPT.items():
        library.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in DEFAULTS.items():
            library.mallopt(name, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    known = all(hasattr(library, name) for name in ("mallopt", "malloc_trim"))
    return library if known else None
