"""After the stages: renders, exports, scores, metrics and the report."""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from corr.photo_input import PhotoSet
from corr.store import peak_memory_mb
from recon import workspace
from recon.export.choice import SplatExport
from recon.export.scaled import (
    copy_scaled_coverage,
    copy_scaled_glb,
    copy_scaled_ply,
    scaled_reconstruction,
)
from recon.held_out import draw, save_picture
from recon.image_metrics import masked_ssim, psnr
from recon.mesh_stage import COVERAGE_FILE
from recon.poses.output import UNCERTAINTY_FILE
from recon.poses.solve import FINDINGS_FILE
from recon.render.base import Renderer
from recon.report import metrics as m
from recon.report.metadata import collect_metadata
from recon.scale import SCALE_FILE, find_scale, write_scale
from recon.scene import Reconstruction, View
from recon.splats.fitted import SavedSplats, scaled_splats

if TYPE_CHECKING:
    from recon.pipeline import Run

log = logging.getLogger(__name__)


def finish(
    job: "Run",
    photos: PhotoSet,
    reconstruction: Reconstruction,
    splats: SavedSplats,
    renderer: Renderer,
) -> tuple[str, ...]:
    """Everything that is made from the finished stages; returns the closing lines."""
    from recon.evaluate import HeldOutJob, Truth, score_run
    from recon.report.page import write_report

    started = perf_counter()
    pictures, masks = workspace.load_pictures(job.folder("cameras"), splats.views)
    training = render_inputs(job.out / "renders", splats, pictures, masks, renderer)
    exported = export(job, splats, renderer)
    findings_file = job.folder("cameras") / FINDINGS_FILE
    metrics = m.Metrics(
        metadata=collect_metadata(
            seed=job.options.seed,
            quality=job.options.quality,
            device="cuda" if renderer.name == "cuda" else "cpu",
            renderer=renderer.name,
        ),
        photos=count_photos(job, photos, reconstruction),
        stages=[m.StageCost(n, s.seconds, s.peak_mb, s.reused) for n, s in job.stages],
        training=training,
        notes=[f"photos: {f}" for f in json.loads(findings_file.read_text())],
        uncertainty=read_uncertainty(job.folder("cameras")),
        splats=count_splats(job, splats),
        mesh=count_mesh(job),
    )
    metrics.stages.append(m.StageCost("renders and exports", perf_counter() - started))
    started = perf_counter()
    truth = Truth(job.scene.cameras, job.scene.surface)
    held = HeldOutJob(
        job.held_names,
        lambda names, folder: job.source.prepare(names, folder, at_least=1),
        job.options.matcher,
        job.options.score_height,
    )
    score_run(job.out, metrics, truth, held, renderer)
    metrics.stages.append(m.StageCost("scores", perf_counter() - started))
    metrics.total_seconds = perf_counter() - job.start
    metrics.peak_mb = peak_memory_mb()
    metrics.write(job.out)
    write_report(job.out)
    workspace.mark_finished(job.out)
    return (*closing_lines(metrics), *exported)


def render_inputs(
    folder: Path,
    splats: SavedSplats,
    pictures: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    renderer: Renderer,
) -> m.Training:
    """Draw every placed photo with its own exposure, save and score it."""
    folder.mkdir(exist_ok=True)
    stems = workspace.picture_stems(view.name for view in splats.views)
    scores = []
    for view in splats.views:
        render = draw(
            splats.gaussians, view, renderer,
            background=splats.background, gains=splats.gains[view.name],
        )  # fmt: skip
        render = np.clip(render, 0, 1)
        save_picture(folder / f"{stems[view.name]}.png", render)
        photo, mask = pictures[view.name] / 255.0, masks.get(view.name)
        scores.append(
            m.PhotoScore(
                view.name, psnr=psnr(render, photo, mask), ssim=masked_ssim(render, photo, mask)
            )
        )
    camera = splats.views[0].camera
    return m.Training(
        psnr=float(np.mean([s.psnr for s in scores if s.psnr is not None])),
        ssim=float(np.mean([s.ssim for s in scores if s.ssim is not None])),
        width=camera.width,
        height=camera.height,
        per_photo=scores,
    )


