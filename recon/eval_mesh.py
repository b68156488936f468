"""`python -m recon eval-mesh`: a mesh beside the true surface, in numbers and pictures."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corr.errors import UserError
from corr.folders import make_folder
from corr.geometry import Sim3
from corr.store import strict_json, write_atomic
from recon.camera_metrics import read_cameras, score_cameras
from recon.options_eval_mesh import EvalMeshOptions, positive_list
from recon.scene import View
from recon.surface.compare import Comparison, MeshScores, compare, sampled_evenly, scores
from recon.surface.mesh import Mesh
from recon.surface.truth import Truth, count_views, read_any_mesh, read_truth

_SPACING_SHARE = 0.002  # of the samples, share of the diagonal


@dataclass(frozen=True, eq=False)
class Subject:
    """What is scored: the mesh in its own world, and what leads from there to the truth."""

    mesh: Mesh
    name: str
    surface: str
    true_from_mesh: Sim3
    aligned: str  # how, in words
    placed: tuple[View, ...]  # the mesh's cameras, in the truth's world
    true_views: Mapping[str, View]


def eval_mesh(options: EvalMeshOptions) -> str:
    """Score, write `scores.json`, coloured PLYs, pictures and a page; return the lines to print.

    Raises:
        UserError: Something is missing, cannot be read, or cannot be aligned.
    """
    subject = _subject(options)
    out = _folder(options)
    truth = read_truth(subject.surface, seed=options.seed)
    mesh = _moved(subject.mesh, subject.true_from_mesh)
    if options.protocol == "dtu":
        mesh, found, notes = _dtu(options, subject, mesh, truth)
    else:
        found, notes = _plain(options, subject, mesh, truth)
    if len(found.truth.xyz) == 0:
        raise UserError("no true point is left to ask for; lower seen_by or check the cameras")
    thresholds = positive_list("distances", options.distances) if options.distances else tuple(
        p / 100 * found.diagonal for p in positive_list("percent", options.percent)
    )  # fmt: skip
    cap = options.dtu.max_distance if options.protocol == "dtu" else np.inf
    result = scores(found, thresholds, cap=cap)
    notes = [f"alignment: {subject.aligned}", *notes]
    make_folder(out)
    record = {"mesh": subject.name, "surface": subject.surface, "protocol": options.protocol,
              "notes": notes, **dataclasses.asdict(result),
              "true_from_mesh": _matrix(subject.true_from_mesh)}  # fmt: skip
    write_atomic(out / "scores.json", strict_json(record))
    write_pictures(out, mesh, found, subject.placed, full=max(thresholds))
    lines = _lines(result, notes)
    _write_page(out, subject, result, notes, max(thresholds))
    return "\n".join([*lines, f"report: {out / 'report.html'}"])


def _subject(options: EvalMeshOptions) -> Subject:
    if bool(options.run) == bool(options.mesh):
        raise UserError("give run=<folder of a finished run> or mesh=<file>, one of them")
    if options.run:
        return _of_run(options)
    if not options.surface:
        raise UserError("give surface=<true surface: a PLY of points or a mesh>")
    path = Path(options.mesh).expanduser()
    if not path.is_file():
        raise UserError(f"there is no mesh at {path}")
    mesh = read_any_mesh(path)
    assert mesh is not None
    truth = read_cameras(Path(options.cameras).expanduser()) if options.cameras else {}
    if options.transform and options.solved:
        raise UserError("give transform=… or solved=…, one of them")
    if options.transform:
        from recon.export_command import read_similarity

        given = read_similarity(Path(options.transform).expanduser())
        return Subject(mesh, str(path), options.surface, given, "as transform says",
                       tuple(truth.values()), truth)  # fmt: skip
    if options.solved:
        if not truth:
            raise UserError("solved=… are the mesh's own cameras; give the true ones as cameras=…")
        own = tuple(read_cameras(Path(options.solved).expanduser()).values())
        return _aligned(mesh, str(path), options.surface, own, truth)
    same = Sim3(1.0, np.eye(3), np.zeros(3))
    return Subject(mesh, str(path), options.surface, same, "none: one frame",
                   tuple(truth.values()), truth)  # fmt: skip


def _of_run(options: EvalMeshOptions) -> Subject:
    from recon.colmap_io import read_colmap
    from recon.evaluate import read_options
    from recon.export.mesh import read_mesh_ply
    from recon.workspace import check_finished

    run = Path(options.run).expanduser()
    check_finished(run)
    if options.solved or options.transform:
        raise UserError("solved=… and transform=… go with mesh=…; a run has cameras of its own")
    scene = read_options(run).scene
    surface, cameras = options.surface or scene.surface, options.cameras or scene.cameras
    if not surface:
        raise UserError("the run knows no true surface; give surface=<PLY of points or a mesh>")
    if not cameras:
        raise UserError("the run's world is its own; give cameras=<true cameras> to align it by")
    views = read_colmap(run / "4_splats" / "sparse").views
    mesh = read_mesh_ply(run / "5_mesh" / "mesh.ply")
    truth = read_cameras(Path(cameras).expanduser())
    return _aligned(mesh, str(run / "5_mesh" / "mesh.ply"), surface, views, truth)


def _aligned(
    mesh: Mesh, name: str, surface: str, own: Sequence[View], truth: Mapping[str, View]
) -> Subject:
    """The similarity that brings the mesh's cameras onto the true ones."""
    score = score_cameras(own, truth)
    if score.true_from_world is None:
        raise UserError("two or more cameras must be known on both sides to align by; one is")
    fit = score.true_from_world
    placed = tuple(View(v.name, v.camera, fit.apply_to_camera(v.cam_from_world)) for v in own)
    words = (
        f"similarity on {len(score.names)} cameras, scale {fit.scale:.6g}, median centre error "
        f"{score.median_centre_percent:.3g} % of their extent"
    )
    return Subject(mesh, name, surface, fit, words, placed, truth)


