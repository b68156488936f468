"""A finished run as a live scene in the browser, by viser."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image as PilImage

from corr.errors import UserError
from recon.export.mesh import read_mesh_ply
from recon.flight import looked_at, up_of
from recon.render.base import Renderer
from recon.render.reference import rotation_from_quaternion
from recon.scene import View
from recon.splats.fitted import SavedSplats, load_fitted
from recon.splats.gaussians import SH_C0, Gaussians
from recon.surface.depth_maps import draw_depth

log = logging.getLogger(__name__)
COLOURS = ("colours", "photos that see it")
_DEPTH_SIDE = 200  # px, of the depth maps that visibility is read from
_AGREES = 0.05  # relative distance of a splat from the surface drawn there
_LEAST_ALPHA = 0.5
_PHOTO_SIDE = 320  # px, of the photos in the frusta
_FRUSTUM = 0.06  # length over the cameras' median distance from what they look at
_STEP_BACK = 1.4  # of the first look, over that photo's distance


def serve(run: Path, host: str, port: int, renderer: Renderer) -> Any:
    """Start a server that shows the run; the caller stops it (`stop()`).

    Raises:
        UserError: viser is not installed, or the port cannot be opened.
    """
    try:
        import viser
    except ImportError:
        raise UserError("viser is not installed; pip install 'few-view-recon[view]'") from None
    saved = load_fitted(run / "4_splats")
    finite = saved.gaussians.select(saved.gaussians.is_finite())
    counts = photos_that_see(finite, saved.views, renderer)
    try:
        server = viser.ViserServer(host=host, port=port, verbose=False)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be opened ({error}); try another port=…") from None
    xyz = finite.means.double().numpy()
    target = looked_at(saved.views, xyz)
    server.scene.set_up_direction(up_of(saved.views))
    splats = _add_splats(server, finite, counts)
    mesh = _add_mesh(server, run / "5_mesh" / "mesh.ply")
    cameras = _add_cameras(server, run, saved, target)
    _add_controls(server, splats, mesh, cameras)
    _start_at(server, saved.views, target)
    return server


def photos_that_see(
    gaussians: Gaussians, views: Sequence[View], renderer: Renderer
) -> Int[np.ndarray, " n"]:
    """In how many photos each splat's centre lies on the surface that is drawn there.

    One photo is a guess, three agree: the plainest measure of how far a splat is to be trusted.
    """
    xyz = gaussians.means.double().numpy()
    counts = np.zeros(len(xyz), dtype=np.int64)
    for view in views:
        factor = min(1.0, _DEPTH_SIDE / max(view.camera.width, view.camera.height))
        width, height = (max(1, round(s * factor)) for s in (view.camera.width, view.camera.height))
        small = View(view.name, view.camera.resized(width, height), view.cam_from_world)
        depth, alpha, _ = draw_depth(gaussians, small, renderer)
        uv, z = small.camera.project(small.cam_from_world.apply(xyz))
        inside = np.flatnonzero((z > 0) & ((uv >= 0) & (uv < [width, height])).all(axis=1))
        column, row = uv[inside].astype(int).T
        drawn = depth[row, column]
        good = (alpha[row, column] > _LEAST_ALPHA) & (np.abs(z[inside] - drawn) < _AGREES * drawn)
        counts[inside[good]] += 1
    return counts


def count_colours(counts: Int[np.ndarray, " n"], most: int) -> UInt8[np.ndarray, "n 3"]:
    """Red where no photo sees the splat, over yellow, to blue where the most do."""
    import cv2

    share = np.clip(counts / max(most, 1), 0, 1)
    bytes_ = np.rint(255 * (0.95 - 0.85 * share)).astype(np.uint8)  # turbo: 0 blue, 1 red
    return cv2.applyColorMap(bytes_[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1].copy()


def covariances(gaussians: Gaussians) -> Float[np.ndarray, "n 3 3"]:
    """World covariance of every splat."""
    R = rotation_from_quaternion(gaussians.quats_wxyz.double())
    scaled = R * gaussians.scales.double()[:, None, :]
    return (scaled @ scaled.transpose(1, 2)).numpy()


def _add_splats(server: Any, gaussians: Gaussians, counts: np.ndarray) -> dict[str, Any]:
    """The same splats in their own colours and by the photos that see them."""
    plain = np.clip(0.5 + SH_C0 * gaussians.sh[:, 0].numpy(), 0, 1)
    sure = count_colours(counts, int(np.quantile(counts, 0.95))) / 255
    shape = {
        "centers": gaussians.means.numpy().astype(np.float32),
        "covariances": covariances(gaussians).astype(np.float32),
        "opacities": gaussians.opacities.numpy().astype(np.float32)[:, None],
    }
    return {
        name: server.scene.add_gaussian_splats(
            f"/splats/{i}", rgbs=rgb.astype(np.float32), visible=i == 0, **shape
        )
        for i, (name, rgb) in enumerate(zip(COLOURS, (plain, sure), strict=True))
    }


def _add_mesh(server: Any, path: Path) -> Any:
    """The mesh with its colours, hidden at first; None where it has no triangles."""
    import trimesh

    mesh = read_mesh_ply(path)
    if not len(mesh.faces):
        return None
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=mesh.rgb, process=False)
    return server.scene.add_mesh_trimesh("/mesh", body, visible=False)


def _add_cameras(server: Any, run: Path, saved: SavedSplats, target: np.ndarray) -> list[Any]:
    """Frusta with their photos; a click on one looks through it."""
    from scipy.spatial.transform import Rotation

    away = [np.linalg.norm(v.cam_from_world.centre - target) for v in saved.views]
    handles = []
    for view in saved.views:
        world_from_cam = view.cam_from_world.inverse()
        wxyz = np.roll(Rotation.from_matrix(world_from_cam.R).as_quat(), 1)
        camera = view.camera
        fov = 2 * float(np.arctan(camera.height / (2 * camera.K[1, 1])))
        handle = server.scene.add_camera_frustum(
            f"/cameras/{view.name}", fov, camera.width / camera.height,
            scale=_FRUSTUM * float(np.median(away)), thickness=2.0, thickness_units="screen",
            image=_photo(run / "2_cameras" / "images" / f"{view.name}.png"), format="jpeg",
            wxyz=wxyz, position=world_from_cam.t,
        )  # fmt: skip
        handle.on_click(_look_through(wxyz, world_from_cam.t, fov))
        handles.append(handle)
    return handles


def _photo(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    with PilImage.open(path) as file:
        picture = file.convert("RGB")
    picture.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    return np.asarray(picture)


def _look_through(wxyz: np.ndarray, position: np.ndarray, fov: float):
    def move(event: Any) -> None:
        with event.client.atomic():
            event.client.camera.wxyz = wxyz
            event.client.camera.position = position
            event.client.camera.fov = fov

    return move


def _add_controls(server: Any, splats: dict[str, Any], mesh: Any, cameras: list[Any]) -> None:
    shown = server.gui.add_checkbox("splats", initial_value=True)
    colour = server.gui.add_dropdown("splat colours", COLOURS, initial_value=COLOURS[0])
    surface = server.gui.add_checkbox("mesh", initial_value=False, disabled=mesh is None)
    photos = server.gui.add_checkbox("cameras", initial_value=True)

    def update(_: Any) -> None:
        for name, handle in splats.items():
            handle.visible = shown.value and colour.value == name
        if mesh is not None:
            mesh.visible = surface.value
        for handle in cameras:
            handle.visible = photos.value

    for control in (shown, colour, surface, photos):
        control.on_update(update)


def _start_at(server: Any, views: Sequence[View], target: np.ndarray) -> None:
    """Visitors begin behind the photo nearest to the middle of all, looking where it looks."""
    centres = np.array([v.cam_from_world.centre for v in views])
    nearest = int(np.linalg.norm(centres - centres.mean(axis=0), axis=1).argmin())
    server.initial_camera.up = up_of(views)
    server.initial_camera.position = target + _STEP_BACK * (centres[nearest] - target)
    server.initial_camera.look_at = target
