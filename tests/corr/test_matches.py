import numpy as np
import pytest

from corr.matches import Matches

RNG = np.random.default_rng(0)
PLAIN = Matches(RNG.random((5, 2)), RNG.random((5, 2)), RNG.random(5), 0.0, 8.0)
FULL = Matches(
    RNG.random((5, 2)),
    RNG.random((5, 2)),
    RNG.random(5),
    id_a=np.arange(5),
    id_b=np.arange(5)[::-1].copy(),
    anchor_a=RNG.random((5, 2)),
    anchor_b=RNG.random((5, 2)),
    sigma_px=0.6,
)


def equal(x: Matches, y: Matches) -> bool:
    return all(np.array_equal(v, vars(y)[k]) for k, v in vars(x).items())


@pytest.mark.parametrize("matches", [PLAIN, FULL, Matches.none()])
def test_matches_survive_a_file(matches, tmp_path):
    matches.save(tmp_path / "m.npz")
    assert equal(Matches.load(tmp_path / "m.npz"), matches)


@pytest.mark.parametrize("matches", [PLAIN, FULL])
def test_swapping_exchanges_every_side(matches):
    swapped = matches.swapped()
    assert np.array_equal(swapped.uv_a, matches.uv_b)
    assert (swapped.grid_a_px, swapped.grid_b_px) == (matches.grid_b_px, matches.grid_a_px)
    assert np.array_equal(swapped.id_a, matches.id_b)
    assert np.array_equal(swapped.anchor_a, matches.anchor_b)
    assert equal(swapped.swapped(), matches)


@pytest.mark.parametrize("keep", [np.array([True, False, True, False, False]), np.array([0, 2])])
def test_selection_picks_every_field(keep):
    chosen = FULL.select(keep)
    assert len(chosen) == 2
    assert np.array_equal(chosen.id_b, FULL.id_b[[0, 2]])
    assert np.array_equal(chosen.anchor_a, FULL.anchor_a[[0, 2]])
    assert PLAIN.select(keep).grid_b_px == 8.0
    assert PLAIN.select(keep).id_a is None
    assert chosen.sigma_px == FULL.swapped().sigma_px == 0.6


@pytest.mark.parametrize("extra", [{}, {"id_a": np.arange(2), "id_b": np.arange(2)}])
def test_fields_of_different_length_are_refused(extra):
    n = 1 if extra else 2
    # With shape checks on (pytest's options) those speak first.
    with pytest.raises((ValueError, TypeError), match=r"same length|Type-check error"):
        Matches(np.zeros((1, 2)), np.zeros((n, 2)), np.zeros(1), **extra)


def test_half_a_registry_is_refused():
    with pytest.raises(ValueError, match="id_a and id_b must be given together"):
        Matches(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros(1), id_a=np.arange(1))
