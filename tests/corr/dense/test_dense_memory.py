"""Freed memory is kept inside of the context; each case in a process of its own.

What the other tests left in this process's heap would be taken instead of new memory.
"""

import subprocess
import sys

import pytest

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
HEAD = """
import numpy as np
import psutil
from corr.matchers.dense.memory import freed_memory_kept

def resident_mb():
    return psutil.Process().memory_info().rss / 2**20

before = resident_mb()
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", HEAD + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@linux
def test_freed_memory_stays_inside_and_goes_back_at_the_end():
    run("""
with freed_memory_kept():
    blocks = [np.ones(2**20) for _ in range(30)]  # 8 MB each
    assert resident_mb() - before > 200
    del blocks
    assert resident_mb() - before > 150
assert resident_mb() - before < 60
""")


@linux
def test_defaults_come_back_after_an_error():
    run("""
try:
    with freed_memory_kept():
        raise KeyError
except KeyError:
    pass
block = np.ones(8 * 2**20)
del block
assert resident_mb() - before < 40
""")
