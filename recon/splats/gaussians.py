"""The Gaussians value: torch tensors whose names say how the number is stored."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

SH_C0 = 0.28209479177387814  # Y_00, the constant real spherical harmonic


@dataclass
class Gaussians:
    """A set of 3-D Gaussians in world coordinates.

    `sh` holds real spherical-harmonic coefficients per colour channel, degree-major, with the
    sign convention of the usual splat PLY (band 1: -y, z, -x times 0.4886): the colour is
    `max(0, 0.5 + sum_k sh_k Y_k(direction from camera to splat))`.
    """

    means: Tensor  # n 3, world
    log_scales: Tensor  # n 3, log of scene units
    quats_wxyz: Tensor  # n 4, any length; normalised on use; world_from_splat
    logit_opacities: Tensor  # n
    sh: Tensor  # n k 3, k = (degree + 1)^2

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def sh_degree(self) -> int:
        """Degree of the stored spherical harmonics."""
        return int(self.sh.shape[1] ** 0.5 + 0.5) - 1

    @property
    def scales(self) -> Tensor:
        """Standard deviations along the splat's axes, scene units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """Opacities in (0, 1)."""
        return self.logit_opacities.sigmoid()

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def select(self, keep: Tensor) -> "Gaussians":
        """The splats at a boolean mask or at indices."""
        return Gaussians(**{name: value[keep] for name, value in self.tensors().items()})

    def to(self, target: torch.device | torch.dtype | str) -> "Gaussians":
        """Every tensor moved to a device or converted to a dtype."""
        return Gaussians(**{name: value.to(target) for name, value in self.tensors().items()})

    def with_degree(self, degree: int) -> "Gaussians":
        """The same splats with bands at least up to a degree; new ones are zero."""
        missing = (degree + 1) ** 2 - self.sh.shape[1]
        if missing <= 0:
            return self
        zeros = self.sh.new_zeros(len(self), missing, 3)
        return Gaussians(**{**self.tensors(), "sh": torch.cat([self.sh, zeros], dim=1)})

    def detached(self) -> "Gaussians":
        """A copy outside the autograd graph."""
        return Gaussians(**{n: v.detach().clone() for n, v in self.tensors().items()})

    def is_finite(self) -> Tensor:
        """Per splat: are all its numbers finite?"""
        flat = [v.reshape(len(self), -1) for v in self.tensors().values()]
        return torch.isfinite(torch.cat(flat, dim=1)).all(dim=1)
