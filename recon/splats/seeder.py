"""The seeding stage: dense correspondences and poses to a first set of splats."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corr.store import write_atomic
from recon.scene import Reconstruction

if TYPE_CHECKING:
    from recon.splats.seeds import Seeds

log = logging.getLogger(__name__)


@dataclass
class Seeder:
    """EDGS-style initialisation: many well-placed splats, so that none need be grown later.

    Source: Kotovenko et al., EDGS, arXiv 2504.13204 (dense correspondences instead of
    densification). Own choices: neighbours by covisibility and angle instead of matrix distance;
    matches densified by PatchMatch along the known epipolar geometry; depth, reprojection, normal
    and parallax tests over all photos; splats flattened along the normal; colour by ridge
    regression over the photos that see the point.
    """

    budget: int = 40000  # splats from agreed points; holes come on top
    neighbours: int = 4  # photos that vote on the depth of each photo
    max_side: int = 360  # px, longer side of the depth maps
    iterations: int = 4  # PatchMatch sweeps
    max_cost: float = 0.5  # 1 - NCC above which a patch is not the same surface
    depth_tolerance: float = 0.012  # relative difference of two depths that agree
    reproject_px: float = 1.0  # px of the depth map, forward and backward
    min_angle_deg: float = 1.5  # triangulation angle below which agreement proves nothing
    sh_degree: int = 1  # bands fitted to the colours
    sh_ridge: float = 0.3  # penalty on band 1; more photos outweigh it
    points: str = ""  # a cloud of your own in the cameras' world instead: PLY or COLMAP model
    fill: bool = True  # put faint coarse splats where no photos agree
    fill_stride: int = 4  # px of the depth map between them

    def __post_init__(self):
        if self.budget < 1:
            raise ValueError(f"seeder.budget must be positive, got {self.budget}")
        if self.neighbours < 1:
            raise ValueError(f"seeder.neighbours must be positive, got {self.neighbours}")
        if self.sh_degree not in (0, 1):
            raise ValueError(f"seeder.sh_degree must be 0 or 1, got {self.sh_degree}")

    def seed(
        self,
        reconstruction: Reconstruction,
        pictures: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        folder: Path,
        rng: np.random.Generator,
    ) -> "Seeds":
        """Seed splats and save them: `seeds.ply` (splats), `points.ply` (all agreed points).

        Args:
            reconstruction: Solved cameras and tracks.
            pictures: Undistorted photos by view name, uint8 h w 3 at the view's camera size.
            masks: True where a photo may be used; a missing name means everywhere.
            folder: Where to save.
            rng: Source of all randomness.
        """
        from recon.export.points_ply import write_points
        from recon.export.splat_ply import write_splats
        from recon.splats.seeding import make_seeds

        seeds, points = make_seeds(self, reconstruction, pictures, dict(masks), rng)
        write_splats(folder / "seeds.ply", seeds.gaussians)
        write_points(folder / "points.ply", points.xyz.astype(np.float64), points.rgb)
        np.save(folder / "confidence.npy", seeds.confidence)
        np.save(folder / "exposures.npy", seeds.exposures)
        write_atomic(folder / "seeds.json", json.dumps(seeds.summary, indent=1))
        return seeds
