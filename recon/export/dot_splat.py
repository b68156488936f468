"""The 32-byte `.splat` of the first web viewers: no harmonics, small, read everywhere."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from recon.export.packing import logits_from_bytes
from recon.splats.gaussians import SH_C0, Gaussians

SPLAT_DTYPE = np.dtype(
    [("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rot", "u1", 4)]
)
"""One record of a `.splat` file: world position, standard deviations, sRGB + opacity, quaternion
wxyz as `128 q + 128`."""


def write_dot_splat(path: str | Path, gaussians: Gaussians) -> None:
    """Write the splats as `.splat`, most important first."""
    Path(path).write_bytes(to_dot_splat(gaussians))


def read_dot_splat(path: str | Path) -> Gaussians:
    """Read a `.splat`; the harmonics are of degree 0, sizes of zero become 1e-15.

    Raises:
        ValueError: The file is no whole number of 32-byte records.
    """
    data = Path(path).read_bytes()
    if len(data) % SPLAT_DTYPE.itemsize:
        raise ValueError(f"{path}: {len(data)} bytes are no whole number of 32-byte splats")
    table = np.frombuffer(data, SPLAT_DTYPE)
    rgb = table["rgba"][:, :3].astype(np.float32) / 255
    return Gaussians(
        means=torch.from_numpy(table["position"].copy()),
        log_scales=torch.from_numpy(np.log(np.maximum(table["scale"], 1e-15))),
        quats_wxyz=torch.from_numpy((table["rot"].astype(np.float32) - 128) / 128),
        logit_opacities=logits_from_bytes(table["rgba"][:, 3]),
        sh=torch.from_numpy((rgb - 0.5) / np.float32(SH_C0))[:, None],
    )


def to_dot_splat(gaussians: Gaussians) -> bytes:
    """The splats as `.splat` bytes (32 per splat), most important first.

    Colour is the constant harmonic only; colour, opacity and rotation are rounded to 8 bits.
    Importance is opacity times volume, so that a viewer can stop anywhere. Splats with a number
    that is not finite are left out.
    """
    g = gaussians.select(gaussians.is_finite()).detached().to("cpu")
    volume = g.log_scales.sum(dim=1)
    importance = torch.log(g.opacities.clamp_min(1e-12)) + volume
    g = g.select(torch.argsort(importance, descending=True, stable=True))
    out = np.zeros(len(g), dtype=SPLAT_DTYPE)
    out["position"] = g.means.numpy()
    out["scale"] = g.scales.numpy()
    rgb = (0.5 + SH_C0 * g.sh[:, 0]).clamp(0, 1)
    rgba = torch.cat([rgb, g.opacities[:, None]], dim=1)
    out["rgba"] = (rgba * 255 + 0.5).to(torch.uint8).numpy()
    quats = _positive_unit(g.quats_wxyz.double().numpy())
    out["rot"] = np.clip(np.round(quats * 128 + 128), 0, 255).astype(np.uint8)
    return out.tobytes()


def _positive_unit(quats: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Unit quaternions with w >= 0; zero ones become the identity."""
    norm = np.linalg.norm(quats, axis=1, keepdims=True)
    unit = np.where(norm > 0, quats / np.maximum(norm, 1e-300), [1.0, 0, 0, 0])
    return np.where(unit[:, :1] < 0, -unit, unit)
