"""report.html: one file that opens from disk, with figures, pictures and a 3-D view."""

import datetime
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from corr.geometry.rigid import rotation_angle
from corr.machine import DISTRIBUTION, available_cores, cpu_name, git_state, package_version
from corr.page import assets
from corr.page.pictures import jpeg_uri, load_rgb
from corr.page.text import environment, json_markup
from corr.store import write_atomic
from registration.api import Aligned
from registration.outputs import TrueError
from registration.pictures import DISTANCE_FULL, Pair, distance_colours
from registration.report import plots, viewer
from registration.result import Hypothesis
from registration.summary import SURE, advice, overlap_share, runner_up_text

log = logging.getLogger(__name__)
_PICTURE_SIDE = 1692  # pixels of the embedded pictures
_DOWNLOADS = {
    "transform.txt": "4 × 4, target_from_source",
    "aligned.ply": "the source in the target's frame, full resolution",
    "result.json": "every figure of this page",
    "config.yaml": "options as resolved",
    "run.log": "log of the run",
}


@dataclass(frozen=True)
class HypothesisRow:
    """A line of the table of hypotheses."""

    number: int
    score: float | None
    relative: float  # exp of the score below the best one, 0..1: its odds against the answer
    votes: float | None
    inliers: int
    overlap: float | None
    violations: float | None
    turned_deg: float  # from the answer
    shifted: float  # from the answer, at the source's middle, data's unit
    scale: float


def write_report(folder: Path, aligned: Aligned, pair: Pair, error: TrueError | None) -> Path:
    """Write `report.html` from the answer and the pictures in the folder; returns its path."""
    path = folder / "report.html"
    write_atomic(path, render_report(folder, aligned, pair, error))
    log.info("report: %s, %.1f MB", path, path.stat().st_size / 1e6)
    return path


def render_report(folder: Path, aligned: Aligned, pair: Pair, error: TrueError | None) -> str:
    """The page as text."""
    answer = aligned.registration
    scene, blocks = viewer.scene(pair, answer)
    template = environment().from_string(assets.read("report.html.j2", __package__))
    commit, dirty = git_state()
    return template.render(
        title=f"{aligned.source.name} to {aligned.target.name}",
        a=aligned,
        r=answer,
        matrix=[] if answer.target_from_source is None else _rows(answer.matrix),
        error=error,
        overlap=_known(overlap_share(aligned, pair)),
        rmse=_known(answer.rmse),
        runner_up=runner_up_text(aligned),
        advice=advice(aligned),
        sure=SURE,
        gauge=plots.gauge(answer.probability, accepted=answer.accepted),
        says_probability=plots.probability_text(answer.probability),
        histogram=_histogram(aligned),
        hypotheses=hypothesis_rows(aligned),
        clouds=[_cloud_row(role, c) for role, c in
                (("source", aligned.source), ("target", aligned.target))],
        pictures=_pictures(folder),
        scale_css=_scale_css(),
        distance_full=DISTANCE_FULL,
        evidence=[(k, _known(float(v))) for k, v in answer.evidence.items()],
        seconds=list(answer.seconds.items()),
        total=sum(answer.seconds.values()),
        scene=json_markup(scene),
        scene_plain=scene,
        blocks=blocks,
        downloads=[(n, what, (folder / n).stat().st_size / 1e6)
                   for n, what in _DOWNLOADS.items() if (folder / n).is_file()],
        version=package_version(DISTRIBUTION) or "not installed",
        commit=commit,
        dirty=dirty,
        machine=f"{cpu_name()}, {available_cores()} cores",
        utc=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        css=Markup(assets.read("page.css") + assets.read("report.css", __package__)),
        scripts=_scripts(),
    )  # fmt: skip


def _scripts() -> list[Markup]:
    body = [assets.read(name) for name in ("linear.js", "webgl.js", "orbit.js")]
    body.append(assets.read("viewer.js", __package__))
    return [Markup(assets.read("page.js")), Markup("".join(body))]


def hypothesis_rows(aligned: Aligned) -> list[HypothesisRow]:
    """All candidates, the answer first, with how far each is from it."""
    found = aligned.registration.hypotheses
    if not found:
        return []
    middle = aligned.source.xyz.mean(axis=0)
    best = found[0]
    top = max((h.score for h in found if np.isfinite(h.score)), default=0.0)
    return [
        HypothesisRow(
            number=k,
            score=_known(h.score),
            relative=float(np.exp(min(h.score - top, 0.0))) if np.isfinite(h.score) else 0.0,
            votes=_known(h.votes),
            inliers=h.inliers,
            overlap=_known(h.overlap),
            violations=_known(h.violations),
            turned_deg=float(np.degrees(rotation_angle(
                best.target_from_source.R.T @ h.target_from_source.R))),
            shifted=float(np.linalg.norm(_moved(h, middle) - _moved(best, middle))),
            scale=h.scale,
        )
        for k, h in enumerate(found, start=1)
    ]  # fmt: skip


def _moved(h: Hypothesis, xyz: np.ndarray) -> np.ndarray:
    return h.scale * (h.target_from_source.R @ xyz) + h.target_from_source.t


def _rows(matrix: np.ndarray) -> list[list[str]]:
    return [[f"{v:.9g}" if abs(v) > 1e-12 else "0" for v in row] for row in matrix]


def _pictures(folder: Path) -> dict[str, str]:
    """The overlay pictures as addresses; empty where there is none."""
    names = ("before", "after", "distance", "colours")
    files = {name: folder / f"overlay_{name}.png" for name in names}
    return {
        name: jpeg_uri(load_rgb(path), _PICTURE_SIDE) if path.is_file() else ""
        for name, path in files.items()
    }


def _histogram(aligned: Aligned) -> Markup | None:
    r = aligned.registration
    if aligned.residual is None or len(r.inlier) != len(aligned.residual):
        return None
    return plots.residual_histogram(aligned.residual, r.inlier, aligned.voxel)


def _cloud_row(role: str, cloud: Any) -> dict[str, Any]:
    extent = np.ptp(cloud.xyz, axis=0)
    sensor = None if cloud.sensor is None else ", ".join(f"{v:.3g}" for v in cloud.sensor)
    return {
        "role": role, "name": cloud.name, "points": len(cloud),
        "extent": " × ".join(f"{v:.4g}" for v in extent),
        "sensor": sensor or "unknown", "colours": cloud.rgb is not None,
        "normals": cloud.normals is not None,
    }  # fmt: skip


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _scale_css() -> str:
    stops = distance_colours(np.linspace(0, DISTANCE_FULL, 9))
    return ",".join(f"rgb({r} {g} {b})" for r, g, b in stops)
