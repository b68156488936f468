"""Scores of a finished run: held-out photos, true cameras, true surface."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from corr.errors import UserError
from corr.matchers.base import Matcher
from corr.photo_input import PhotoSet, load_photos
from corr.sharding import EXECUTORS
from corr.store import file_digest
from recon.colmap_io import read_colmap
from recon.held_out import score_held_out, summarise
from recon.options import EvalOptions, RunOptions
from recon.render.base import Renderer
from recon.report import metrics as m
from recon.splats.fitted import SavedSplats, load_fitted
from recon.workspace import check_truth, is_finished

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Truth:
    """Files with the truth; empty = unknown."""

    cameras: str
    surface: str


@dataclass(frozen=True)
class HeldOutJob:
    """Which photos were held out and how to get at them."""

    names: list[str]
    prepare: Callable[[list[str], Path], PhotoSet]
    matcher: Matcher
    score_height: int


def score_run(
    run: Path, metrics: m.Metrics, truth: Truth, held: HeldOutJob, renderer: Renderer
) -> None:
    """Fill the scores of `metrics` from the files of the run; what cannot be is noted."""
    splats = load_fitted(run / "4_splats")
    metrics.held_out = None
    if held.names:
        metrics.held_out = _score_held_out(run, splats, held, renderer)
    else:
        metrics.notes.append("no photo was held out: scene.hold_out=every:6 would hold some out")
    true_from_world = None
    if truth.cameras:
        metrics.cameras, true_from_world = _score_cameras(splats, truth.cameras, metrics)
    else:
        metrics.notes.append("true cameras are not known")
    if truth.surface and true_from_world is not None:
        metrics.surface = _score_surface(run, truth.surface, true_from_world)
    else:
        metrics.notes.append("the true surface is not known")


def _score_held_out(
    run: Path, splats: SavedSplats, held: HeldOutJob, renderer: Renderer
) -> m.HeldOut:
    folder = run / "held_out"
    shutil.rmtree(folder, ignore_errors=True)  # pictures of an earlier choice of photos
    folder.mkdir()
    photos = held.prepare(held.names, folder / "photos")
    solved = read_colmap(run / "2_cameras")
    inputs = {image.name: image for image in load_photos(run / "0_photos").images}
    placed = [inputs[view.name] for view in splats.views]
    scores, reasons, _ = score_held_out(
        list(photos.images), placed, solved, splats, held.matcher, renderer,
        run / "2_cameras", folder, score_height=held.score_height,
    )  # fmt: skip
    reasons = {**photos.left_out, **reasons}
    if not scores:
        return m.HeldOut(unlocated=reasons)
    mean = summarise(scores)
    return m.HeldOut(
        psnr_mean=mean["psnr"],
        psnr_pooled=mean["psnr_pooled"],
        ssim=mean["ssim"],
        psnr_corrected=mean["psnr_corrected"],
        width=scores[0].width,
        height=scores[0].height,
        per_photo=[
            m.PhotoScore(s.name, s.psnr, s.ssim, psnr_corrected=s.psnr_corrected) for s in scores
        ],
        unlocated=reasons,
    )


def _score_cameras(splats: SavedSplats, truth: str, metrics: m.Metrics):
    from recon.camera_metrics import read_cameras, score_cameras

    wanted = metrics.photos.placed + len(metrics.photos.left_out)
    score = score_cameras(splats.views, read_cameras(Path(truth)))
    errors = m.CameraErrors(
        median_rotation_deg=score.median_rotation_deg,
        median_centre_percent=score.median_centre_percent,
        placed_share=metrics.photos.placed / max(1, wanted),
    )
    return errors, score.true_from_world


def _score_surface(run: Path, truth: str, true_from_world) -> m.SurfaceErrors:
    from recon.export.mesh import read_mesh_ply
    from recon.export.points_ply import read_points
    from recon.surface.metrics import surface_scores

    points, _ = read_points(Path(truth))
    mesh = read_mesh_ply(run / "5_mesh" / "mesh.ply")
    score = surface_scores(mesh, points, thresholds=(0.01, 0.02), true_from_mesh=true_from_world)
    return m.SurfaceErrors(
        accuracy=100 * score.accuracy_mean / score.diagonal,
        completeness=100 * score.completeness_mean / score.diagonal,
        f1_1pct=score.f1[0],
        f1_2pct=score.f1[1],
    )


def evaluate(options: EvalOptions) -> str:
    """Score a finished run again, perhaps against other truth; updates its metrics and report.

    Raises:
        UserError: The folder holds no finished run, or a truth file is missing.
    """
    from recon.pipeline import photo_preparer
    from recon.render.select import renderer_for
    from recon.report.page import write_report
    from recon.results import score_lines

    run = Path(options.run)
    if not is_finished(run):
        raise UserError(
            f"{run} holds no finished run, or a later one in it was interrupted; repeat the "
            f"`python -m recon run … out={run}` that made it, which continues where it stopped"
        )
    used = read_options(run)
    truth = Truth(options.cameras or used.scene.cameras, options.surface or used.scene.surface)
    check_truth(truth.cameras, truth.surface)
    metrics = m.Metrics.read(run)
    metrics.notes = [n for n in metrics.notes if n.startswith("photos: ")]
    names, prepare = photo_preparer(used, options.images, options.hold_out)
    refuse_inputs(run, names, Path(options.images or used.scene.images))
    start = perf_counter()
    height = options.score_height or used.score_height
    score_run(
        run,
        metrics,
        truth,
        HeldOutJob(names, prepare, used.matcher, height),
        renderer_for(options.device),
    )
    metrics.stages = [s for s in metrics.stages if s.name != "scores"]
    metrics.stages.append(m.StageCost("scores", perf_counter() - start))
    metrics.write(run)
    write_report(run)
    lines = score_lines(metrics) or ["nothing to score: no held-out photos, no truth"]
    return "\n".join([*lines, f"report: {run / 'report.html'}"])


def refuse_inputs(run: Path, names: list[str], folder: Path) -> None:
    """Photos that the run was made from cannot be scored as held out, whatever they are called.

    Raises:
        UserError: One of the photos is, byte by byte, an input of the run.
    """
    inputs = {file_digest(i.path): i.name for i in load_photos(run / "0_photos").images
              if i.path.is_file()}  # fmt: skip
    for name in names:
        path = folder / name
        same = inputs.get(file_digest(path)) if path.is_file() else None
        if same is not None:
            raise UserError(
                f"{name} is an input photo of this run ({same}); held-out photos must be others"
            )


def read_options(run: Path) -> RunOptions:
    """The options that a run was made with, typed again."""
    from omegaconf import OmegaConf

    from recon.options import MATCHERS

    saved = OmegaConf.load(run / "config.yaml")
    names = json.loads((run / "choices.json").read_text())
    executor = EXECUTORS[names.get("executor", "local")]()  # runs of before there was a choice
    matcher = MATCHERS[names["matcher"]]()
    schema = OmegaConf.structured(RunOptions(matcher=matcher, executor=executor))
    options = OmegaConf.to_object(OmegaConf.merge(schema, saved))
    assert isinstance(options, RunOptions)
    return options