def _moved(mesh: Mesh, true_from_mesh: Sim3) -> Mesh:
    return Mesh(true_from_mesh.apply(mesh.vertices), mesh.faces, mesh.rgb)


def _plain(
    options: EvalMeshOptions, subject: Subject, mesh: Mesh, truth: Truth
) -> tuple[Comparison, list[str]]:
    from recon.surface.tsdf import Box

    diagonal = Box.around(truth.xyz, percentile=0.5).diagonal
    spacing = options.spacing or _SPACING_SHARE * diagonal
    samples, normals = sampled_evenly(mesh, spacing=spacing, seed=options.seed)
    notes = [f"samples of the mesh {spacing:.4g} apart, true points {truth.spacing:.4g} apart"]
    wanted = None
    if options.seen_by:
        if not subject.placed:
            raise UserError("seen_by needs cameras: give cameras=… (and solved=…), or a run")
        wanted = count_views(truth, subject.placed) >= options.seen_by
        notes.append(
            f"completeness asked of the {100 * wanted.mean():.1f} % of the true points that at "
            f"least {options.seen_by} of {len(subject.placed)} photos see"
        )
    return compare(samples, normals, truth, wanted=wanted), notes


def _dtu(
    options: EvalMeshOptions, subject: Subject, mesh: Mesh, truth: Truth
) -> tuple[Mesh, Comparison, list[str]]:
    from recon.surface.dtu import culled, dtu_comparison, read_masks, read_observed

    if options.seen_by:
        raise UserError("protocol=dtu has its own observation mask; leave seen_by=0")
    observed = read_observed(options.dtu)
    notes = [f"DTU: samples {options.dtu.spacing:g} mm apart, pairs beyond "
             f"{options.dtu.max_distance:g} mm left out of the means"]  # fmt: skip
    if options.dtu.masks:
        masks = read_masks(Path(options.dtu.masks).expanduser(), subject.true_views)
        before = len(mesh.faces)
        mesh = culled(mesh, subject.true_views, masks, options.dtu.dilate_px)
        notes.append(f"culled by {len(masks)} masks: {len(mesh.faces)} of {before} triangles left")
    else:
        notes.append("not culled by object masks (dtu.masks): compare with uncropped rows only")
    return mesh, dtu_comparison(mesh, truth, observed, options.dtu, seed=options.seed), notes


def _folder(options: EvalMeshOptions) -> Path:
    if options.out:
        return Path(options.out).expanduser()
    if options.run:
        return Path(options.run).expanduser() / "eval_mesh"
    mesh = Path(options.mesh).expanduser()
    return mesh.parent / f"eval_{mesh.stem}"


def _matrix(fit: Sim3) -> list[list[float]]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = fit.scale * fit.R, fit.t
    return matrix.tolist()


def write_pictures(
    out: Path, mesh: Mesh, found: Comparison, views: Sequence[View], *, full: float
) -> None:
    """`accuracy` and `completeness`, each as a PLY and as pictures; dark red from `full` on."""
    from recon.export.mesh import write_mesh_ply
    from recon.export.points_ply import write_points
    from recon.held_out import save_picture
    from recon.surface.error_pictures import coloured_mesh, error_colours, error_views

    painted = coloured_mesh(mesh, found, full=full, reach=full)
    write_mesh_ply(out / "accuracy.ply", painted)
    write_points(out / "completeness.ply", found.truth.xyz, error_colours(found.to_mesh, full))
    accuracy, completeness = error_views(painted, found, views, full=full)
    for name, pictures in (("accuracy", accuracy), ("completeness", completeness)):
        for i, picture in enumerate(pictures):
            save_picture(out / f"{name}_{i}.png", picture / 255.0)


def _lines(result: MeshScores, notes: Sequence[str]) -> list[str]:
    lines = list(notes)
    d = result.diagonal
    lines.append(
        f"accuracy {result.accuracy:.4g} (median {result.accuracy_median:.4g}), completeness "
        f"{result.completeness:.4g} (median {result.completeness_median:.4g}), Chamfer "
        f"{result.chamfer:.4g}; in % of the diagonal {100 * result.accuracy / d:.3g}, "
        f"{100 * result.completeness / d:.3g}, {100 * result.chamfer / d:.3g}"
    )
    for i, at in enumerate(result.thresholds):
        lines.append(
            f"within {at:.4g} ({100 * at / d:.3g} %): precision {result.precision[i]:.3f}, "
            f"recall {result.recall[i]:.3f}, F1 {result.f1[i]:.3f}"
        )
    if result.normal_consistency is not None:
        lines.append(
            f"normal consistency {result.normal_consistency:.3f}, "
            f"{100 * (result.flipped or 0):.2f} % of the surface faces the wrong way"
        )
    return lines


def _write_page(
    out: Path, subject: Subject, result: MeshScores, notes: Sequence[str], full: float
) -> None:
    from markupsafe import Markup

    from corr.page import assets
    from corr.page.pictures import jpeg_uri, load_rgb
    from corr.page.text import environment

    template = environment().from_string(assets.read("eval_mesh.html.j2", "recon.report"))
    pictures = {
        kind: [jpeg_uri(load_rgb(p), 640) for p in sorted(out.glob(f"{kind}_*.png"))]
        for kind in ("accuracy", "completeness")
    }
    page = template.render(
        title=f"Mesh against truth: {Path(subject.name).name}",
        css=Markup(assets.read("page.css")),
        notes=[f"{subject.name} against {subject.surface}", *notes],
        s=result,
        full=full,
        pictures=pictures,
    )
    write_atomic(out / "report.html", page)
