"""The mesh value."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh with a colour per vertex, in world coordinates.

    Faces are counter-clockwise seen from outside: the side from which the surface was seen.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    rgb: UInt8[np.ndarray, "v 3"]

    def __post_init__(self):
        object.__setattr__(self, "vertices", np.asarray(self.vertices, np.float64).reshape(-1, 3))
        object.__setattr__(self, "faces", np.asarray(self.faces, np.int32).reshape(-1, 3))
        object.__setattr__(self, "rgb", np.asarray(self.rgb, np.uint8).reshape(-1, 3))
        if len(self.rgb) != len(self.vertices):
            raise ValueError(f"a mesh of {len(self.vertices)} vertices got {len(self.rgb)} colours")
        if len(self.faces) and not (
            self.faces.min() >= 0 and self.faces.max() < len(self.vertices)
        ):
            raise ValueError("faces must index vertices")

    @classmethod
    def empty(cls) -> "Mesh":
        """No triangles."""
        return cls(np.zeros((0, 3)), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.uint8))

    @property
    def face_cross(self) -> Float[np.ndarray, "f 3"]:
        """Per face its outward normal, twice the area long."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return np.cross(b - a, c - a)

    @property
    def face_areas(self) -> Float[np.ndarray, " f"]:
        """Area per face, squared scene units."""
        return 0.5 * np.linalg.norm(self.face_cross, axis=1)

    @property
    def vertex_normals(self) -> Float[np.ndarray, "v 3"]:
        """Unit outward normals, area-weighted over the faces around; zero where there are none."""
        corners, cross, count = self.faces.T.ravel(), self.face_cross, len(self.vertices)
        normals = np.empty((count, 3))
        for axis in range(3):
            normals[:, axis] = np.bincount(corners, np.tile(cross[:, axis], 3), minlength=count)
        norm = np.linalg.norm(normals, axis=1, keepdims=True)
        return normals / np.where(norm > 0, norm, 1.0)
