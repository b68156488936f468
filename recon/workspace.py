"""Where a run reads and writes: result folder, bundled sample, log file, loading pictures."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from corr.cli import shared_dir
from corr.errors import UserError
from recon.options import RunOptions, SceneOptions
from recon.scene import View

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


def check_truth(cameras: str, surface: str) -> None:
    """Refuse truth that cannot be read before anything is computed, not after."""
    if cameras:
        from recon.camera_metrics import read_cameras

        read_cameras(Path(cameras))
    if surface and not Path(surface).is_file():
        raise UserError(f"there is no true surface at {surface}; give a PLY of points")


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
    return folder / job if (job := _sweep_job()) else folder


def _sweep_job() -> str:
    """A name for this job of a sweep; empty in a single run."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return ""
    hydra = HydraConfig.get()
    if hydra.mode is None or hydra.mode.name != "MULTIRUN":
        return ""
    return re.sub(r"[^\w.,=-]+", "_", hydra.job.override_dirname) or str(hydra.job.num)


def make_folder(folder: Path) -> None:
    """Create the result folder and prove that it can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write_test"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write to {folder} ({reason}); choose another out=…") from None


def log_to(path: Path) -> logging.Handler:
    """Append the log to a file as well."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler


def load_pictures(
    folder: Path, views: Iterable[View]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Undistorted photos (uint8 h w 3) and masks (bool h w) of the camera stage, by name."""
    pictures, masks = {}, {}
    for view in views:
        with PilImage.open(folder / "images" / f"{view.name}.png") as file:
            pictures[view.name] = np.asarray(file.convert("RGB"))
        mask = folder / "masks" / f"{view.name}.png"
        if mask.exists():
            with PilImage.open(mask) as file:
                masks[view.name] = np.asarray(file.convert("L")) > 127
    return pictures, masks
