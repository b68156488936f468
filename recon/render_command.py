"""`python -m recon render`: pictures of a finished run along a new camera path."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from tqdm import tqdm

from corr.errors import UserError
from corr.folders import make_folder
from corr.store import STAGE_FILE, digest, file_digest, reuse_or_run, write_atomic
from recon.flight import looked_at, path_poses, sized
from recon.held_out import draw
from recon.options_render import RenderOptions
from recon.render.base import Renderer
from recon.render.select import renderer_for
from recon.scene import View
from recon.splats.fitted import SavedSplats, load_fitted
from recon.video_file import write_video
from recon.workspace import FINISHED_FILE, check_finished

log = logging.getLogger(__name__)
_VERSION = 1
_LEAST_OPACITY = 0.3  # of a splat that tells where the scene is


def render(options: RenderOptions) -> str:
    """Write `frame_0000.png` and so on, and `<path>.mp4`; interrupted, the same call continues.

    Raises:
        UserError: No finished run, or a video that cannot be written.
    """
    run = Path(options.run).expanduser()
    check_finished(run)
    base = Path(options.out).expanduser() if options.out else run / "video"
    folder = base / options.path
    if folder.exists() and any(folder.iterdir()) and not (folder / STAGE_FILE).exists():
        raise UserError(f"{folder} holds something else already; choose another out=…")
    make_folder(base)
    saved = load_fitted(run / "4_splats")
    renderer = renderer_for(options.device)
    key = digest(
        _VERSION, file_digest(run / FINISHED_FILE), renderer.name, options.path, options.frames,
        options.height, options.width,
    )  # fmt: skip
    camera = sized(saved.views[0].camera, options.height, options.width)
    views = [View(f"frame_{i:04d}", camera, pose) for i, pose in enumerate(_poses(options, saved))]
    stage = reuse_or_run(folder, key, lambda target: _draw_all(target, views, saved, renderer))
    lines = [f"{len(views)} pictures of {camera.width} x {camera.height}: {stage.folder}"]
    if options.video:
        lines.append(_video(stage.folder, options, (camera.width, camera.height)))
    return "\n".join(lines)


def _poses(options: RenderOptions, saved: SavedSplats):
    opaque = saved.gaussians.select(saved.gaussians.opacities > _LEAST_OPACITY)
    xyz = (opaque if len(opaque) else saved.gaussians).means.double().numpy()
    views = sorted(saved.views, key=lambda v: v.name)
    return path_poses(options.path, views, looked_at(views, xyz), options.frames)


def _draw_all(folder: Path, views: list[View], saved: SavedSplats, renderer: Renderer) -> None:
    """Every picture that is not there yet."""
    for view in tqdm(views, desc="render", unit="picture"):
        path = folder / f"{view.name}.png"
        if path.exists():
            continue
        rgb = draw(saved.gaussians, view, renderer, background=saved.background)
        memory = io.BytesIO()
        picture = np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
        PilImage.fromarray(picture).save(memory, format="PNG")
        write_atomic(path, memory.getvalue())


def _video(folder: Path, options: RenderOptions, size: tuple[int, int]) -> str:
    """The MP4 of a folder's pictures; written again only when there is none at that speed."""
    path = folder / f"{options.path}.mp4"
    record = folder / "fps.txt"
    if not path.exists() or not record.exists() or record.read_text() != str(options.fps):
        codec = write_video(path, _pictures(folder), size, options.fps)
        write_atomic(record, str(options.fps))
        log.info("%s: %s at %d pictures a second", path.name, codec, options.fps)
    return f"video: {path}"


def _pictures(folder: Path) -> Iterator[np.ndarray]:
    for path in tqdm(sorted(folder.glob("frame_*.png")), desc="video", unit="picture"):
        with PilImage.open(path) as file:
            yield np.asarray(file.convert("RGB"))
