"""A true surface from a file, and which of its points the photos could see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from corr.errors import UserError
from recon.scene import View
from recon.surface.mesh import Mesh
from recon.surface.metrics import mesh_samples

_FACING = 0.05  # cosine below which a point is seen edge-on, which is not seen
_DEEPER = 3.0  # a point farther than this many spacings behind the front one is hidden


@dataclass(frozen=True, eq=False)
class Truth:
    """Points of a true surface, unit normals where they are known, and how dense they lie."""

    xyz: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"] | None
    spacing: float  # median distance to the nearest neighbour

    def select(self, keep: Bool[np.ndarray, " n"]) -> "Truth":
        """Some of the points."""
        normals = None if self.normals is None else self.normals[keep]
        return Truth(self.xyz[keep], normals, self.spacing)


def read_truth(path: str | Path, *, samples: int = 400_000, seed: int = 0) -> Truth:
    """A PLY of points, or any mesh that trimesh reads, which is sampled by area.

    Raises:
        UserError: No such file, or nothing in it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no true surface at {path}; give a PLY of points or a mesh")
    mesh = read_any_mesh(path, may_be_points=True)
    normals: np.ndarray | None
    if mesh is not None:
        xyz, normals = mesh_samples(mesh, count=samples, seed=seed)
    else:
        xyz, normals = _points_with_normals(path)
    finite = np.isfinite(xyz).all(axis=1)
    xyz, normals = xyz[finite], None if normals is None else normals[finite]
    if len(xyz) < 10:
        raise UserError(f"{path} holds {len(xyz)} points; a true surface needs at least 10")
    return Truth(xyz, normals, _spacing(xyz, seed))


def read_any_mesh(path: Path, *, may_be_points: bool = False) -> Mesh | None:
    """Triangles of a PLY, GLB, OBJ, STL or OFF, in the file's own coordinates.

    Args:
        path: The file.
        may_be_points: A file without triangles gives None instead of an error.

    Raises:
        UserError: It cannot be read, or has no triangles.
    """
    import trimesh

    try:
        loaded = trimesh.load(path, process=False)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_geometry()
    except Exception as error:  # trimesh's readers raise whatever they stumble over
        raise UserError(f"{path} cannot be read as a surface ({error})") from None
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        if may_be_points:
            return None
        raise UserError(f"{path} has no triangles; a mesh is needed")
    grey = np.full((len(loaded.vertices), 3), 128, np.uint8)
    return Mesh(loaded.vertices, loaded.faces, grey)


def _points_with_normals(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    from plyfile import PlyData, PlyParseError

    try:
        vertex = PlyData.read(str(path))["vertex"].data
        xyz = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
    except (PlyParseError, KeyError, ValueError) as error:
        raise UserError(f"{path} is neither a mesh nor a PLY of points ({error})") from None
    if not {"nx", "ny", "nz"} <= set(vertex.dtype.names):
        return xyz, None
    normals = np.stack([vertex[n] for n in ("nx", "ny", "nz")], axis=1).astype(np.float64)
    return xyz, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _spacing(xyz: Float[np.ndarray, "n 3"], seed: int) -> float:
    from scipy.spatial import cKDTree

    some = np.random.default_rng(seed).choice(len(xyz), min(len(xyz), 5000), replace=False)
    return float(np.median(cKDTree(xyz).query(xyz[some], k=2)[0][:, 1]))


def count_views(truth: Truth, views: Sequence[View]) -> np.ndarray:
    """Per point how many views see it: in the picture, facing, nothing in front.

    The points themselves are what hides: each view gets a depth picture with pixels about two
    spacings wide, so that a closed surface has no gaps in it. Points within three spacings of the
    front one count as seen, so behind thin things a strip of that width is taken for seen.
    """
    seen = np.zeros(len(truth.xyz), dtype=np.int64)
    for view in views:
        seen += _seen(truth, view)
    return seen


def _seen(truth: Truth, view: View) -> Bool[np.ndarray, " n"]:
    uv, z = view.camera.project(view.cam_from_world.apply(truth.xyz))
    size = np.array([view.camera.width, view.camera.height])
    inside = (z > 0) & (uv >= 0).all(axis=1) & (uv < size).all(axis=1)
    if truth.normals is not None:
        ray = view.cam_from_world.centre - truth.xyz
        cos = (ray * truth.normals).sum(1) / np.maximum(np.linalg.norm(ray, axis=1), 1e-20)
        inside &= cos > _FACING
    if not inside.any():
        return inside
    focal = float(view.camera.K[0, 0])
    pixel = max(1.0, 2.0 * truth.spacing * focal / float(np.median(z[inside])))
    cell = np.floor(uv[inside] / pixel).astype(np.int64)
    shape = np.ceil(size[::-1] / pixel).astype(int)
    front = np.full(shape, np.inf)
    np.minimum.at(front, (cell[:, 1], cell[:, 0]), z[inside])
    limit = front[cell[:, 1], cell[:, 0]] + _DEEPER * truth.spacing * _slope(truth, view, inside)
    out = inside.copy()
    out[inside] = z[inside] <= limit
    return out


def _slope(truth: Truth, view: View, inside: Bool[np.ndarray, " n"]) -> np.ndarray:
    """How much faster depth changes along a slanted surface than along a facing one, 1 to 6."""
    if truth.normals is None:
        return np.full(int(inside.sum()), 2.0)
    ray = view.cam_from_world.centre - truth.xyz[inside]
    cos = (ray * truth.normals[inside]).sum(1) / np.linalg.norm(ray, axis=1)
    return np.clip(1.0 / np.maximum(cos, 1e-6), 1.0, 6.0)
