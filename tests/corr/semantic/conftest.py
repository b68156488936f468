"""The tiny data set, made once, and small folders in the layouts of the other benchmarks."""

from pathlib import Path

import pytest

from corr.semantic.datasets.base import PairSet
from corr.semantic.datasets.spair import read_spair
from corr.semantic.datasets.tiny import TinySize, write_tiny

SMALL = TinySize(instances=(2, 2, 2), views=4, side_px=125, frames=4)


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    """A data set of six rendered cows in SPair-71k's layout."""
    root = tmp_path_factory.mktemp("tiny") / "SPair-71k"
    write_tiny(root, size=SMALL)
    return root


@pytest.fixture(scope="session")
def tiny(tiny_root) -> PairSet:
    """Its test split."""
    return read_spair(tiny_root, split="test", size="small")
