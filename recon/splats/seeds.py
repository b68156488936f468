"""What the seeding stage hands on; reading it needs neither the matcher nor its kernels."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from recon.splats.gaussians import Gaussians


@dataclass
class Seeds:
    """First splats, how far to trust each, and the photos' exposure gains."""

    gaussians: Gaussians
    confidence: Float32[np.ndarray, " n"]  # (0, 1]; 1 = many photos agree
    exposures: Float[np.ndarray, "v 3"]  # gain per view of the reconstruction, geometric mean 1
    summary: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "Seeds":
        """Read what the seeding stage saved."""
        from recon.export.splat_ply import read_splats

        return cls(
            read_splats(folder / "seeds.ply"),
            np.load(folder / "confidence.npy"),
            np.load(folder / "exposures.npy"),
            json.loads((folder / "seeds.json").read_text()),
        )