def export(job: "Run", splats: SavedSplats, renderer: Renderer) -> tuple[str, ...]:
    """The results in everyone's formats, all in one frame, under `export/`.

    Returns:
        One line per splat file that was asked for: its size and how near it comes back.
    """
    folder = job.out / "export"
    partial = job.out / "export.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    scale = find_scale(job.options.scale, splats.views)
    write_scale(job.out, scale)
    factor = scale.metres_per_unit if scale else 1.0
    if scale:
        shutil.copy(job.out / SCALE_FILE, partial)
        splats = scaled_splats(splats, factor)
    lines = export_formats(job.options.export, splats, partial, renderer, factor)
    export_cameras(job, splats, partial, factor)
    mesh = job.folder("mesh")
    copy_scaled_ply(job.folder("seeds") / "points.ply", partial / "points.ply", factor)
    for name in ("mesh.ply", "mesh_coverage.ply"):
        copy_scaled_ply(mesh / name, partial / name, factor)
    copy_scaled_glb(mesh / "mesh.glb", partial / "mesh.glb", factor)
    unit = "m" if scale else "scene units"
    copy_scaled_coverage(mesh / COVERAGE_FILE, partial / COVERAGE_FILE, factor, unit)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return (*([f"scale: {scale.text}"] if scale else []), *lines)


def export_cameras(job: "Run", splats: SavedSplats, folder: Path, factor: float) -> None:
    """COLMAP model, undistorted photos and masks, `transforms.json`."""
    from recon.colmap_io import read_colmap, write_colmap
    from recon.export.transforms import write_transforms

    (folder / "sparse" / "0").mkdir(parents=True)
    model = read_colmap(splats.folder / "sparse")
    if factor != 1.0:
        model = scaled_reconstruction(model, factor)
    write_colmap(folder / "sparse" / "0", model, name_suffix=".png")  # as the pictures are called
    shutil.copy(job.folder("cameras") / UNCERTAINTY_FILE, folder / "sparse" / "0")
    shutil.copytree(job.folder("cameras") / "images", folder / "images")
    if (job.folder("cameras") / "masks").is_dir():
        shutil.copytree(job.folder("cameras") / "masks", folder / "masks")
    named = [View(f"{v.name}.png", v.camera, v.cam_from_world) for v in splats.views]
    write_transforms(folder / "transforms.json", named, "images", ply_file_path="points.ply")


def export_formats(
    options: SplatExport, splats: SavedSplats, folder: Path, renderer: Renderer, factor: float
) -> tuple[str, ...]:
    """`splats.ply`, as it was optimised or padded, and every other format that was asked for."""
    from recon.export.choice import named_formats
    from recon.export.formats import SPLAT_FORMATS, export_splats
    from recon.export.splat_ply import write_splats

    names = named_formats("export.formats", options.formats)
    plain = "ply" not in names or (len(names) == 1 and not options.pad_degree)
    if plain:
        if factor == 1.0:
            shutil.copy(splats.folder / "splats.ply", folder / "splats.ply")
        else:
            write_splats(folder / "splats.ply", splats.gaussians)
        names = tuple(name for name in names if name != "ply")
    lines = []
    for name in names:
        written = export_splats(
            splats.gaussians, name, folder / f"splats{SPLAT_FORMATS[name].suffix}", splats.views,
            renderer, splats.background, pad_to_degree=options.pad_degree,
        )  # fmt: skip
        lines.append(written.text().replace("export.partial", "export"))
    return tuple(lines)


def count_photos(job: "Run", photos: PhotoSet, reconstruction: Reconstruction) -> m.PhotoCounts:
    """Given, used, placed, and every reason."""
    left_out = {**photos.left_out, **reconstruction.left_out}
    given = len(photos.images) + len(photos.left_out)
    return m.PhotoCounts(
        given=given + len(job.held_names),
        used=given,
        placed=len(reconstruction.views),
        held_out=len(job.held_names),
        left_out=left_out,
    )


