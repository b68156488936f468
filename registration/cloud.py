"""A scan as it travels through the package."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from corr.geometry.rigid import Rigid3


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points with what is known of each.

    Args:
        xyz: Positions in the cloud's own frame and unit; every one finite.
        rgb: Colours 0-255, or None.
        normals: Unit normals, or None. Their signs count only where `oriented` is true.
        oriented: The normals point to the side that the scanner saw.
        sensor: Where the scanner stood, in the cloud's frame; None = unknown. Moves with the cloud.
        noise: Standard deviation of each position, the cloud's unit; None = unknown.
        keypoints: Positions that `features` describe; None = those of xyz.
        features: Descriptors given from outside, of any length; None = none.
        name: For messages.
    """

    xyz: Float[np.ndarray, "n 3"]
    rgb: UInt8[np.ndarray, "n 3"] | None = None
    normals: Float[np.ndarray, "n 3"] | None = None
    oriented: bool = False
    sensor: Float[np.ndarray, " 3"] | None = None
    noise: Float[np.ndarray, " n"] | None = None
    keypoints: Float[np.ndarray, "k 3"] | None = None
    features: Float[np.ndarray, "k d"] | None = None
    name: str = "cloud"

    def __post_init__(self):
        if self.xyz.ndim != 2 or self.xyz.shape[1] != 3:
            raise ValueError(f"{self.name}: xyz must be n x 3, got {self.xyz.shape}")
        object.__setattr__(self, "xyz", np.ascontiguousarray(self.xyz, dtype=np.float64))
        if not np.isfinite(self.xyz).all():
            raise ValueError(f"{self.name}: positions must be finite; drop NaN and infinite points")
        for field in ("rgb", "normals", "noise"):
            value = getattr(self, field)
            if value is not None and len(value) != len(self.xyz):
                raise ValueError(f"{self.name}: {len(self.xyz)} points but {len(value)} {field}")
        if self.noise is not None and not (np.isfinite(self.noise) & (self.noise >= 0)).all():
            raise ValueError(f"{self.name}: noise must be 0 or more, the standard deviations")
        if self.features is not None:
            described = self.xyz if self.keypoints is None else self.keypoints
            if self.features.ndim != 2 or len(self.features) != len(described):
                raise ValueError(
                    f"{self.name}: features must have one row for each of {len(described)} "
                    f"key-points, got {self.features.shape}"
                )

    def __len__(self) -> int:
        return len(self.xyz)

    def moved(self, b_from_a: Rigid3, scale: float = 1.0) -> "PointCloud":
        """The same cloud in frame b (`xyz_b = scale * R @ xyz_a + t`), all that it holds."""

        def mapped(xyz: np.ndarray) -> np.ndarray:
            return scale * (xyz @ b_from_a.R.T) + b_from_a.t

        return replace(
            self,
            xyz=mapped(self.xyz),
            normals=None if self.normals is None else self.normals @ b_from_a.R.T,
            sensor=None if self.sensor is None else mapped(self.sensor),
            noise=None if self.noise is None else scale * self.noise,
            keypoints=None if self.keypoints is None else mapped(self.keypoints),
        )

    def taken(self, index: np.ndarray) -> "PointCloud":
        """The points of an index or mask."""

        def pick(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[index]

        return replace(
            self, xyz=self.xyz[index], rgb=pick(self.rgb), normals=pick(self.normals),
            noise=pick(self.noise),
            features=self.features if self.keypoints is not None else pick(self.features),
        )  # fmt: skip
