"""Learned scores for the bins of a Hough space, by the shipped network."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from corr.training.weights_file import load_network, read_about
from registration.learned.shipped import trained_file
from registration.learned.unet6 import VoteUNet, bin_inputs, bin_lattice


def refine_votes(
    keys: Int[np.ndarray, "n 6"], weights: Float[np.ndarray, " n"], *, file: str = ""
) -> Float[np.ndarray, " n"]:
    """How likely each occupied bin holds the true motion: logits, float32.

    Args:
        keys: Indices of the occupied bins (`VoteSpace.indices`), no row twice.
        weights: Their smoothed masses (`VoteSpace.mass`), any scale.
        file: Weights other than the shipped ones.
    """
    if not len(keys):
        return np.zeros(0, np.float32)
    network = _network(file or str(trained_file("votes")))
    with torch.inference_mode():
        lattice = bin_lattice(torch.from_numpy(np.asarray(keys, np.int64)))
        inputs = bin_inputs(torch.from_numpy(np.asarray(weights, np.float64)))
        return network(inputs, lattice).numpy()


@lru_cache(maxsize=4)
def _network(file: str) -> VoteUNet:
    options = read_about(Path(file)).get("options", {})
    network = VoteUNet(options.get("kernel", "cross"))
    load_network(network, Path(file))
    return network
