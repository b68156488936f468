import pytest


@pytest.fixture
def threads():
    """Sets the kernels' thread count and restores it."""
    import numba  # not at the top: tests on a GPU need no compiled kernels

    before = numba.get_num_threads()
    yield lambda count: numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    numba.set_num_threads(before)
