import numpy as np
import pytest
import torch

from corr.matchers.dense.covariance import (
    covariance,
    negative_log_likelihood,
    precision_factor,
    squared_distance,
)
from corr.matchers.dense.losses import LossWeights, Truth, token_targets, total_loss
from corr.matchers.dense.refiner import correlation
from corr.matchers.dense.warps import doubled, own_positions, sample

CPU = torch.device("cpu")


def pictures(n: int, width: int, height: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def answers(prediction) -> list[torch.Tensor]:
    refined = [t for r in prediction.refined for t in (r.warp, r.logit)]
    return [
        prediction.coarse.warp,
        prediction.coarse.logit,
        *refined,
        prediction.refined[-1].factor,
    ]


@torch.no_grad()
def test_batch_of_pairs_equals_pairs_alone(small_network):
    images = pictures(4, 96, 64)  # pairs (0, 2) and (1, 3)
    together = answers(small_network(images))
    for pair in ([0, 2], [1, 3]):
        for both, alone in zip(together, answers(small_network(images[pair])), strict=True):
            assert (both[pair] - alone).abs().max() < 1e-2


@torch.no_grad()
def test_exchanged_photos_exchange_the_answers(small_network):
    images = pictures(2, 96, 64)
    forth, back = answers(small_network(images)), answers(small_network(images.flip(0)))
    for x, y in zip(forth, back, strict=True):
        assert (x - y.flip(0)).abs().max() < 1e-2


@torch.no_grad()
def test_unusable_tokens_get_no_coarse_match(small_network):
    images = pictures(2, 128, 64)
    usable = torch.ones(2, 4, 8, dtype=torch.bool)
    usable[1, :, 4:] = False
    coarse = small_network(images, usable.flatten(1)).coarse
    for logits in (coarse.similarity, coarse.regressed, coarse.decoded):
        chosen = logits[0].argmax(-1) % 8
        assert int(chosen.max()) < 4
    assert torch.isfinite(coarse.warp).all()


def test_parameters_in_use_all_learn_and_the_frozen_ones_do_not(small_network):
    network = small_network.train()
    prediction = network(pictures(4, 96, 64))
    truth = Truth(
        {s: own_positions(64 // s, 96 // s, s, CPU).expand(4, 2, -1, -1) for s in (2, 4, 8, 16)},
        {s: torch.ones(4, 64 // s, 96 // s, dtype=torch.bool) for s in (2, 4, 8, 16)},
    )
    loss, parts = total_loss(prediction, truth, LossWeights())
    loss.backward()
    learning = {n: p for n, p in network.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning.values())
    still = [n for n, p in learning.items() if float(p.grad.abs().max()) == 0]
    assert still == []
    assert all(p.grad is None for p in network.frozen.parameters())
    assert set(parts) >= {"similarity", "regressed", "decoded", "warp16", "warp2", "covariance"}
    assert not any(k.startswith("frozen") for k in network.own_state())


@pytest.mark.parametrize("bad", ["warp", "hidden"])
def test_loss_counts_visible_places_only(small_network, bad):
    with torch.no_grad():
        prediction = small_network(pictures(2, 96, 64))
    own = {s: own_positions(64 // s, 96 // s, s, CPU).expand(2, 2, -1, -1) for s in (2, 4, 8, 16)}
    visible = {s: torch.ones(2, 64 // s, 96 // s, dtype=torch.bool) for s in (2, 4, 8, 16)}
    for v in visible.values():
        v[:, :, : v.shape[2] // 2] = False
    loss = total_loss(prediction, Truth(own, visible), LossWeights())[0]
    moved = {s: w.clone() for s, w in own.items()}
    for s, w in moved.items():
        half = w.shape[3] // 2
        if bad == "hidden":
            w[..., :half] += 500
        else:
            w[..., half:] += 500
        del s
    other = total_loss(prediction, Truth(moved, visible), LossWeights())[0]
    assert torch.equal(loss, other) == (bad == "hidden")


def test_token_targets_reproduce_positions():
    warp = torch.rand(3, 2, 4, 6) * torch.tensor([90.0, 58.0]).view(1, 2, 1, 1) + 3
    (index, weight), _ = token_targets(warp, torch.ones(3, 4, 6, dtype=torch.bool))
    grid = own_positions(4, 6, 16, CPU).flatten(1).T
    mean = (grid[index] * weight[..., None]).sum(2).transpose(1, 2).unflatten(2, (4, 6))
    inner = warp.clamp(min=torch.tensor([8.0, 8.0]).view(1, 2, 1, 1))
    inner = torch.minimum(inner, torch.tensor([88.0, 56.0]).view(1, 2, 1, 1))
    assert (mean - inner).abs().max() < 1e-3


def test_doubling_keeps_affine_warps_of_displacement():
    own = own_positions(6, 10, 8, CPU)[None]
    fine = own_positions(12, 20, 4, CPU)[None]
    shift = torch.tensor([5.3, -2.1]).view(1, 2, 1, 1)
    assert (doubled(own + shift, 8) - (fine + shift)).abs().max() < 1e-4


def test_sampling_at_own_positions_is_the_identity():
    values = torch.rand(2, 3, 6, 10)
    own = own_positions(6, 10, 4, CPU).expand(2, -1, -1, -1)
    assert (sample(values, own, 4) - values).abs().max() < 1e-5
    moved = sample(values, own + 4.0, 4)
    assert (moved[..., :-1, :-1] - values[..., 1:, 1:]).abs().max() < 1e-5


def test_correlation_finds_the_shift():
    a = torch.nn.functional.normalize(torch.randn(1, 16, 9, 11), dim=1)
    b = torch.roll(a, (1, -2), (2, 3))  # b(y + 1, x - 2) = a(y, x)
    volume = correlation(a, b, 2)
    best = volume[0, :, 3:-3, 3:-3].argmax(0)
    assert volume.shape == (1, 25, 9, 11)
    assert (best == 3 * 5 + 0).all()


@pytest.mark.parametrize(("channels", "radius"), [(5, 1), (24, 2)])
def test_compiled_correlation_equals_that_of_torch(channels, radius):
    a, b = torch.randn(2, 2, channels, 7, 11)
    plain = correlation(a.requires_grad_(), b, radius)
    with torch.no_grad():
        compiled = correlation(a, b, radius)
    assert (plain - compiled).abs().max() < 1e-5


def test_covariance_is_the_inverse_of_the_precision_and_definite():
    raw = torch.randn(4, 3, 5, 6)
    factor = precision_factor(raw)
    xx, xy, yy = covariance(factor).double().unbind(1)
    matrix = torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)
    l11, l21, l22 = factor.double().unbind(1)
    lower = torch.stack([torch.stack([l11, 0 * l11], -1), torch.stack([l21, l22], -1)], -2)
    product = matrix @ (lower @ lower.transpose(-1, -2))
    assert (product - torch.eye(2)).abs().max() < 1e-2
    assert torch.linalg.eigvalsh(matrix).min() > 0
    assert torch.allclose(
        precision_factor(torch.zeros(1, 3, 1, 1))[0, ::2], torch.ones(2, 1, 1), atol=1e-3
    )


def test_likelihood_is_best_at_the_true_covariance():
    generator = torch.Generator().manual_seed(1)
    lower = torch.tensor([[1.2, 0.0], [-0.7, 0.4]])
    error = (lower @ torch.randn(2, 5000, generator=generator)).view(1, 2, 50, 100)
    raw = torch.zeros(1, 3, 1, 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw], max_iter=30)

    def closure():
        optimiser.zero_grad()
        loss = negative_log_likelihood(precision_factor(raw).expand(1, 3, 50, 100), error).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    factor = precision_factor(raw.detach())
    found = covariance(factor)[0, :, 0, 0].numpy()
    want = (lower @ lower.T).numpy()
    assert np.allclose(found, [want[0, 0], want[0, 1], want[1, 1]], rtol=0.1)
    chi = squared_distance(factor.expand(1, 3, 50, 100), error).mean() / 2
    assert abs(float(chi) - 1) < 0.02
