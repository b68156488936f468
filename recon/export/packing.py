"""What the compressed splat formats share: bytes of opacity, quaternions without their largest."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_FAINTEST = 0.25 / 255  # opacities that bytes 0 and 255 are read as: finite, far under one step


def opacity_bytes(logit_opacities: Tensor) -> np.ndarray:
    """Opacities rounded to 8 bits."""
    return np.rint(255 * logit_opacities.double().sigmoid().numpy()).astype(np.uint8)


def logits_from_bytes(opacity: np.ndarray) -> Tensor:
    """Logits of 8-bit opacities; 0 and 255 become a quarter of a step from the end."""
    alpha = np.clip(opacity / 255.0, _FAINTEST, 1 - _FAINTEST)
    return torch.from_numpy(np.log(alpha / (1 - alpha)).astype(np.float32))


def smallest_three(
    quats: Float[np.ndarray, "n 4"],
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Index of the largest component and the other three in order, signed so that it is positive.

    Zero quaternions count as the identity, whose 1 stands first.
    """
    norm = np.linalg.norm(quats, axis=1, keepdims=True)
    unit = np.where(norm > 0, quats / np.maximum(norm, 1e-300), [1.0, 0, 0, 0])
    largest = np.abs(unit).argmax(axis=1)
    rows = np.arange(len(unit))
    unit = np.where(unit[rows, largest][:, None] < 0, -unit, unit)
    others = np.arange(4)[None] != largest[:, None]
    return largest, unit[others].reshape(-1, 3)


def from_smallest_three(
    largest: Int[np.ndarray, " n"], three: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 4"]:
    """The unit quaternions that `smallest_three` took apart."""
    quats = np.empty((len(three), 4))
    others = np.arange(4)[None] != largest[:, None]
    quats[others] = three.ravel()
    missing = np.sqrt(np.clip(1 - (three**2).sum(axis=1), 0, None))
    quats[np.arange(len(three)), largest] = missing
    return quats
