"""k-CyPCK: exact matchers come back, lost points count, the same walks for every matcher."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from corr.options import EvalOptions, parsed_lengths
from corr.semantic.cycles import CyclePck, cycle_pck, cycle_table, starting_points
from corr.semantic.datasets.base import KeypointPair, PairSet, Side
from corr.semantic.features.cache import FeatureCache
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.transfer import Transfer, Transferred

SIZE = 100


class Cells(FeatureCache):
    """Every photo has its own grid, from its name."""

    def get(self, photo):
        rng = np.random.default_rng(list(photo.name.encode()))
        cells = unit(rng.normal(size=(5, 7, 3))).astype(np.float32)
        return FeatureGrid(cells, np.array([10.0, 10]), np.array([12.0, 18]), SIZE, SIZE)


class Moves(Transfer):
    """Every transfer moves points by the same vector; those beyond u = 300 get no answer."""

    by = np.zeros(2)

    def transfer(self, source, target, uv):
        moved = uv + self.by
        moved = np.where(moved[:, :1] > 300, np.nan, moved)
        return Transferred(moved, *(np.zeros(len(uv)) for _ in range(4)))

    def _place(self, similarity, best, target):
        raise AssertionError


def grids() -> FeatureCache:
    return Cells(Path("none"), None, key="k")


def pairs(names="abcd", points=((20.0, 30.0), (290.0, 40.0))) -> PairSet:
    uv = np.array(points, dtype=float).reshape(-1, 2)
    ids = tuple(map(str, range(len(uv))))
    box = np.array([0.0, 0, 50, 100])
    sides = [Side(n, Path(n), SIZE, SIZE, uv=uv, box=box, all_ids=ids, all_uv=uv) for n in names]
    made = tuple(KeypointPair(f"{a.name}{b.name}", "cow", a, b, ids) for a, b in pairwise(sides))
    return PairSet("probe", "test", made, "box")


def moving(u, v) -> Moves:
    transfer = Moves()
    transfer.by = np.array([u, v])
    return transfer


def test_exact_matcher_brings_every_point_back():
    (two, three) = cycle_pck(pairs(), grids(), moving(0, 0), (2, 3), walks=7)
    assert (two.length, two.walks, two.points) == (2, 7, 14)
    assert two.shares == three.shares == (1.0,) * 4


def test_drift_adds_up_over_the_walk_and_is_judged_by_the_extent():
    # 4 pixels a transfer: 8 of the box's 100 after two, 12 after three.
    (two, three) = cycle_pck(pairs(), grids(), moving(0, 4), (2, 3), walks=5)
    assert two.shares == (0.0, 0.0, 1.0, 1.0)
    assert three.shares == (0.0, 0.0, 0.0, 1.0)


def test_lost_points_do_not_come_back():
    (two,) = cycle_pck(pairs(), grids(), moving(5.1, 0), (2,), walks=5)
    assert two.points == 10
    assert two.shares[3] == 0.5  # the point at 290 leaves the photo on its second step


def test_same_seed_sends_every_matcher_on_the_same_walks():
    met = []

    class Watch(Moves):
        def transfer(self, source, target, uv):
            met.append(source.descriptor.tobytes())
            return super().transfer(source, target, uv)

    for _ in range(2):
        cycle_pck(pairs(), grids(), Watch(), (3,), walks=3, seed=4)
    assert met[:9] == met[9:]


def test_category_with_too_few_photos_has_no_walk_and_the_table_says_so():
    (far,) = cycle_pck(pairs("ab"), grids(), moving(0, 0), (3,))
    assert (far.walks, far.points) == (0, 0)
    assert "| 3 | 0 | 0 | - | - | - | - |" in cycle_table([far])
    assert "| 2 | 7 | 14 | 0.0 | 50.0 | 100.0 | 100.0 |" in cycle_table(
        [CyclePck(2, 7, 14, (0.0, 0.5, 1.0, 1.0))]
    )


def test_photo_without_key_points_starts_from_cells_of_the_object():
    side = pairs().pairs[0].source
    assert len(starting_points(side, grids())) == 2
    bare = replace(side, all_ids=(), all_uv=np.zeros((0, 2)))
    uv = starting_points(bare, grids())
    assert 3 < len(uv) <= 20
    assert (uv[:, 0] <= 50).all()  # in its box


def test_lengths_are_read_and_refused():
    assert parsed_lengths("3:2") == (2, 3)
    assert parsed_lengths("") == ()
    for text in ("1", "2:x", "2.5"):
        with pytest.raises(ValueError, match="cycles must be numbers from 2 on with colons"):
            EvalOptions(benchmark="own", data="x", cycles=text)
    with pytest.raises(ValueError, match="cycles must be 2 or more, got 1"):
        cycle_pck(pairs(), grids(), moving(0, 0), (1,))
