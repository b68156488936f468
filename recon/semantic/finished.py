"""A finished run as feature lifting needs it: views with features and depth, and points."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image as PilImage
from tqdm import tqdm

from corr.errors import UserError
from corr.semantic.features.extractor import Extractor
from recon.colmap_io import read_colmap
from recon.export.points_ply import read_points
from recon.export.splat_ply import read_splats
from recon.render.base import Renderer
from recon.scene import View
from recon.semantic.lift import Look
from recon.splats.gaussians import SH_C0, Gaussians
from recon.surface.depth_maps import draw_depth
from recon.workspace import check_finished

log = logging.getLogger(__name__)
_LEAST_ALPHA = 0.5  # of a pixel whose depth is believed
_MOST_SPREAD = 0.1  # of depth along its ray, relative
_REACH_PX = 5.0  # how far from a click a known depth may lie
_LEAST_OPACITY = 0.3  # of a splat that features are put on


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """The exports of a run, in one frame.

    Args:
        folder: Of the run.
        pictures: Undistorted photos by view name.
        looks: One per view.
        gaussians: The splats.
        extractor: What the features are of, as it was made to fit these photos.
    """

    folder: Path
    pictures: dict[str, UInt8[np.ndarray, "_ _ 3"]]
    looks: tuple[Look, ...]
    gaussians: Gaussians
    extractor: Extractor

    def look(self, photo: str) -> Look:
        """The view of a photo, named as in export/images, the suffix `.png` left out or not.

        Raises:
            UserError: There is no such view.
        """
        names = [look.view.name for look in self.looks]
        for look, name in zip(self.looks, names, strict=True):
            if photo in (name, name.removesuffix(".png")):
                return look
        raise UserError(f"photo={photo} is none of the run's placed photos: {', '.join(names)}")

    def points(
        self, on: str, most: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"] | None]:
        """Places and colours that features are put on.

        Args:
            on: `points`: of export/points.ply; `splats`: centres of the opaque splats.
            most: So many are drawn at random if there are more.
            rng: For drawing.

        Raises:
            UserError: There are none.
        """
        if on == "points":
            xyz, rgb = read_points(self.folder / "export" / "points.ply")
        else:
            opaque = self.gaussians.select(self.gaussians.opacities > _LEAST_OPACITY)
            xyz = opaque.means.numpy().astype(np.float64)
            colour = np.clip(0.5 + SH_C0 * opaque.sh[:, 0].numpy(), 0, 1)
            rgb = np.rint(255 * colour).astype(np.uint8)
        if not len(xyz):
            raise UserError(f"{self.folder} has no {on} to put features on")
        if len(xyz) > most:
            chosen = np.sort(rng.choice(len(xyz), most, replace=False))
            xyz, rgb = xyz[chosen], None if rgb is None else rgb[chosen]
        return xyz, rgb


def read_run(folder: Path, extractor: Extractor, renderer: Renderer) -> FinishedRun:
    """Read a run's exports, compute its photos' features and draw its depths.

    Raises:
        UserError: The folder holds no finished run, or a picture cannot be read.
    """
    check_finished(folder)
    export = folder / "export"
    views = read_colmap(export / "sparse" / "0").views
    pictures = {v.name: _picture(export / "images" / v.name, v) for v in views}
    chosen = extractor.for_collection(list(pictures), pictures.__getitem__)
    gaussians = read_splats(export / "splats.ply")
    looks = []
    for view in tqdm(views, desc=f"features of {folder.name}", unit="photo"):
        depth, alpha, spread = draw_depth(gaussians, view, renderer)
        depth = np.where((alpha >= _LEAST_ALPHA) & (spread <= _MOST_SPREAD), depth, 0)
        grid = chosen.extract(pictures[view.name])
        looks.append(
            Look(view, depth.astype(np.float32), grid, _mask(export / "masks" / view.name))
        )
    return FinishedRun(folder, pictures, tuple(looks), gaussians, chosen)


def clicked(look: Look, uv: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " 3"]:
    """The point of the surface that a pixel of a view shows, or the nearest known one beside it.

    Raises:
        UserError: The pixel lies outside, or no surface is known there.
    """
    camera, view = look.view.camera, look.view
    if not ((uv >= 0) & (uv < [camera.width, camera.height])).all():
        raise UserError(
            f"pixel={uv[0]:g}:{uv[1]:g} lies outside of {view.name} ({camera.width} x "
            f"{camera.height} pixels)"
        )
    rows, columns = np.nonzero(look.depth > 0)
    off = np.hypot(columns + 0.5 - uv[0], rows + 0.5 - uv[1])
    if not len(off) or off.min() > _REACH_PX:
        raise UserError(
            f"no surface is known at pixel={uv[0]:g}:{uv[1]:g} of {view.name}; click where "
            "the splats are opaque"
        )
    depth = look.depth[rows[off.argmin()], columns[off.argmin()]]
    in_camera = camera.unproject(uv[None], np.array([float(depth)]))
    return view.cam_from_world.inverse().apply(in_camera)[0]


def _picture(path: Path, view: View) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with PilImage.open(path) as file:
            rgb = np.asarray(file.convert("RGB"))
    except OSError as error:
        raise UserError(f"{path} cannot be read as a photo ({error})") from None
    if rgb.shape[:2] != (view.camera.height, view.camera.width):
        raise UserError(
            f"{path} is {rgb.shape[1]} x {rgb.shape[0]} pixels, its camera says "
            f"{view.camera.width} x {view.camera.height}; repeat the run"
        )
    return rgb


def _mask(path: Path) -> Bool[np.ndarray, "h w"] | None:
    if not path.is_file():
        return None
    with PilImage.open(path) as file:
        return np.asarray(file.convert("L")) > 127
