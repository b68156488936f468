"""Where was this photo taken? New photos against a finished run, which stays as it is.

Matches with the placed photos give 2D-3D pairs and a first pose (PnP). From there every point that
should be seen is looked for again, by its patch in the photo that saw it from most nearly the same
side; then the render of the splats is laid over the photo.

Source: the idea of looking descriptors up from a first pose and matching again is that of FaVoR
(Polizzi et al., 2024); we use patches of the photos instead of rendered descriptors.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from corr.errors import UserError
from corr.folders import make_folder
from corr.photo_input import load_photos, prepare_photos
from corr.store import write_atomic
from recon.evaluate import read_options, refuse_inputs
from recon.held_out import PhotoScore, score_held_out
from recon.options_localize import LocalizeOptions
from recon.scale import metres_per_unit
from recon.scene import View
from recon.workspace import check_truth

log = logging.getLogger(__name__)


def localize(options: LocalizeOptions) -> str:
    """Place the photos; write cameras, renders and scores; return the lines to print.

    Raises:
        UserError: The run is not finished, or not one photo can be placed.
    """
    from recon.colmap_io import read_colmap
    from recon.export.scaled import scaled_view
    from recon.export.transforms import write_transforms
    from recon.render.select import renderer_for
    from recon.splats.fitted import load_fitted

    run, source = Path(options.run).expanduser(), Path(options.image).expanduser()
    if not source.exists():
        raise UserError(f"there is no {source}; give image=<photo or folder>")
    if options.cameras:
        check_truth(options.cameras, "")
    used = read_options(run)
    folder = source if source.is_dir() else source.parent
    out = Path(options.out).expanduser() if options.out else run / "localized"
    make_folder(out)
    names = None if source.is_dir() else [source.name]
    photos = prepare_photos(
        folder, out / "photos", max_side=used.scene.max_side, names=names, at_least=1
    )
    refuse_inputs(run, [image.name for image in photos.images], folder)
    splats = load_fitted(run / "4_splats")
    inputs = {image.name: image for image in load_photos(run / "0_photos").images}
    scores, reasons, views = score_held_out(
        list(photos.images), [inputs[v.name] for v in splats.views],
        read_colmap(run / "2_cameras"), splats, used.matcher, renderer_for(options.device),
        run / "2_cameras", out, score_height=options.height,
    )  # fmt: skip
    reasons = {**photos.left_out, **reasons}
    if not views:
        raise UserError("; ".join(f"{n} cannot be placed: {r}" for n, r in reasons.items()))
    exported = [scaled_view(view, metres_per_unit(run)) for view in views]
    write_transforms(out / "transforms.json", exported, "photos")
    errors = _errors(views, options.cameras, splats.views)
    write_atomic(out / "errors.json", json.dumps(errors, indent=1))
    centres = {view.name: view.cam_from_world.centre.tolist() for view in exported}
    return "\n".join(_lines(scores, centres, reasons, errors, out))


def _errors(
    views: Sequence[View], cameras: str, placed: Sequence[View]
) -> dict[str, dict[str, float]]:
    """Rotation and centre errors by photo, in the truth's world; empty without truth.

    The worlds are aligned by the run's own cameras where the truth names two of them or more.
    """
    if not cameras:
        return {}
    import numpy as np

    from corr.geometry import Sim3, rotation_angle
    from recon.camera_metrics import read_cameras, score_cameras

    truth = read_cameras(Path(cameras))
    try:
        aligned = score_cameras(placed, truth).true_from_world
    except UserError:  # the truth knows none of the run's cameras: it must be of the run's world
        aligned = None
    true_from_world = aligned or Sim3(1.0, np.eye(3), np.zeros(3))
    errors = {}
    for view in views:
        true = truth.get(view.name) or truth.get(Path(view.name).stem)
        if true is not None:
            found = true_from_world.apply_to_camera(view.cam_from_world)
            turn = rotation_angle(found.R @ true.cam_from_world.R.T)
            shift = found.centre - true.cam_from_world.centre
            errors[view.name] = {
                "rotation_deg": float(np.degrees(turn)), "centre": float(np.linalg.norm(shift))
            }  # fmt: skip
    return errors


def _lines(
    scores: Sequence[PhotoScore],
    centres: dict[str, list[float]],
    reasons: dict[str, str],
    errors: dict[str, dict[str, float]],
    out: Path,
) -> list[str]:
    lines = [f"{len(scores)} of {len(scores) + len(reasons)} photos placed"]
    for s in scores:
        x, y, z = centres[s.name]
        line = f"  {s.name}: at {x:.4g}, {y:.4g}, {z:.4g}; {s.inliers} points agree, render at "
        line += f"{s.psnr:.1f} dB"
        if s.name in errors:
            e = errors[s.name]
            line += f"; off by {e['rotation_deg']:.3f} deg and {e['centre']:.4g} units"
        lines.append(line)
    lines += [f"  not placed: {name}: {reason}" for name, reason in reasons.items()]
    return [*lines, f"cameras: {out / 'transforms.json'}"]
