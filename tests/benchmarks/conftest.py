"""Made-up photos for the benchmarks: those of the tests of photos and matchers."""

from tests.corr.conftest import texture

__all__ = ["texture"]
