"""A learned descriptor of surface points: multi-scale FPFH, re-embedded with sparse context.

The descriptor of a point is the unit vector of

    P f + head(mlp(f), context),

f the multi-scale FPFH (rotation invariant), P a fixed-size projection that starts as the principal
axes of f, and the context the output of a sparse 3-D U-Net over the voxels, fed with compressed f
and the normals. The head starts at zero, so that training starts at FPFH's quality. The context
is not invariant to rotations by construction; it is trained under random ones.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from corr.training.weights_file import load_network
from registration.features.fpfh import multi_scale_fpfh
from registration.learned.lattice import Lattice, merge_sites
from registration.learned.sparse_conv import SparseConv, SparseConvTransposed

RADII_VOXELS = (3.0, 5.0, 8.0)  # of the FPFH blocks, unless the weights say otherwise
INPUTS = 33 * len(RADII_VOXELS)
OUTPUTS = 32


class ConvNorm(nn.Module):
    """Convolution, normalisation over a site's channels, ReLU."""

    def __init__(self, convolution: SparseConv, channels: int):
        super().__init__()
        self.convolution, self.norm = convolution, nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor, lattice: Lattice) -> torch.Tensor:
        """Features on the convolution's output lattice."""
        return torch.relu(self.norm(self.convolution(x, lattice)))


class ContextNet(nn.Module):
    """Sparse 3-D U-Net with two halvings; channel widths grow to the coarsest."""

    def __init__(self, inputs: int, widths: tuple[int, int, int] = (32, 48, 64)):
        super().__init__()
        a, b, c = widths
        half = (2, 2, 2)
        self.entry = ConvNorm(SparseConv(inputs, a, 3), a)
        self.down1 = ConvNorm(SparseConv(a, b, 3, size=2, strides=half), b)
        self.middle1 = ConvNorm(SparseConv(b, b, 3), b)
        self.down2 = ConvNorm(SparseConv(b, c, 3, size=2, strides=half), c)
        self.middle2 = ConvNorm(SparseConv(c, c, 3), c)
        self.up2 = ConvNorm(SparseConvTransposed(c, b, 3, size=2, strides=half), b)
        self.merge2 = ConvNorm(SparseConv(2 * b, b, 3), b)
        self.up1 = ConvNorm(SparseConvTransposed(b, a, 3, size=2, strides=half), a)

    def forward(self, x: torch.Tensor, fine: Lattice) -> torch.Tensor:
        """Context of each site: entry features beside what comes up from the coarser lattices."""
        middle = fine.down((2, 2, 2))
        coarse = middle.down((2, 2, 2))
        x0 = self.entry(x, fine)
        x1 = self.middle1(self.down1(x0, fine), middle)
        x2 = self.middle2(self.down2(x1, middle), coarse)
        x1 = self.merge2(torch.cat([x1, self.up2(x2, middle)], 1), middle)
        return torch.cat([x0, self.up1(x1, fine)], 1)


class DescriptorNet(nn.Module):
    """FPFH and sparse context to a unit vector of `OUTPUTS` numbers for each point.

    Args:
        context: Use the U-Net; without it only the point's own FPFH is re-embedded.
    """

    def __init__(self, context: bool = True):
        super().__init__()
        self.project = nn.Linear(INPUTS, OUTPUTS)
        self.own = nn.Sequential(nn.Linear(INPUTS, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU())
        self.compress = nn.Linear(INPUTS, 24) if context else None
        self.context = ContextNet(24 + 3 + 1) if context else None
        last = nn.Linear(96, OUTPUTS)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(64 + (64 if context else 0), 96), nn.ReLU(), last)
        self.log_temperature = nn.Parameter(torch.tensor(-2.5))

    def start_from(self, features: torch.Tensor) -> None:
        """Set the projection to the principal axes of (many) FPFH features."""
        mean = features.mean(0)
        axes = torch.linalg.eigh(torch.cov((features - mean).T))[1][:, -OUTPUTS:].T
        with torch.no_grad():
            self.project.weight.copy_(axes)
            self.project.bias.copy_(-axes @ mean)

    def forward(
        self, features: torch.Tensor, xyz: torch.Tensor, normals: torch.Tensor
    ) -> torch.Tensor:
        """Descriptors.

        Args:
            features: n x INPUTS multi-scale FPFH.
            xyz: n x 3 positions in voxels.
            normals: n x 3 unit normals in the same frame.
        """
        own = self.own(features)
        if self.context is not None and self.compress is not None:
            cells = torch.floor(xyz).to(torch.int64)
            sites, rows = merge_sites(torch.cat([torch.zeros_like(cells[:, :1]), cells], 1))
            seen = torch.cat([self.compress(features), normals, torch.ones_like(xyz[:, :1])], 1)
            mean = _means(seen, rows, len(sites))
            own = torch.cat([own, self.context(mean, Lattice(sites))[rows]], 1)
        return nn.functional.normalize(self.project(features) + self.head(own), dim=1)


def _means(values: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """Mean of the values that share a row."""
    total = values.new_zeros(count, values.shape[1]).index_add(0, rows, values)
    return total / torch.bincount(rows, minlength=count)[:, None]


@dataclass
class LearnedDescriptor:
    """Descriptors by a trained network; its weights load on first use.

    None are shipped: trained on simulated rooms it did not match real scans better than the
    histograms it builds on. `train_descriptor` makes them.
    """

    weights: str  # safetensors file
    _trained: tuple[DescriptorNet, tuple[float, ...]] | None = field(default=None, repr=False)

    def describe(
        self, xyz: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"], voxel: float
    ) -> Float[np.ndarray, "n 32"]:
        """Unit descriptors, float32.

        Args:
            xyz: Points about one voxel apart (voxel means), any unit.
            normals: Unit normals, all towards the side that was seen.
            voxel: Spacing of the points, unit of xyz.
        """
        if not len(xyz):
            return np.zeros((0, OUTPUTS), np.float32)
        network, radii = self._loaded()
        features = input_features(xyz, normals, voxel, radii)
        with torch.inference_mode():
            return network(
                torch.from_numpy(features),
                torch.from_numpy(((xyz - xyz.mean(0)) / voxel).astype(np.float32)),
                torch.from_numpy(np.asarray(normals, np.float32)),
            ).numpy()

    def _loaded(self) -> tuple[DescriptorNet, tuple[float, ...]]:
        """The network and the radii of its inputs."""
        if self._trained is None:
            network = DescriptorNet()
            about = load_network(network, Path(self.weights).expanduser())
            radii = tuple(float(r) for r in about.get("radii_voxels", RADII_VOXELS))
            self._trained = network, radii
        return self._trained


def input_features(
    xyz: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    voxel: float,
    radii_voxels: tuple[float, ...] = RADII_VOXELS,
) -> Float[np.ndarray, "n d"]:
    """The network's input for voxel points: multi-scale FPFH, float32."""
    radii = tuple(voxel * r for r in radii_voxels)
    return np.asarray(multi_scale_fpfh(xyz, normals, radii), np.float32)
