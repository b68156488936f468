"""Splats as files: the INRIA-layout PLY that every viewer reads, and the 32-byte `.splat`."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from recon.splats.gaussians import SH_C0, Gaussians

_REQUIRED = (
    *("x", "y", "z", "opacity", "f_dc_0", "f_dc_1", "f_dc_2"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_LARGEST_DEGREE = 4

SPLAT_DTYPE = np.dtype(
    [("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rot", "u1", 4)]
)
"""One record of a `.splat` file: world position, standard deviations, sRGB + opacity, quaternion
wxyz as `128 q + 128`."""


def splat_properties(degree: int) -> list[str]:
    """Property names of the INRIA layout in file order, for spherical harmonics of that degree."""
    rest = 3 * ((degree + 1) ** 2 - 1)
    return [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(rest)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]


def write_splats(
    path: str | Path, gaussians: Gaussians, *, pad_to_degree: int | None = None
) -> None:
    """Write an INRIA-layout binary little-endian PLY.

    Numbers are stored as they are kept: logit opacity, log scale, quaternion wxyz, harmonics
    channel-major (all coefficients of red, then green, then blue). Normals are zeros. float32
    input comes back bit for bit from `read_splats`.

    Args:
        path: Where to write.
        gaussians: Splats in the frame that the file shall have.
        pad_to_degree: Append zero harmonics up to this degree, for readers that expect 3
            (graphdeco-inria/gaussian-splatting issue 31); as stored if None or lower.
    """
    from plyfile import PlyData, PlyElement

    n = len(gaussians)
    g = {k: v.detach().cpu().to(torch.float32).numpy() for k, v in gaussians.tensors().items()}
    degree = max(gaussians.sh_degree, pad_to_degree or 0)
    sh = np.zeros((n, (degree + 1) ** 2, 3), dtype=np.float32)
    sh[:, : g["sh"].shape[1]] = g["sh"]
    columns = np.concatenate(
        [
            g["means"],
            np.zeros((n, 3), dtype=np.float32),
            sh[:, 0],
            sh[:, 1:].transpose(0, 2, 1).reshape(n, 3 * (sh.shape[1] - 1)),
            g["logit_opacities"][:, None],
            g["log_scales"],
            g["quats_wxyz"],
        ],
        axis=1,
    )
    table = np.ascontiguousarray(columns, dtype="<f4").view(
        [(name, "<f4") for name in splat_properties(degree)]
    )
    PlyData([PlyElement.describe(table[:, 0], "vertex")], byte_order="<").write(str(path))


def read_splats(path: str | Path) -> Gaussians:
    """Read an INRIA-layout PLY: any degree, with or without normals, any property order.

    Raises:
        ValueError: The file lacks a property of the layout, or its harmonics are incomplete.
    """
    from plyfile import PlyData

    vertex = PlyData.read(str(path))["vertex"].data
    names = set(vertex.dtype.names)
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise ValueError(f"{path}: not a splat PLY, it lacks {', '.join(missing)}")
    rest = sum(name.startswith("f_rest_") for name in names)
    degree = next((d for d in range(_LARGEST_DEGREE + 1) if 3 * ((d + 1) ** 2 - 1) == rest), None)
    if degree is None or any(f"f_rest_{i}" not in names for i in range(rest)):
        raise ValueError(f"{path}: {rest} f_rest properties are no complete set of harmonics")

    def columns(stem: str, count: int) -> torch.Tensor:
        out = np.empty((len(vertex), count), dtype=np.float32)
        for i in range(count):
            out[:, i] = vertex[f"{stem}_{i}"]
        return torch.from_numpy(out)

    means = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float32)
    sh_rest = columns("f_rest", rest).reshape(len(vertex), 3, rest // 3).transpose(1, 2)
    return Gaussians(
        means=torch.from_numpy(means),
        log_scales=columns("scale", 3),
        quats_wxyz=columns("rot", 4),
        logit_opacities=torch.from_numpy(np.array(vertex["opacity"], dtype=np.float32)),
        sh=torch.cat([columns("f_dc", 3)[:, None], sh_rest], dim=1).contiguous(),
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
