"""Open3D's RANSAC with one thread: with several, the seed does not decide what comes out.

Open3D 0.19 and later draw samples in TBB's threads, which OMP_NUM_THREADS does not limit; a pair of
3DMatch gave 201 or 214 inliers in turn. TBB is told through its own `global_control`, whose
constructor and destructor the library exports.
"""

import ctypes
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)
MAX_PARALLELISM = 0  # tbb::global_control::max_allowed_parallelism
CREATE = "_ZN3tbb6detail2r16createERNS0_2d114global_controlE"
DESTROY = "_ZN3tbb6detail2r17destroyERNS0_2d114global_controlE"


class _Control(ctypes.Structure):
    """`tbb::detail::d1::global_control`."""

    _fields_ = (
        ("value", ctypes.c_size_t), ("reserved", ctypes.c_ssize_t), ("parameter", ctypes.c_int)
    )  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """TBB computes with the calling thread alone inside."""
    library = _tbb()
    if library is None:
        yield
        return
    control = _Control(1, 0, MAX_PARALLELISM)
    library[CREATE](ctypes.byref(control))
    try:
        yield
    finally:
        library[DESTROY](ctypes.byref(control))


@cache
def _tbb() -> ctypes.CDLL | None:
    """The library that Open3D has loaded; None where it is another one."""
    import open3d

    for path in sorted(Path(open3d.__file__).parent.glob("libtbb.so*")):
        library = ctypes.CDLL(str(path))
        if hasattr(library, CREATE) and hasattr(library, DESTROY):
            return library
    log.warning("Open3D's threads cannot be limited here: RANSAC may differ from run to run")
    return None