def read_uncertainty(cameras: Path) -> m.Uncertainty:
    """How sure the cameras are, from the camera stage."""
    record = json.loads((cameras / UNCERTAINTY_FILE).read_text())
    sigmas = [
        m.CameraSigma(name, s["rotation_deg"], s["centre_percent"], s["unsure"])
        for name, s in record["cameras"].items()
    ]
    return m.Uncertainty(record["reduced_chi_squared"], record["hidden_noise_px"], sigmas)


def count_splats(job: "Run", splats: SavedSplats) -> m.SplatCounts:
    """Splats written, and how many there were at the start."""
    summary = json.loads((job.folder("seeds") / "seeds.json").read_text())
    seeds = sum(summary[k] for k in ("agreed", "from_tracks", "in_holes"))
    size = (splats.folder / "splats.ply").stat().st_size / 1e6
    return m.SplatCounts(len(splats.gaussians), seeds, round(size, 2))


def count_mesh(job: "Run") -> m.MeshCounts:
    """Size of the mesh written."""
    from recon.export.mesh import read_mesh_ply

    mesh = read_mesh_ply(job.folder("mesh") / "mesh.ply")
    facts: dict[str, Any] = json.loads((job.folder("mesh") / "mesh.json").read_text())
    return m.MeshCounts(len(mesh.vertices), len(mesh.faces), facts.get("voxel"))


def closing_lines(metrics: m.Metrics) -> tuple[str, ...]:
    """The run in a few lines: placed, left out and why, scores, cost."""
    photos = metrics.photos
    lines = [f"{photos.placed} of {photos.used} photos placed"]
    lines += [f"  left out: {name}: {reason}" for name, reason in photos.left_out.items()]
    lines += [f"  {note}" for note in metrics.notes if note.startswith("photos: ")]
    for sigma in metrics.uncertainty.cameras if metrics.uncertainty else []:
        if sigma.unsure:
            lines.append(
                f"  unsure: {sigma.name}: +- {sigma.rotation_deg:.2g} deg, "
                f"+- {sigma.centre_percent:.2g} % of the cameras' extent"
            )
    if metrics.splats and metrics.mesh and metrics.training:
        lines.append(
            f"{metrics.splats.count} splats (input photos {metrics.training.psnr:.1f} dB), "
            f"mesh of {metrics.mesh.triangles} triangles"
        )
    lines += score_lines(metrics)
    if metrics.total_seconds is not None and metrics.peak_mb is not None:
        lines.append(f"{metrics.total_seconds:.0f} s, {metrics.peak_mb:.0f} MB at most")
    return tuple(lines)


def score_lines(metrics: m.Metrics) -> Sequence[str]:
    """The scores that exist, one line each."""
    lines = []
    if (held := metrics.held_out) is not None and held.psnr_mean is not None:
        lines.append(
            f"held-out photos: PSNR {held.psnr_mean:.2f} dB (pooled {held.psnr_pooled:.2f}, "
            f"after colour correction {held.psnr_corrected:.2f}), SSIM {held.ssim:.3f} "
            f"at {held.width}x{held.height}"
        )
        lines += [f"  not registered: {n}: {r}" for n, r in held.unlocated.items()]
    if (cameras := metrics.cameras) is not None and cameras.median_rotation_deg is not None:
        lines.append(
            f"cameras: median rotation error {cameras.median_rotation_deg:.3f} deg, median centre "
            f"error {cameras.median_centre_percent:.3f} % of the path, "
            f"{100 * (cameras.placed_share or 0):.0f} % placed"
        )
    if (surface := metrics.surface) is not None and surface.f1_2pct is not None:
        lines.append(
            f"surface: F1 {surface.f1_2pct:.3f} at 2 % of the scene's diagonal, "
            f"{surface.f1_1pct:.3f} at 1 %"
        )
    return lines
