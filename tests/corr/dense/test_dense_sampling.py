import numpy as np
import torch

from corr.matchers.dense.pairing import Drawn
from corr.matchers.dense.sampling import balanced_sample, kernel_density


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crowd() -> tuple[torch.Tensor, torch.Tensor]:
    """9000 matches on one small patch, 3000 over the rest."""
    patch = 0.1 * torch.rand(9000, 2, generator=generator(1))
    spread = 2 * torch.rand(3000, 2, generator=generator(2)) - 1
    xy = torch.cat([patch, spread])
    return torch.cat([xy, xy], 1), torch.full((12000,), 0.9)


def test_crowds_are_thinned():
    positions, certainty = crowd()
    index = balanced_sample(positions, certainty, 2000, generator())
    assert len(index) == 2000
    assert len(torch.unique(index)) == 2000
    assert (index >= 9000).float().mean() > 0.6  # a quarter of the places


def test_drawing_is_repeatable_and_follows_the_certainty():
    positions, certainty = crowd()
    certainty[::2] = 0
    index = balanced_sample(positions, certainty, 500, generator(3))
    assert torch.equal(index, balanced_sample(positions, certainty, 500, generator(3)))
    assert not torch.equal(index, balanced_sample(positions, certainty, 500, generator(4)))
    assert bool((index % 2 == 1).all())


def test_fewer_places_than_wanted_are_all_taken():
    positions, certainty = crowd()
    certainty[7:] = 0
    assert balanced_sample(positions, certainty, 500, generator()).tolist() == list(range(7))


def test_density_counts_neighbours():
    positions = torch.cat([torch.zeros(400, 4), torch.full((100, 4), 5.0)])
    density = kernel_density(positions, generator())
    assert torch.allclose(density[:400], torch.tensor(400.0), rtol=1e-3)
    assert torch.allclose(density[400:], torch.tensor(100.0), rtol=1e-3)


def test_cells_are_used_once_by_their_surest_match():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 64, (400, 2)), rng.uniform(0, 64, (400, 2))
    once = Drawn(a, b, rng.uniform(0.3, 1, 400)).once_per_cell(8)
    assert 30 < len(once.score) <= 64
    for xy in (once.xy_a, once.xy_b):
        assert len(np.unique(once.cells(xy, 8))) == len(once.score)
    best = Drawn(a[:2] * 0 + 3, b[:2], np.array([0.4, 0.8])).once_per_cell(8)
    assert best.score.tolist() == [0.8]
