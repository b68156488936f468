"""The working resolution: from the spacing of distinct points."""

import time

import numpy as np
import pytest

from registration.cloud import PointCloud
from registration.scale import choose_voxel, spacing

XYZ = np.random.default_rng(7).uniform(0, 3, (1203, 3))


@pytest.mark.parametrize("times", [2, 4, 7, 200])
def test_repeated_points_have_the_spacing_of_distinct_ones(times):
    once = spacing(PointCloud(XYZ))
    often = PointCloud(np.tile(XYZ, (times, 1)))
    assert spacing(often) == pytest.approx(once, rel=0.1)
    chosen = choose_voxel(PointCloud(XYZ), PointCloud(XYZ)).voxel
    assert choose_voxel(often, often).voxel == pytest.approx(chosen, rel=0.1)


def test_many_returns_of_the_scanner_itself_do_not_matter():
    with_zeros = PointCloud(np.vstack([np.zeros((3000, 3)), XYZ]))
    assert spacing(with_zeros) == pytest.approx(spacing(PointCloud(XYZ)), rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 5000])
def test_points_in_one_place_have_no_spacing(count):
    with pytest.raises(ValueError, match="scan: all points lie in one place"):
        spacing(PointCloud(np.ones((count, 3)), name="scan"))


def test_two_points_have_a_spacing():
    assert spacing(PointCloud(np.array([[0.0, 0, 0], [0, 2, 0]]))) == 2


@pytest.mark.slow
def test_spacing_of_millions_takes_seconds():
    xyz = np.tile(np.random.default_rng(0).uniform(0, 9, (1_000_000, 3)), (4, 1))
    start = time.perf_counter()
    spacing(PointCloud(xyz))
    assert time.perf_counter() - start < 10  # 1.5 s on one idle core
