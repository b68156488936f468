"""report.html: one file that opens from disk, made from the files of a run folder."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from corr.page import assets
from corr.page.pictures import jpeg_uri, load_rgb
from corr.page.text import environment, json_markup
from corr.store import write_atomic
from recon.report import pictures, plots, viewer
from recon.report.metrics import PROTOCOL, CameraSigma, PhotoScore
from recon.report.run_files import Photo, RunFiles, load_run

log = logging.getLogger(__name__)

_DOWNLOADS = {
    "export/splats.ply": "splats, INRIA layout",
    "export/mesh.ply": "mesh with vertex colours",
    "export/mesh.glb": "the mesh with its texture, for viewers (glTF)",
    "export/mesh_coverage.ply": "the mesh with photos, angle and sigma per vertex",
    "export/coverage.json": "what the photos cover of it, and its holes",
    "export/points.ply": "points that the splats began with",
    "export/transforms.json": "cameras for NeRF and splat trainers",
    "export/sparse/": "cameras and points as a COLMAP model",
    "export/images/": "undistorted photos",
    "4_splats/splats.ply": "splats, INRIA layout",
    "5_mesh/mesh.ply": "mesh with vertex colours",
    "metrics.json": "every figure of this page",
    "config.yaml": "options as resolved",
    "run.log": "log of the run",
}
_BACKGROUND = (0.075, 0.082, 0.102)  # of the 3-D view


@dataclass
class PhotoRow:
    """A line of the photo table and, for placed photos, a card with its render."""

    number: int
    photo: Photo
    thumb: str
    score: PhotoScore | None
    sigma: CameraSigma | None
    card: pictures.Triple | None


def write_report(run: Path) -> Path:
    """Write `report.html` into the run folder from the files in it; returns its path.

    Parts that a run does not have are said in the page; parts that cannot be read are named there.

    Raises:
        ValueError: `metrics.json` is damaged.
        FileNotFoundError: There is no `metrics.json`.
    """
    path = Path(run) / "report.html"
    write_atomic(path, render_report(load_run(Path(run))))
    log.info("report: %s, %.1f MB", path, path.stat().st_size / 1e6)
    return path


def render_report(files: RunFiles) -> str:
    """The page as text."""
    template = environment().from_string(_asset("report.html.j2"))
    rows = _rows(files)
    scene, binaries = _scene(files, rows)
    figures = pictures.pair_figures(files.pairs, files.photos)
    low, high = pictures.score_range(files.pairs)
    return template.render(
        files=files,
        m=files.metrics,
        title=files.run.resolve().name,
        rows=rows,
        held_out=_held_out(files),
        scene=json_markup(scene),
        scene_plain=scene,
        binaries=binaries,
        figures=figures,
        score_low=low,
        score_high=high,
        matrix=pictures.pair_matrix(files.pairs, figures, files.num_prepared),
        layouts=_layouts(files),
        charts=[Markup(c) for c in plots.history_charts(files.history)],
        mesh_views=_mesh_views(files.run),
        coverage=_coverage(files),
        downloads=_downloads(files.run),
        protocol={**PROTOCOL, **files.metrics.protocol},
        difference_full=pictures.DIFFERENCE_FULL,
        css=Markup(assets.read("page.css") + _asset("report.css")),
        scripts=_scripts(),
    )


def _asset(name: str) -> str:
    return assets.read(name, "recon.report")


def _scripts() -> list[Markup]:
    """Head, drawing, hands: what all pages share comes before what is ours."""
    head = assets.read("page.js") + _asset("page.js")
    drawing = assets.read("linear.js") + assets.read("webgl.js") + _asset("viewer_gl.js")
    return [Markup(text) for text in (head, drawing, assets.read("orbit.js") + _asset("viewer.js"))]


def _rows(files: RunFiles) -> list[PhotoRow]:
    parts = (files.metrics.training, files.metrics.held_out)
    scores = {s.name: s for part in parts if part is not None for s in part.per_photo}
    known = files.metrics.uncertainty
    sigmas = {s.name: s for s in known.cameras} if known else {}
    side = pictures.side_for(len(files.photos))
    rows = []
    for number, photo in enumerate(files.photos, start=1):
        thumb, card = "", None
        try:
            if photo.work:
                thumb = jpeg_uri(load_rgb(photo.work), 420, quality=80)
            if photo.undistorted and photo.render and photo.status == "placed":
                card = pictures.triple(photo.name, photo.undistorted, photo.render, side)
        except OSError as error:
            files.problems.append(f"pictures of {photo.name}: could not be read ({error})")
        score, sigma = scores.get(photo.name), sigmas.get(photo.name)
        rows.append(PhotoRow(number, photo, thumb, score, sigma, card))
    return rows


def _held_out(files: RunFiles) -> list[tuple[PhotoScore, pictures.Triple | None]]:
    if files.metrics.held_out is None:
        return []
    side = pictures.side_for(2 * len(files.metrics.held_out.per_photo))
    shown = []
    for score in files.metrics.held_out.per_photo:
        pair = files.held_out_pictures(score.name)
        shown.append((score, pictures.triple(score.name, *pair, side) if pair else None))
    return shown


def _scene(files: RunFiles, rows: list[PhotoRow]) -> tuple[dict | None, dict[str, str]]:
    """What the 3-D view needs: a description and base64 blocks; None without cameras."""
    reconstruction = files.reconstruction
    if reconstruction is None or not reconstruction.views:
        return None, {}
    binaries: dict[str, str] = {}
    scene: dict[str, Any] = {
        "frame": viewer.scene_frame(reconstruction),
        "background": _BACKGROUND,
        "splats": None,
        "points": None,
        "mesh": None,
        "cameras": [
            {**viewer.camera_entry(r.photo.view), "number": r.number, "photo": f"photo-{r.number}"}
            for r in rows
            if r.photo.view is not None
        ],
    }
    if len(reconstruction.xyz_world):
        points, count = viewer.pack_points(
            reconstruction.xyz_world, reconstruction.rgb, np.random.default_rng(0)
        )
        scene["points"] = {"count": count}
        binaries["bin-points"] = viewer.base64_text(points)
    _add_splats(files, scene, binaries)
    _add_mesh(files, scene, binaries)
    drawable = scene["splats"] or scene["mesh"] or scene["points"]
    return (scene, binaries) if drawable and scene["cameras"] else (None, {})


def _add_splats(files: RunFiles, scene: dict, binaries: dict[str, str]) -> None:
    path = files.run / "4_splats" / "splats.ply"
    if not path.exists():
        return
    from recon.export.splat_ply import read_splats

    try:
        packed = viewer.pack_splats(read_splats(path))
    except (ValueError, OSError, KeyError) as error:
        files.problems.append(f"splats: could not be read ({error})")
        return
    scene["splats"] = {
        "count": packed.count,
        "total": packed.total,
        "degree": packed.degree,
        "shScale": packed.sh_scale,
    }
    binaries["bin-splats"] = viewer.base64_text(packed.data)


def _add_mesh(files: RunFiles, scene: dict, binaries: dict[str, str]) -> None:
    path = files.run / "5_mesh" / "mesh.ply"
    if not path.exists():
        return
    from recon.export.mesh import read_mesh_ply

    try:
        mesh = read_mesh_ply(path)
        packed = viewer.pack_mesh(mesh.vertices, mesh.faces, mesh.rgb)
    except (ValueError, OSError, KeyError) as error:
        files.problems.append(f"mesh: could not be read ({error})")
        return
    if packed.triangles:
        scene["mesh"] = {"triangles": packed.triangles, "total": packed.total}
        binaries["bin-mesh"] = viewer.base64_text(packed.vertices)
        binaries["bin-faces"] = viewer.base64_text(packed.faces)


def _layouts(files: RunFiles) -> list[Markup]:
    if files.reconstruction is None or not files.reconstruction.views:
        return []
    up = np.array(viewer.scene_frame(files.reconstruction)["up"])
    most = max((p.num_inliers for p in files.pairs), default=0) or 1
    names = [p.name for p in files.photos]
    edges = [
        (names[p.a], names[p.b], (p.num_inliers / most) ** 0.5)
        for p in files.pairs
        if p.num_inliers
    ]
    numbers = {name: k for k, name in enumerate(names, start=1)}
    return [
        Markup(plots.camera_layout(files.reconstruction, up, edges, numbers, side=side))
        for side in (False, True)
    ]


def _mesh_views(run: Path) -> list[tuple[str, str]]:
    found = sorted((run / "5_mesh" / "views").glob("*.png"))[:6]
    return [(p.stem, jpeg_uri(load_rgb(p), 720)) for p in found]


def _coverage(files: RunFiles) -> dict[str, Any] | None:
    """Statement and pictures of what the photos cover, if the mesh stage wrote them."""
    folder = files.run / "5_mesh"
    if not (folder / "coverage.json").is_file():
        return None
    try:
        record = json.loads((folder / "coverage.json").read_text(encoding="utf-8"))
        names = {"photos": "by photos", "angle": "by angle", "sigma": "by uncertainty"}
        found = {n: folder / f"coverage_{key}.png" for key, n in names.items()}
        uris = {n: jpeg_uri(load_rgb(p), 640) for n, p in found.items() if p.is_file()}
        return {"statement": list(record["statement"]), "pictures": uris}
    except (OSError, ValueError, KeyError, TypeError) as error:
        files.problems.append(f"coverage: could not be read ({error})")
        return None


def _downloads(run: Path) -> list[tuple[str, str, float]]:
    """Path relative to the run folder, what it is, and megabytes, of what exists."""
    wanted = dict(_DOWNLOADS)
    for path in sorted((run / "export").iterdir()) if (run / "export").is_dir() else []:
        name = path.relative_to(run).as_posix()
        wanted.setdefault(name + "/" * path.is_dir(), "folder" if path.is_dir() else "export")
    for copied in ("splats.ply", "mesh.ply"):
        if (run / "export" / copied).exists():
            wanted = {k: v for k, v in wanted.items() if k.startswith("export/") or copied not in k}
    return [(k, what, _megabytes(run / k)) for k, what in wanted.items() if (run / k).exists()]


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file()) / 1e6
