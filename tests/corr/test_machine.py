"""Facts about the machine, and the seconds that the compiler took."""

import numpy as np
from numba import njit

from corr.machine import compile_clock


def test_compile_clock_counts_compiling_once_and_nested_kernels_once():
    @njit
    def inner(x):
        return x * 2.5

    @njit
    def outer(x):
        return inner(x) + inner(x + 1)

    with compile_clock() as seconds:
        assert seconds() == 0.0
        outer(np.arange(5.0))
        first = seconds()
        outer(np.arange(7.0))
        assert seconds() == first > 0.0


def test_compile_clock_is_within_the_wall_clock():
    from time import perf_counter

    @njit
    def kernel(x):
        return x.sum() + 1

    start = perf_counter()
    with compile_clock() as seconds:
        kernel(np.arange(5.0))
    assert 0.0 < seconds() <= perf_counter() - start
