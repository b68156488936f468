"""The camera of the photos as taken: a pinhole with radial and tangential distortion."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

# COLMAP's models as the order of their parameters; the others of a lens are zero (aspect: one).
MODELS = {
    "SIMPLE_PINHOLE": ("focal_px", "cx", "cy"),
    "PINHOLE": ("focal_px", "focal_y_px", "cx", "cy"),
    "SIMPLE_RADIAL": ("focal_px", "cx", "cy", "k1"),
    "RADIAL": ("focal_px", "cx", "cy", "k1", "k2"),
    "OPENCV": ("focal_px", "focal_y_px", "cx", "cy", "k1", "k2", "p1", "p2"),
}
STEPS = 12  # of Newton's method; quadratic, so far more than double precision needs


@dataclass(frozen=True)
class Lens:
    """Focal length, principal point and distortion of OpenCV's model with k1 k2 p1 p2.

    Pixels as everywhere: the top-left pixel's centre is (0.5, 0.5). `focal_px` is along x;
    `aspect` is the focal length along y over that along x.

    Source: the OpenCV manual, calib3d, "Detailed Description" (pinhole model with distortion).
    """

    model: str
    width: float  # px; fractional for a scaled copy of an odd-sized photo
    height: float
    focal_px: float
    cx: float
    cy: float
    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    aspect: float = 1.0

    def __post_init__(self):
        if self.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, got {self.model}")
        if not self.focal_px > 0 or not self.aspect > 0:
            raise ValueError(f"focal length must be positive, got {self.focal_px}, {self.aspect}")

    @classmethod
    def centred(cls, width: float | int, height: float | int, focal_px: float | int) -> "Lens":
        """Undistorted, principal point in the middle."""
        w, h = float(width), float(height)
        return cls("SIMPLE_PINHOLE", w, h, float(focal_px), w / 2, h / 2)

    @property
    def focal_y_px(self) -> float:
        """Focal length along y."""
        return self.focal_px * self.aspect

    @property
    def distorted(self) -> bool:
        """True when a straight line may be bent."""
        return any((self.k1, self.k2, self.p1, self.p2))

    @property
    def params(self) -> list[float]:
        """COLMAP's parameter vector."""
        return [getattr(self, name) for name in MODELS[self.model]]

    def with_params(self, params: Any) -> "Lens":
        """The same model with other parameters (COLMAP's vector)."""
        names = MODELS[self.model]
        values: dict[str, Any] = {n: float(p) for n, p in zip(names, params, strict=True)}
        if "focal_y_px" in values:
            values["aspect"] = values.pop("focal_y_px") / values["focal_px"]
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

    def distort(self, xy: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Ideal normalised coordinates to pixels."""
        return self._bent(xy) * self._focals() + np.array([self.cx, self.cy])

    def undistort(self, uv: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels to ideal normalised coordinates, by Newton steps."""
        xy = (uv - np.array([self.cx, self.cy])) / self._focals()
        if self.p1 or self.p2:
            return self._straight(xy)
        return self._straight_radial(xy) if self.distorted else xy

    def jacobian(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2 2"]:
        """Derivative of `distort` by the ideal coordinates."""
        xx, cross, yy = self._bending(xy)
        rows = np.stack([np.stack([xx, cross], -1), np.stack([cross, yy], -1)], -2)
        return rows * self._focals()[:, None]

    def jacobian_of(
        self, names: Sequence[str], xy: Float[np.ndarray, "n 2"]
    ) -> Float[np.ndarray, "n 2 k"]:
        """Derivative of `distort` by parameters: focal (its logarithm), cx, cy, k1, k2, p1, p2."""
        x, y = xy[:, :1], xy[:, 1:]
        r2, zero, one = x**2 + y**2, np.zeros_like(x), np.ones_like(x)
        f = self._focals()
        columns = {
            "focal": self._bent(xy) * f,
            "cx": np.concatenate([one, zero], -1),
            "cy": np.concatenate([zero, one], -1),
            "k1": xy * r2 * f,
            "k2": xy * r2**2 * f,
            "p1": np.concatenate([2 * x * y, r2 + 2 * y**2], -1) * f,
            "p2": np.concatenate([r2 + 2 * x**2, 2 * x * y], -1) * f,
        }
        return np.stack([columns[n] for n in names], -1) if names else np.zeros((len(xy), 2, 0))

    def shifted(self, change: Mapping[str, float]) -> "Lens":
        """The same lens after a step of the parameters that `jacobian_of` names."""
        values = {n: getattr(self, n) + d for n, d in change.items() if n != "focal"}
        focal_px = self.focal_px * float(np.exp(change.get("focal", 0.0)))
        return replace(self, focal_px=focal_px, **values)

    def change_from(self, other: "Lens") -> dict[str, float]:
        """The step that `shifted` would need to come here from another lens."""
        names = ("cx", "cy", "k1", "k2", "p1", "p2")
        change = {n: getattr(self, n) - getattr(other, n) for n in names}
        return {"focal": float(np.log(self.focal_px / other.focal_px)), **change}

    def undistorted(self) -> "Lens":
        """The same without distortion."""
        model = "SIMPLE_PINHOLE" if self.aspect == 1.0 else "PINHOLE"
        return replace(self, model=model, k1=0.0, k2=0.0, p1=0.0, p2=0.0)

    def plausible(self) -> bool:
        """False for distortion that folds the picture or moves its corners by more than a third."""
        r = self._radii()
        moved = r * self._factor(r**2)
        return bool((np.diff(moved) > 0).all() and abs(moved[-1] / r[-1] - 1) < 1 / 3)

    def distortion_px(self) -> float:
        """How far distortion moves a pixel at most, judged on the picture's diagonals."""
        corner = np.array([self.width, self.height]) / (2 * self._focals())
        xy = np.linspace(-1, 1, 65)[:, None, None] * corner * np.array([[1, 1], [1, -1]])
        return float(np.linalg.norm((self._bent(xy) - xy) * self._focals(), axis=-1).max())

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def _focals(self) -> np.ndarray:
        return np.array([self.focal_px, self.focal_y_px])

    def _radii(self) -> np.ndarray:
        return np.linspace(0, np.hypot(self.width, self.height) / (2 * self.focal_px), 32)

    def _factor(self, r2: np.ndarray) -> np.ndarray:
        return 1 + r2 * (self.k1 + r2 * self.k2)

    def _bent(self, xy: np.ndarray) -> np.ndarray:
        r2 = (xy**2).sum(-1, keepdims=True)
        bent = xy * self._factor(r2)
        if self.p1 or self.p2:
            bent = bent + self._tangential(xy, r2)
        return bent

    def _tangential(self, xy: np.ndarray, r2: np.ndarray) -> np.ndarray:
        x, y = xy[..., :1], xy[..., 1:]
        return np.concatenate(
            [
                2 * self.p1 * x * y + self.p2 * (r2 + 2 * x**2),
                self.p1 * (r2 + 2 * y**2) + 2 * self.p2 * x * y,
            ],
            -1,
        )

    def _straight_radial(self, xy: np.ndarray) -> np.ndarray:
        """One unknown: the radius."""
        distorted = np.linalg.norm(xy, axis=-1, keepdims=True)
        r = distorted.copy()
        for _ in range(STEPS):
            r2 = r**2
            slope = 1 + r2 * (3 * self.k1 + 5 * self.k2 * r2)
            r = r - (r * self._factor(r2) - distorted) / np.maximum(slope, 0.1)
        return xy * np.where(distorted > 0, r / np.maximum(distorted, 1e-12), 1.0)

    def _straight(self, xy: np.ndarray) -> np.ndarray:
        """Two unknowns."""
        found = xy.copy()
        for _ in range(STEPS):
            xx, cross, yy = self._bending(found)
            error = self._bent(found) - xy
            det = np.maximum(xx * yy - cross**2, 0.01)
            step = np.stack(
                [yy * error[..., 0] - cross * error[..., 1],
                 xx * error[..., 1] - cross * error[..., 0]], -1,
            )  # fmt: skip
            found = found - step / det[..., None]
        return found

    def _bending(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Derivative of the distortion, a symmetric 2 x 2 matrix: xx, xy, yy."""
        x, y = xy[..., 0], xy[..., 1]
        r2 = x**2 + y**2
        factor, slope = self._factor(r2), 2 * self.k1 + 4 * self.k2 * r2
        xx = factor + slope * x**2 + 2 * self.p1 * y + 6 * self.p2 * x
        yy = factor + slope * y**2 + 6 * self.p1 * y + 2 * self.p2 * x
        return xx, slope * x * y + 2 * self.p1 * x + 2 * self.p2 * y, yy
