"""Where a run reads and writes: result folder, bundled sample, loading pictures."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from corr.cli import shared_dir
from corr.errors import UserError
from corr.folders import job_folder
from corr.store import file_digest, write_atomic
from recon.options import RunOptions, SceneOptions
from recon.scene import View

FINISHED_FILE = "finished.json"
SAMPLE = shared_dir() / "data" / "sample"


def with_sample(scene: SceneOptions) -> SceneOptions:
    """The scene options, with the bundled scene and its truth filled in when none is given."""
    if scene.images:
        return scene
    if not (SAMPLE / "photos").is_dir():
        raise UserError("this installation carries no sample scene; give scene.images=<folder>")
    return SceneOptions(
        images=str(SAMPLE / "photos"),
        masks=scene.masks,
        use=scene.use,
        hold_out=scene.hold_out or f"@{SAMPLE / 'truth' / 'held_out.txt'}",
        frames=scene.frames,
        max_side=scene.max_side,
        cameras=scene.cameras or str(SAMPLE / "truth" / "transforms.json"),
        surface=scene.surface or str(SAMPLE / "truth" / "surface.ply"),
    )


def absolute(scene: SceneOptions) -> SceneOptions:
    """The same scene with absolute paths: its run can be scored from any folder."""

    def full(path: str) -> str:
        return str(Path(path).absolute()) if path else ""

    def listed(selector: str) -> str:
        return f"@{full(selector[1:])}" if selector.startswith("@") else selector

    return replace(
        scene,
        images=full(scene.images),
        masks=full(scene.masks),
        use=listed(scene.use),
        hold_out=listed(scene.hold_out),
        cameras=full(scene.cameras),
        surface=full(scene.surface),
    )


def check_truth(cameras: str, surface: str) -> None:
    """Refuse truth that cannot be read before anything is computed, not after."""
    if cameras:
        from recon.camera_metrics import read_cameras

        read_cameras(Path(cameras))
    if surface:
        from plyfile import PlyParseError

        from recon.export.points_ply import read_points

        if not Path(surface).is_file():
            raise UserError(f"there is no true surface at {surface}; give a PLY of points")
        try:
            read_points(surface)
        except (PlyParseError, KeyError, ValueError) as error:
            raise UserError(f"{surface} is no PLY of points ({error})") from None


def check_given(cameras: str) -> None:
    """Refuse given cameras that cannot be read before anything is computed."""
    if cameras:
        from recon.poses.given import read_given

        read_given(Path(cameras))


def check_points(points: str) -> None:
    """Refuse a given point cloud that cannot be read before anything is computed."""
    if points:
        from recon.splats.given_points import read_given

        read_given(Path(points).expanduser())


def result_folder(options: RunOptions, sample: bool) -> Path:
    """`out`, or `outputs/<name of the photos>`; one folder per job in a Hydra sweep."""
    if options.out:
        folder = Path(options.out)
    else:
        source = Path(options.scene.images)
        parts = [p for p in (source.parent.name, source.name) if p.strip(".")]
        generic = source.name.lower() in ("images", "photos", "train", "input", "rgb")
        name = source.name if source.is_dir() else source.stem
        if sample:
            name = "sample"
        elif generic and len(parts) > 1:
            name = parts[0]
        # Never "." or "..": that would be outputs/ itself or the folder above it.
        folder = Path("outputs") / (re.sub(r"[^\w.-]+", "_", name).strip(".") or "scene")
    return job_folder(folder)


def mark_finished(run: Path) -> None:
    """Write down which options and stages the results of a run belong to."""
    write_atomic(run / FINISHED_FILE, json.dumps(_state(run), indent=1))


def is_finished(run: Path) -> bool:
    """True when the last run in this folder came to its end and nothing has changed since."""
    try:
        return json.loads((run / FINISHED_FILE).read_text()) == _state(run)
    except (OSError, ValueError):
        return False


def check_finished(folder: Path) -> None:
    """Refuse a folder without a finished run before anything is computed.

    Raises:
        UserError: It holds none.
    """
    if not is_finished(folder):
        raise UserError(
            f"{folder} holds no finished run; make one with `python -m recon run … out={folder}`"
        )


def _state(run: Path) -> dict[str, str]:
    stages = {p.parent.name: json.loads(p.read_text())["key"] for p in run.glob("*/stage.json")}
    return {"config": file_digest(run / "config.yaml"), **stages}


def picture_stems(names: Iterable[str]) -> dict[str, str]:
    """File names, without suffix, for pictures of photos.

    The stem, or the whole name where two photos share a stem (`a.jpg`, `a.png`).
    """
    names = list(names)
    shared = Counter(Path(name).stem for name in names)
    return {n: Path(n).stem if shared[Path(n).stem] == 1 else n for n in names}


def load_pictures(
    folder: Path, views: Iterable[View], *, suffix: str = ".png"
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Undistorted photos (uint8 h w 3) and masks (bool h w) of the camera stage, by name."""
    pictures, masks = {}, {}
    for view in views:
        with PilImage.open(folder / "images" / f"{view.name}{suffix}") as file:
            pictures[view.name] = np.asarray(file.convert("RGB"))
        mask = folder / "masks" / f"{view.name}.png"
        if mask.exists():
            with PilImage.open(mask) as file:
                masks[view.name] = np.asarray(file.convert("L")) > 127
    return pictures, masks
