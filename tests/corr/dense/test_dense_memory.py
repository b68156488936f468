import sys

import numpy as np
import psutil
import pytest

from corr.matchers.dense.memory import freed_memory_kept


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_stays_inside_and_goes_back_at_the_end():
    before = resident_mb()
    with freed_memory_kept():
        blocks = [np.ones(2**20) for _ in range(30)]  # 8 MB each
        assert resident_mb() - before > 200
        del blocks
        kept = resident_mb() - before
    assert kept > 150
    assert resident_mb() - before < 60


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_defaults_come_back_after_an_error():
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    before = resident_mb()
    block = np.ones(8 * 2**20)
    del block
    assert resident_mb() - before < 40
