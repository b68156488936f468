"""Rigid and similarity transforms that compose by cancelling frame names."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


def _check_rotation(R: np.ndarray) -> None:
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-6) or np.linalg.det(R) < 0:
        raise ValueError("R must be a rotation matrix (orthonormal, determinant +1)")


@dataclass(frozen=True, eq=False)
class Rigid3:
    """`b_from_a`: maps points of frame a into frame b, `xyz_b = R @ xyz_a + t`."""

    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]

    def __post_init__(self):
        object.__setattr__(self, "R", np.asarray(self.R, dtype=np.float64))
        object.__setattr__(self, "t", np.asarray(self.t, dtype=np.float64))
        if self.R.shape != (3, 3) or self.t.shape != (3,):
            raise ValueError(f"R must be 3x3 and t 3, got {self.R.shape} and {self.t.shape}")
        _check_rotation(self.R)

    @classmethod
    def identity(cls) -> "Rigid3":
        """The transform that changes nothing."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: Float[np.ndarray, "rows 4"]) -> "Rigid3":
        """From a 3x4 or 4x4 matrix `[R | t]`."""
        return cls(np.asarray(matrix)[:3, :3], np.asarray(matrix)[:3, 3])

    @property
    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """The 4x4 homogeneous matrix."""
        m = np.eye(4)
        m[:3, :3], m[:3, 3] = self.R, self.t
        return m

    def apply(self, xyz_a: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Map points from frame a to frame b."""
        return xyz_a @ self.R.T + self.t

    def inverse(self) -> "Rigid3":
        """`a_from_b`."""
        return Rigid3(self.R.T, -self.R.T @ self.t)

    def __matmul__(self, other: "Rigid3") -> "Rigid3":
        """`c_from_b @ b_from_a` is `c_from_a`."""
        return Rigid3(self.R @ other.R, self.R @ other.t + self.t)

    @property
    def centre(self) -> Float[np.ndarray, " 3"]:
        """Origin of frame b in frame a: the camera centre in the world for `cam_from_world`."""
        return -self.R.T @ self.t


@dataclass(frozen=True, eq=False)
class Sim3:
    """`b_from_a` with a scale: `xyz_b = scale * R @ xyz_a + t`."""

    scale: float
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")
        _check_rotation(self.R)

    def apply(self, xyz_a: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Map points from frame a to frame b."""
        return self.scale * (xyz_a @ self.R.T) + self.t

    def inverse(self) -> "Sim3":
        """`a_from_b`."""
        return Sim3(1.0 / self.scale, self.R.T, -(self.R.T @ self.t) / self.scale)

    def apply_to_camera(self, cam_from_a: Rigid3) -> Rigid3:
        """Re-express a camera of world a in world b (`cam_from_b`); depths scale along."""
        R = cam_from_a.R @ self.R.T
        return Rigid3(R, self.scale * cam_from_a.t - R @ self.t)


def rotation_angle(R: Float[np.ndarray, "3 3"]) -> float:
    """Angle of a rotation, radians; exact near zero, where arccos of the trace is not."""
    skew = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    return float(np.arctan2(np.linalg.norm(skew), np.trace(R) - 1.0))


def umeyama(
    xyz_a: Float[np.ndarray, "n 3"], xyz_b: Float[np.ndarray, "n 3"], *, with_scale: bool = True
) -> Sim3:
    """Least-squares `b_from_a` between corresponding points.

    Raises:
        ValueError: Fewer than three points, or all on one line.

    Source: Umeyama, TPAMI 1991, equations 40-43.
    """
    if len(xyz_a) < 3 or len(xyz_a) != len(xyz_b):
        raise ValueError(f"alignment needs 3 or more point pairs, got {len(xyz_a)}, {len(xyz_b)}")
    mean_a, mean_b = xyz_a.mean(0), xyz_b.mean(0)
    a, b = xyz_a - mean_a, xyz_b - mean_b
    U, S, Vt = np.linalg.svd(b.T @ a / len(a))
    if S[1] < 1e-12 * max(S[0], 1e-300):
        raise ValueError("alignment needs points that are not all on one line")
    D = np.diag([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    R = U @ D @ Vt
    scale = float(np.trace(np.diag(S) @ D) / (a**2).sum(1).mean()) if with_scale else 1.0
    return Sim3(scale, R, mean_b - scale * R @ mean_a)
