"""The device decides which renderer answers."""

import importlib.util
import logging

import torch

from corr.errors import UserError
from recon.render.base import Renderer

log = logging.getLogger(__name__)


def _cuda_obstacle() -> str | None:
    """Why the CUDA renderer cannot run here, with the next step; None if it can."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device; use device=cpu or install a CUDA build of torch"
    if importlib.util.find_spec("gsplat") is None:
        return "gsplat is not installed; pip install 'few-view-recon[cuda]' or use device=cpu"
    return None


def renderer_for(device: str) -> Renderer:
    """The renderer of a device.

    Args:
        device: `cpu`, `cuda`, or `auto`: cuda when a GPU and gsplat are there, else cpu.

    Raises:
        UserError: Unknown device, or cuda where it cannot run.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device must be auto, cpu or cuda, got {device}")
    obstacle = _cuda_obstacle() if device != "cpu" else None
    if device == "cuda" and obstacle:
        raise UserError(f"device=cuda cannot be used: {obstacle}")
    if device == "cpu" or obstacle:
        from recon.render.cpu.renderer import CpuRenderer

        reason = "asked for" if device == "cpu" else str(obstacle).split(";")[0]
        log.info("renderer: cpu (%s)", reason)
        return CpuRenderer()
    from recon.render.cuda import CudaRenderer

    reason = "asked for" if device == "cuda" else "GPU and gsplat found"
    log.info("renderer: cuda, %s (%s)", torch.cuda.get_device_name(), reason)
    return CudaRenderer()


def check_gpus(gpus: int, renderer: Renderer) -> None:
    """Refuse more GPUs than there are.

    Raises:
        UserError: Several are asked for, and the run uses none or this machine has fewer.
    """
    if gpus == 1:
        return
    if renderer.name != "cuda":
        raise UserError(f"gpus={gpus} needs CUDA, this run renders with cpu; leave gpus out")
    there = torch.cuda.device_count()
    if gpus > there:
        raise UserError(f"gpus={gpus}, but torch sees {there}; take gpus={there}")
