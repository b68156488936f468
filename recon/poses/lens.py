"""The camera of the photos as taken: a pinhole with radial distortion."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

MODELS = {"SIMPLE_PINHOLE": 3, "SIMPLE_RADIAL": 4, "RADIAL": 5}


@dataclass(frozen=True)
class Lens:
    """Focal length, principal point and distortion x_d = x (1 + k1 r^2 + k2 r^4).

    Pixels as everywhere: the top-left pixel's centre is (0.5, 0.5). COLMAP's SIMPLE_PINHOLE,
    SIMPLE_RADIAL and RADIAL are this with no, one and two coefficients.
    """

    model: str
    width: float  # px; fractional for a scaled copy of an odd-sized photo
    height: float
    focal_px: float
    cx: float
    cy: float
    k1: float = 0.0
    k2: float = 0.0

    def __post_init__(self):
        if self.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, got {self.model}")
        if not self.focal_px > 0:
            raise ValueError(f"focal length must be positive, got {self.focal_px}")

    @classmethod
    def centred(cls, width: float | int, height: float | int, focal_px: float | int) -> "Lens":
        """Undistorted, principal point in the middle."""
        w, h = float(width), float(height)
        return cls("SIMPLE_PINHOLE", w, h, float(focal_px), w / 2, h / 2)

    @property
    def params(self) -> list[float]:
        """COLMAP's parameter vector."""
        return [self.focal_px, self.cx, self.cy, self.k1, self.k2][: MODELS[self.model]]

    def with_params(self, params: Any) -> "Lens":
        """The same model with other parameters (COLMAP's vector)."""
        names = ("focal_px", "cx", "cy", "k1", "k2")
        values: dict[str, Any] = {n: float(p) for n, p in zip(names, params, strict=False)}
        return replace(self, **values)

    def scaled(self, factor: float) -> "Lens":
        """The same lens in pixels `factor` times as many per side."""
        return replace(
            self,
            width=self.width * factor,
            height=self.height * factor,
            focal_px=self.focal_px * factor,
            cx=self.cx * factor,
            cy=self.cy * factor,
        )

    def _factor(self, r2: np.ndarray) -> np.ndarray:
        return 1 + r2 * (self.k1 + r2 * self.k2)

    def distort(self, xy: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Ideal normalised coordinates to pixels."""
        r2 = (xy**2).sum(-1, keepdims=True)
        return xy * self._factor(r2) * self.focal_px + np.array([self.cx, self.cy])

    def undistort(self, uv: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels to ideal normalised coordinates; Newton steps on the radius."""
        xy = (uv - np.array([self.cx, self.cy])) / self.focal_px
        if self.k1 == 0 and self.k2 == 0:
            return xy
        distorted = np.linalg.norm(xy, axis=-1, keepdims=True)
        r = distorted.copy()
        for _ in range(12):
            r2 = r**2
            slope = 1 + r2 * (3 * self.k1 + 5 * self.k2 * r2)
            r = r - (r * self._factor(r2) - distorted) / np.maximum(slope, 0.1)
        return xy * np.where(distorted > 0, r / np.maximum(distorted, 1e-12), 1.0)

    def undistorted(self) -> "Lens":
        """The same without distortion."""
        return replace(self, model="SIMPLE_PINHOLE", k1=0.0, k2=0.0)

    def plausible(self) -> bool:
        """False for distortion that folds the picture or moves its corners by more than a third."""
        r = np.linspace(0, np.hypot(self.width, self.height) / (2 * self.focal_px), 32)
        moved = r * self._factor(r**2)
        return bool((np.diff(moved) > 0).all() and abs(moved[-1] / r[-1] - 1) < 1 / 3)

    def distortion_px(self) -> float:
        """How far distortion moves a pixel at most."""
        r = np.linspace(0, np.hypot(self.width, self.height) / (2 * self.focal_px), 32)
        return float(np.abs(r * (self._factor(r**2) - 1)).max() * self.focal_px)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
