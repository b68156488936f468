"""The schedule for steps that show several photos each."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from corr.errors import UserError

if TYPE_CHECKING:
    from recon.splats.optimiser import Optimiser

COUNTED = ("iterations", "sh_every", "stop_every", "checkpoint_every")  # in photos shown
RATES = (
    "position_px", "scale_rate", "rotation_rate", "opacity_rate", "colour_rate", "pose_px",
    "exposure_rate",
)  # fmt: skip


def per_batch(options: "Optimiser") -> "Optimiser":
    """Options in steps of `batch` photos: as many photos are shown, by fewer and larger steps.

    Rates grow with the square root of the batch, Adam's memory is as long in photos as before
    (`betas`): the rules of Zhao et al., "On scaling up 3D Gaussian splatting training", ICLR 2025.
    """
    size = max(1, options.batch)
    if size == 1:
        return replace(options, batch=1)
    counted = {name: math.ceil(getattr(options, name) / size) for name in COUNTED}
    rates = {name: getattr(options, name) * math.sqrt(size) for name in RATES}
    return replace(options, batch=size, **counted, **rates)


def betas(options: "Optimiser") -> tuple[float, float]:
    """Adam's decay a step."""
    size = max(1, options.batch)
    return 0.9**size, 0.999**size


def with_batch(options: "Optimiser", gpus: int) -> "Optimiser":
    """Options whose batch is decided: what was asked for, else one photo per GPU.

    Raises:
        UserError: The GPUs cannot share a step evenly.
    """
    batch = options.batch or gpus
    if batch % gpus:
        raise UserError(
            f"optimiser.batch={batch} photos a step cannot be shared evenly by gpus={gpus}; "
            f"take a multiple of {gpus}, or leave it out"
        )
    return replace(options, batch=batch)
