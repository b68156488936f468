import os

# Spinning OpenMP workers make every small parallel region slow on a busy machine; read by the
# OpenMP library when torch loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest

from recon.render.reference import ReferenceRenderer


@pytest.fixture(scope="session")
def cpu():
    from recon.render.cpu.renderer import CpuRenderer  # compiled kernels: not needed on a GPU

    return CpuRenderer()


@pytest.fixture(scope="session")
def reference():
    return ReferenceRenderer()


@pytest.fixture
def threads():
    """Sets the kernels' thread count and restores it."""
    import numba

    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)
