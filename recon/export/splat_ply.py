"""Splats as the INRIA-layout PLY that every viewer reads."""

from pathlib import Path

import numpy as np
import torch

from recon.splats.gaussians import Gaussians

_REQUIRED = (
    *("x", "y", "z", "opacity", "f_dc_0", "f_dc_1", "f_dc_2"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_LARGEST_DEGREE = 4


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
