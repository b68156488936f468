"""Seeds from a point cloud of the user's own: a laser scan, another program's dense points."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from corr.errors import UserError
from recon.dense.fusion import DensePoints
from recon.scene import View

log = logging.getLogger(__name__)
_FEWEST = 50  # seeds below this are no scene
_SUPPORT = 3  # photos that a given point counts as agreed upon by
_NEIGHBOURS = 12  # that span a point's surface


def read_given(
    path: Path,
) -> tuple[Float[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"] | None]:
    """Places and colours of a PLY of points or a COLMAP model's folder.

    Raises:
        UserError: There is nothing that can be read.
    """
    from plyfile import PlyParseError

    from recon.export.points_ply import read_points

    try:
        if path.is_dir():
            import pycolmap

            points = pycolmap.Reconstruction(path).points3D.values()
            xyz = np.array([p.xyz for p in points], dtype=np.float64).reshape(-1, 3)
            return xyz, np.array([p.color for p in points], dtype=np.uint8).reshape(-1, 3)
        return read_points(path)
    except FileNotFoundError:
        raise UserError(f"there is no {path}; correct seeder.points") from None
    except (PlyParseError, KeyError, ValueError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is neither a PLY of points nor a COLMAP model ({reason}); correct "
            "seeder.points"
        ) from None


def given_points(
    path: Path, views: Sequence[View], pictures: Mapping[str, UInt8[np.ndarray, "h w 3"]]
) -> DensePoints:
    """The cloud's points that lie in a photo, as if the photos had agreed on them.

    Normals are those of the nearest neighbours' plane, turned to the nearest camera; colours, where
    the file has none, are of that camera's photo.

    Raises:
        UserError: Hardly a point lies where the photos look: the cloud is of another world.
    """
    xyz, rgb = read_given(path)
    finite = np.isfinite(xyz).all(axis=1)
    xyz, rgb = xyz[finite], None if rgb is None else rgb[finite]
    view, footprint, uv = _nearest_view(xyz, views)
    seen = view >= 0
    if seen.sum() < max(_FEWEST, 0.02 * len(xyz)):
        raise UserError(
            f"only {int(seen.sum())} of {len(xyz)} points of {path} lie in a photo; they must be "
            "of the cameras' world: give those too, poses=known poses.cameras=…"
        )
    xyz, view, footprint, uv = xyz[seen], view[seen], footprint[seen], uv[seen]
    log.info("seeds: %d of %d points of %s lie in photos", len(xyz), len(finite), path)
    colours, detail = _looked_up(views, pictures, view, uv)
    return DensePoints(
        xyz=xyz.astype(np.float32),
        normal=_normals(xyz, np.array([v.cam_from_world.centre for v in views])[view]),
        rgb=colours if rgb is None else rgb[seen],
        support=np.full(len(xyz), _SUPPORT),
        cost=np.zeros(len(xyz), np.float32),
        footprint=footprint.astype(np.float32),
        view=view,
        detail=detail,
    )


def _nearest_view(
    xyz: Float[np.ndarray, "n 3"], views: Sequence[View]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """The view that shows each point largest (-1: none), a pixel's size there, and the pixel."""
    view = np.full(len(xyz), -1)
    footprint = np.full(len(xyz), np.inf)
    where = np.zeros((len(xyz), 2))
    for i, v in enumerate(views):
        uv, z = v.camera.project(v.cam_from_world.apply(xyz))
        inside = (z > 0) & ((uv >= 0) & (uv < [v.camera.width, v.camera.height])).all(axis=1)
        size = z / v.camera.K[0, 0]
        better = inside & (size < footprint)
        view[better], footprint[better], where[better] = i, size[better], uv[better]
    return view, footprint, where


def _looked_up(
    views: Sequence[View],
    pictures: Mapping[str, np.ndarray],
    view: Int[np.ndarray, " n"],
    uv: Float[np.ndarray, "n 2"],
) -> tuple[np.ndarray, np.ndarray]:
    """Colour and grey gradient of each point's pixel."""
    import cv2

    rgb = np.zeros((len(view), 3), np.uint8)
    detail = np.zeros(len(view), np.float32)
    for i, v in enumerate(views):
        mine = np.flatnonzero(view == i)
        column, row = uv[mine].astype(int).T
        picture = pictures[v.name]
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 8
        rgb[mine], detail[mine] = picture[row, column], slope[row, column]
    return rgb, detail


def _normals(xyz: Float[np.ndarray, "n 3"], towards: Float[np.ndarray, "n 3"]) -> np.ndarray:
    """Least direction of the nearest neighbours' spread, turned towards a place."""
    from scipy.spatial import cKDTree

    _, near = cKDTree(xyz).query(xyz, k=min(_NEIGHBOURS, len(xyz)), workers=-1)
    around = xyz[near] - xyz[near].mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    normal = axes[:, :, 0]
    away = np.einsum("ni,ni->n", normal, towards - xyz) < 0
    return np.where(away[:, None], -normal, normal).astype(np.float32)
