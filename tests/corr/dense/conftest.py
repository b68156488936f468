"""A small network of the dense matcher for tests that need no trained weights."""

import pytest

from corr.matchers.dense.network import Config


@pytest.fixture(autouse=True)
def single_thread(one_thread):
    """Small networks crawl on a busy machine with more."""


@pytest.fixture
def small() -> Config:
    """A configuration that runs in milliseconds."""
    return Config(
        two=8, four=8, eight=16, sixteen=32, layers=1, decoder_layers=1,
        refine_eight=16, refine_four=16, refine_two=16, blocks=1,
    )  # fmt: skip


@pytest.fixture
def small_network(small):
    """`DenseNetwork` of that configuration with random weights, also of the frozen part."""
    import torch
    from kornia.feature import XFeat

    from corr.matchers.dense.network import DenseNetwork

    torch.manual_seed(3)
    network = DenseNetwork(small, XFeat().net)
    # Answers that start at zero would make every comparison trivial.
    for layer in (*[r.answer for r in network.refiners], network.to_factor):
        torch.nn.init.normal_(layer.weight, std=0.05)
    for layer in (network.matcher.to_embedding, network.matcher.to_step):
        torch.nn.init.normal_(layer.weight, std=0.02)
    return network.eval()
