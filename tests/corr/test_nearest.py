"""Row blocks change nothing: the dual softmax against the whole matrix."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corr.matchers.nearest import distinct, dual_softmax, mutual_nearest


def dense(a, b, scale, threshold, usable_a, usable_b):
    """The definition, with the matrix of all rows and columns."""
    similarity = scale * a @ b.T
    hidden = ~usable_a[:, None] | ~usable_b[None]
    similarity = similarity.masked_fill(hidden, -1e9)
    confidence = similarity.softmax(0) * similarity.softmax(1)
    confidence = confidence.masked_fill(hidden, 0.0)
    best = (confidence == confidence.amax(1, keepdim=True)) & (confidence == confidence.amax(0))
    i, j = (best & (confidence > threshold)).nonzero().T
    return i, j, confidence[i, j]


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
@pytest.mark.parametrize("masked", [False, True])
def test_blocks_give_what_the_whole_matrix_gives(rows, masked):
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(n, 16, generator=generator, dtype=torch.float64) for n in (101, 57))
    b[:40] = a[10:50] + 0.3 * torch.randn(40, 16, generator=generator, dtype=torch.float64)
    usable_a, usable_b = (torch.rand(n, generator=generator) > 0.3 * masked for n in (101, 57))
    i, j, confidence = dense(a, b, 0.7, 0.1, usable_a, usable_b)
    given = {"usable_a": usable_a, "usable_b": usable_b} if masked else {}
    found = dual_softmax(a, b, scale=0.7, threshold=0.1, rows=rows, **given)
    assert 20 < len(i) < 45
    assert found.i.tolist() == i.tolist()
    assert found.j.tolist() == j.tolist()
    assert found.confidence.numpy() == pytest.approx(confidence.numpy())


def test_nothing_usable_matches_nothing():
    a = torch.eye(5)
    none = torch.zeros(5, dtype=torch.bool)
    for sides in ({"usable_a": none}, {"usable_b": none}):
        found = dual_softmax(a, a, scale=10.0, threshold=0.0, **sides)
        assert len(found.i) == len(found.j) == len(found.confidence) == 0


def test_memory_does_not_hold_the_matrix():
    """3000 x 3000 cells would be 36 MB as float32; blocks of 50 rows are 0.6 MB."""
    a = torch.nn.functional.normalize(torch.randn(3000, 8), dim=1)
    sizes = []
    original = torch.Tensor.__matmul__

    def watched(x, y):
        product = original(x, y)
        sizes.append(product.numel())
        return product

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "__matmul__", watched)
        dual_softmax(a, a, scale=20.0, threshold=0.0, rows=50)
    assert max(sizes) == 50 * 3000
    assert np.sum(sizes) == 2 * 3000 * 3000


@pytest.mark.parametrize(("n", "m"), [(300, 300), (61, 129), (5, 64), (1, 1), (40, 3)])
def test_mutual_nearest_are_those_of_the_whole_matrix(n, m):
    """Also where the columns fill no strip."""
    generator = torch.Generator().manual_seed(n)
    a, b = (F.normalize(torch.randn(k, 8, generator=generator), dim=1) for k in (n, m))
    whole = a @ b.T
    best = (whole == whole.amax(1, keepdim=True)) & (whole == whole.amax(0))
    wanted = (best & (whole >= 0.5)).nonzero()
    i, j, similarity = mutual_nearest(a, b, 0.5)
    assert torch.stack([i, j], 1).tolist() == wanted.tolist()
    torch.testing.assert_close(similarity, whole[i, j])


def test_points_with_a_rival_are_not_distinct():
    turns = torch.tensor([0.0, 0.5, 0.52, 2.0])
    others = torch.stack([turns.cos(), turns.sin()], 1)
    own = torch.stack([(turns + 0.009).cos(), (turns + 0.009).sin()], 1)
    assert distinct(own, others, max_ratio=0.7).tolist() == [True, False, True, True]
    assert distinct(own, others, max_ratio=0.99).all()
    assert distinct(own, others[:1], max_ratio=0.5).all()
    assert not len(distinct(own[:0], others, max_ratio=0.5))
