"""The pinhole camera: what every stage after undistortion works with."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole without distortion; OpenCV axes (x right, y down, z forward).

    Pixels: the top-left pixel's centre is (0.5, 0.5); the image spans [0, width] x [0, height].
    """

    width: int
    height: int
    K: Float[np.ndarray, "3 3"]

    def __post_init__(self):
        object.__setattr__(self, "K", np.asarray(self.K, dtype=np.float64))
        if self.width < 1 or self.height < 1:
            raise ValueError(f"camera size must be positive, got {self.width}x{self.height}")
        if self.K.shape != (3, 3) or not (self.K[0, 0] > 0 and self.K[1, 1] > 0):
            raise ValueError("K must be 3x3 with positive focal lengths")

    @classmethod
    def simple(cls, width: int, height: int, focal_px: float) -> "Camera":
        """Square pixels, principal point in the middle."""
        return cls(
            width,
            height,
            np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]]),
        )

    def project(
        self, xyz_cam: Float[np.ndarray, "*n 3"]
    ) -> tuple[Float[np.ndarray, "*n 2"], Float[np.ndarray, "*n"]]:
        """Pixels and depths of camera-frame points; depth <= 0 is behind the camera."""
        depth = xyz_cam[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = xyz_cam[..., :2] / depth[..., None]
        uv = xy * np.array([self.K[0, 0], self.K[1, 1]]) + self.K[:2, 2]
        return uv, depth

    def unproject(
        self, uv: Float[np.ndarray, "*n 2"], depth: Float[np.ndarray, "*n"]
    ) -> Float[np.ndarray, "*n 3"]:
        """Camera-frame points at the given depths (z, not ray length)."""
        xy = (uv - self.K[:2, 2]) / np.array([self.K[0, 0], self.K[1, 1]])
        return np.concatenate([xy, np.ones_like(xy[..., :1])], -1) * depth[..., None]

    def resized(self, width: int, height: int) -> "Camera":
        """The same camera with another pixel grid; resizing is a multiplication per axis."""
        scale = np.array([[width / self.width], [height / self.height], [1.0]])
        return Camera(width, height, self.K * scale)
