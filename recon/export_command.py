"""`python -m recon export`: a run's splats, or a file of them, in another format or frame."""

from pathlib import Path

import numpy as np

from corr.errors import UserError
from corr.folders import make_folder
from corr.geometry import Sim3
from recon.export.choice import named_formats
from recon.export.formats import SPLAT_FORMATS, export_splats, read_any
from recon.flight import around
from recon.options_export import ExportOptions
from recon.render.select import renderer_for
from recon.scale import metres_per_unit
from recon.scene import View
from recon.splats.fitted import load_fitted, scaled_splats
from recon.splats.gaussians import Gaussians
from recon.splats.transform import moved
from recon.workspace import check_finished


def export(options: ExportOptions) -> str:
    """Write every format asked for, read it back, compare; return a line for each.

    Raises:
        UserError: No finished run, no such file, or something that the format cannot hold.
    """
    gaussians, views, background = _source(options)
    if options.transform:
        new_from_old = read_similarity(Path(options.transform).expanduser())
        gaussians = moved(gaussians, new_from_old)
        views = tuple(
            View(v.name, v.camera, new_from_old.apply_to_camera(v.cam_from_world)) for v in views
        )
    names = named_formats("format", options.format)
    paths = [_target(options, name, several=len(names) > 1) for name in names]
    if options.splats:
        given = Path(options.splats).expanduser().resolve()
        if given in [p.resolve() for p in paths]:
            raise UserError(f"{given} would be written over; choose another out=…")
    renderer = renderer_for(options.device)
    lines = [f"{len(gaussians)} splats, harmonics of degree {gaussians.sh_degree}"]
    for name, path in zip(names, paths, strict=True):
        make_folder(path.parent)
        written = export_splats(
            gaussians, name, path, views, renderer, background, pad_to_degree=options.pad_degree
        )
        lines.append(written.text())
        if name == "splat" and gaussians.sh_degree:
            lines.append("  .splat holds no harmonics: colours no longer change with the direction")
    return "\n".join(lines)


def read_similarity(path: Path) -> Sim3:
    """Turn, scale and shift of a 4 x 4 text file, as `registration run` writes them.

    Raises:
        UserError: No such file, or no such matrix.
    """
    try:
        matrix = np.loadtxt(path)
        scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
        if matrix.shape != (4, 4) or not np.allclose(matrix[3], [0, 0, 0, 1]):
            raise ValueError("its last row must be 0 0 0 1")
        return Sim3(scale, matrix[:3, :3] / scale, matrix[:3, 3])
    except (OSError, ValueError, IndexError, ZeroDivisionError, np.linalg.LinAlgError) as error:
        raise UserError(f"{path} is no 4 x 4 similarity transform ({error})") from None


def _source(options: ExportOptions) -> tuple[Gaussians, tuple[View, ...], np.ndarray]:
    """Splats, views to compare in, and what stands behind them."""
    if bool(options.run) == bool(options.splats):
        raise UserError("give run=<folder of a finished run> or splats=<file>, one of them")
    if options.run:
        run = Path(options.run).expanduser()
        check_finished(run)
        saved = load_fitted(run / "4_splats")
        if (factor := metres_per_unit(run)) != 1.0:
            saved = scaled_splats(saved, factor)
        return saved.gaussians, saved.views, saved.background
    gaussians = read_any(Path(options.splats).expanduser())
    finite = gaussians.select(gaussians.is_finite())
    if not len(finite):
        raise UserError(f"{options.splats} holds no splat with finite numbers")
    return gaussians, around(finite.means.double().numpy()), np.full(3, 0.5)


def _target(options: ExportOptions, name: str, *, several: bool) -> Path:
    """The file to write: `out` itself where it has the format's ending, else a file in it."""
    suffix = SPLAT_FORMATS[name].suffix
    out = Path(options.out).expanduser() if options.out else None
    endings = {f".{k.suffix.rpartition('.')[2]}" for k in SPLAT_FORMATS.values()}
    if out is not None and not out.is_dir() and out.suffix.lower() in endings:
        if several:
            raise UserError(f"out={out} is one file; for several formats give a folder")
        if not suffix.endswith(out.suffix.lower()):
            raise UserError(f"out={out} does not end in {suffix} as format={name} does")
        return out
    if options.run:
        return (out or Path(options.run).expanduser() / "export") / f"splats{suffix}"
    source = Path(options.splats).expanduser()
    stem = source.name.removesuffix(source.suffix).removesuffix(".compressed")
    return (out or source.parent) / f"{stem}{suffix}"
