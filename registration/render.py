"""Pictures of points without a graphics card: splats into a depth buffer, shaded by depth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image as PilImage
from scipy.spatial import cKDTree

STAGE = (19, 21, 26)  # background, RGB
_SHADE = 42.0  # strength of the darkening behind nearer neighbours
_FAR = 1e3  # log depth of the background
_AMBIENT = 0.45  # light on a surface seen edge-on
_NEIGHBOURS = 12  # that a normal is fitted to
_SUPERSAMPLING = 2
_LARGEST_RADIUS = 7  # pixels of the supersampled picture


@dataclass(frozen=True, eq=False)
class Splats:
    """Points to draw: positions, unit normals of either sign, colours."""

    xyz: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    rgb: UInt8[np.ndarray, "n 3"]


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """A perspective camera that looks at the middle of the picture.

    Args:
        cam_from_world: Rotation, OpenCV axes (x right, y down, z forward).
        centre: What it looks at, in the world.
        distance: How far away it stands, world's unit.
        focal: Focal length, picture heights.
    """

    cam_from_world: Float[np.ndarray, "3 3"]
    centre: Float[np.ndarray, " 3"]
    distance: float
    focal: float = 2.4

    def project(
        self, xyz: Float[np.ndarray, "n 3"], width: int, height: int
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Pixel positions (u, v) and depths."""
        cam = (xyz - self.centre) @ self.cam_from_world.T
        depth = cam[:, 2] + self.distance
        safe = np.maximum(depth, 1e-6 * self.distance)
        uv = cam[:, :2] * (self.focal * height / safe)[:, None] + [width / 2, height / 2]
        return uv, depth


def look(forward: Float[np.ndarray, " 3"], up: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """`cam_from_world` of a camera that looks along `forward` with `up` upwards."""
    z = forward / np.linalg.norm(forward)
    x = np.cross(z, up)
    if np.linalg.norm(x) < 1e-6 * np.linalg.norm(up):
        x = np.cross(z, np.roll(up, 1) + np.array([0.0, 0.0, 1e-3]))
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def framed(
    xyz: Float[np.ndarray, "n 3"],
    cam_from_world: Float[np.ndarray, "3 3"],
    *,
    aspect: float,
    focal: float = 2.4,
) -> Viewpoint:
    """The viewpoint in that direction from which all points but the outermost are seen.

    Args:
        xyz: What is to be seen.
        cam_from_world: The direction.
        aspect: Width over height of the picture.
        focal: Focal length, picture heights.
    """
    cam = xyz @ cam_from_world.T
    low, high = np.quantile(cam, [0.005, 0.995], axis=0)
    half = np.maximum((high - low) / 2, 1e-9 * max(1.0, float(abs(cam).max())))
    middle = (low + high) / 2
    needed = max(half[1], half[0] / aspect) * 2 * focal * 1.06
    return Viewpoint(cam_from_world, middle @ cam_from_world, float(needed + half[2]), focal)


def draw(
    points: Splats, view: Viewpoint, size: tuple[int, int], radius: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw points as discs, nearer ones in front, lit from the viewer, edges darkened by depth.

    Args:
        points: What is drawn.
        view: From where.
        size: Width and height in pixels.
        radius: Radius of the discs, world's unit.

    Source: eye-dome lighting, Boucheny 2009, with four neighbours at two distances.
    """
    width, height = (_SUPERSAMPLING * s for s in size)
    nearest, depth = _splat(points.xyz, view, width, height, radius)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = STAGE
    hit = nearest >= 0
    facing = abs(points.normals @ view.cam_from_world[2])
    light = (_AMBIENT + (1 - _AMBIENT) * facing)[nearest[hit]] * _eye_dome(depth)[hit]
    picture[hit] = points.rgb[nearest[hit]] * light[:, None]
    exact = PilImage.fromarray(picture.round().clip(0, 255).astype(np.uint8))
    return np.asarray(exact.resize(size, PilImage.Resampling.BOX))


def visible(xyz: Float[np.ndarray, "n 3"], view: Viewpoint, radius: float) -> int:
    """How many points a small picture from there shows."""
    nearest, _ = _splat(xyz, view, 160, 130, radius)
    return len(np.unique(nearest)) - 1


def _splat(
    xyz: np.ndarray, view: Viewpoint, width: int, height: int, radius: float
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Index of the nearest point per pixel (-1: none) and its depth (infinite: none)."""
    uv, z = view.project(xyz, width, height)
    radius_px = np.clip(radius * view.focal * height / np.maximum(z, 1e-300), 0.5, _LARGEST_RADIUS)
    reach = int(np.ceil(radius_px.max())) if len(z) else 0
    near = (uv > -reach) & (uv < np.array([width, height]) + reach)
    index = np.flatnonzero((z > 0.01 * view.distance) & near.all(axis=1))
    index = index[
        np.argsort(-z[index], kind="stable")
    ]  # far to near: of equal pixels the last wins
    z, radius_px = z[index], radius_px[index]
    column, row = np.floor(uv[index]).astype(np.int64).T
    pad = 2 * reach  # around the picture, so that no disc leaves the buffers
    wide = width + 2 * pad
    home = (row + pad) * wide + column + pad
    depth = np.full((height + 2 * pad) * wide, np.inf)
    nearest = np.full(len(depth), -1, np.int64)
    smallest = radius_px.min() if len(z) else 0.0
    for dy, dx in np.ndindex(2 * reach + 1, 2 * reach + 1):
        away = np.hypot(dy - reach, dx - reach)
        chosen = np.s_[:] if away <= smallest else np.flatnonzero(away <= radius_px)
        at = home[chosen] + (dy - reach) * wide + dx - reach
        nearer = z[chosen] < depth[at]
        depth[at[nearer]] = z[chosen][nearer]
        nearest[at[nearer]] = index[chosen][nearer]
    inside = np.s_[pad : height + pad, pad : width + pad]
    return nearest.reshape(-1, wide)[inside], depth.reshape(-1, wide)[inside]


def _eye_dome(depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Share of the light that is left where neighbours stand in front of a pixel."""
    h, w = depth.shape
    log_depth = np.full((h, w), _FAR, np.float32)
    known = np.isfinite(depth)
    log_depth[known] = np.log(depth[known])
    dark = np.zeros((h, w), np.float32)
    for step, weight in ((2, 0.6), (5, 0.4)):
        padded = np.pad(log_depth, step, constant_values=_FAR)
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            near = padded[step + dy * step :, step + dx * step :][:h, :w]
            dark += weight * np.clip(log_depth - near, 0, 0.06)
    return np.exp(-_SHADE / 4 * dark).astype(np.float64)


def surface_normals(xyz: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Normals of either sign from every point's nearest neighbours, for shading."""
    if len(xyz) < 3:
        return np.tile([0.0, 0.0, 1.0], (len(xyz), 1))
    _, index = cKDTree(xyz).query(xyz, k=min(_NEIGHBOURS, len(xyz)))
    offset = xyz[index] - xyz[index].mean(axis=1, keepdims=True)
    return np.linalg.eigh(np.einsum("nki,nkj->nij", offset, offset))[1][:, :, 0]
