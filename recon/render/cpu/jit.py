"""The numba decorator of the kernels: cached on disk, refreshed when any kernel source changes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_HERE = Path(__file__).resolve().parent


def _stamp() -> str:
    """Digest of everything that is compiled into the kernels."""
    digest = hashlib.sha256()
    for path in [*sorted(_HERE.glob("*.py")), _HERE.parent / "base.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


_STAMP = _stamp()


def kernel(*, parallel: bool = False) -> Callable[[Callable], Any]:
    """Compile on first use, keep the machine code in the cache directory.

    Numba refreshes a cached function when its own file changes. Ours inline one another and the
    constants of `layout` across files, so the stamp compared is the digest of all of them; a
    kernel left over from another tile size would write outside its arrays.
    """

    def decorate(function: Callable) -> Any:
        compiled = njit(cache=True, parallel=parallel, nogil=True, error_model="numpy")
        dispatcher: Any = compiled(function)
        dispatcher._cache._cache_file._source_stamp = _STAMP
        return dispatcher

    return decorate
