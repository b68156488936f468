"""`python -m recon features`: described points of a run, and a place carried to another run."""

import dataclasses
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PilImage

from corr.errors import UserError
from corr.folders import make_folder
from corr.semantic.dense_pictures import beside, heat_map
from corr.semantic.features.cache import described
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.pictures import marked
from corr.store import write_atomic
from recon.options_features import FeaturesOptions
from recon.render.select import renderer_for
from recon.semantic.field import FeatureField, Landing, build_field, land, save_field
from recon.semantic.finished import FinishedRun, clicked, read_run
from recon.semantic.lift import Look, sight
from recon.semantic.refine import Fit, Head
from recon.workspace import check_finished

log = logging.getLogger(__name__)
PICTURE_PX = 360  # height of the picture of a transfer


@dataclass(frozen=True, eq=False)
class Described:
    """A run and its field."""

    run: FinishedRun
    field: FeatureField


def features(options: FeaturesOptions) -> str:
    """Describe a run's points; with `other`, describe that run alike and carry a place over.

    Writes `features.npz` and `features.json`; with `other` also `other_features.npz`,
    `transfer.json` and `transfer.jpg`. The other run's features are refined by the first one's
    head, so the two files can be compared.

    Raises:
        UserError: A folder holds no finished run, or the place is not described.
    """
    folder = Path(options.run).expanduser()
    out = Path(options.out).expanduser() if options.out else folder / "features"
    other = Path(options.other).expanduser()
    if options.other:
        check_finished(other)  # before the first run's features are computed
    renderer = renderer_for(options.device)
    run = read_run(folder, options.features, renderer)
    point = _place(options, run)
    make_folder(out)
    here, fit = _describe(run, options, None)
    assert fit is not None
    save_field(out / "features.npz", here.field)
    _write(out / "features.json", _facts(here.field, options, fit))
    lines = [_summary(here, fit), f"features: {out / 'features.npz'}"]
    if point is None:
        return "\n".join(lines)
    there_run = read_run(other, run.extractor, renderer)
    there, _ = _describe(there_run, options, here.field.head)
    save_field(out / "other_features.npz", there.field)
    landing = land(point, here.field, there.field)
    _write(out / "transfer.json", {"from": point.tolist(), **_plain(landing),
                                   "other": str(other.resolve())})  # fmt: skip
    asked = run.look(options.photo) if options.photo else _best_look(run, point)
    picture = transfer_picture(here, there, asked, point, landing)
    PilImage.fromarray(picture).save(out / "transfer.jpg", quality=90)
    return "\n".join([*lines, _told(point, landing), f"picture: {out / 'transfer.jpg'}"])


def transfer_picture(
    here: Described, there: Described, asked: Look, point: Float[np.ndarray, " 3"], landing: Landing
) -> UInt8[np.ndarray, "_ _ 3"]:
    """The place in a photo of the run; where it landed in a photo of the other; similarity there.

    The heat map compares the described place with the other photo's own cells under the same head.
    """
    shown = _best_look(there.run, landing.xyz)
    places = [_pixel(asked, point), _pixel(shown, landing.xyz)]
    a = here.run.pictures[asked.view.name]
    b = there.run.pictures[shown.view.name]
    heat = heat_map(b, _refined(shown.grid, here.field.head), here.field.at(point))
    panes = [marked(a, places[0]), marked(b, places[1]), marked(heat, places[1])]
    return beside(panes, PICTURE_PX)


def _refined(grid: FeatureGrid, head: Head) -> FeatureGrid:
    return dataclasses.replace(grid, descriptor=head(grid.descriptor.astype(np.float32)))


def _describe(
    run: FinishedRun, options: FeaturesOptions, head: Head | None
) -> tuple[Described, Fit | None]:
    xyz, rgb = run.points(options.on, options.max_points, np.random.default_rng(options.seed))
    try:
        field, fit = build_field(
            xyz, rgb, run.looks, min_views=options.min_views, iterations=options.iterations,
            seed=options.seed, head=head,
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"{run.folder}: {error}") from None
    return Described(run, field), fit


def _place(options: FeaturesOptions, run: FinishedRun) -> Float[np.ndarray, " 3"] | None:
    """The place that is asked about, in the run's frame."""
    if options.photo:
        return clicked(run.look(options.photo), np.array(options.uv))
    return np.array(options.xyz) if options.point else None


def _pixel(look: Look, point: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 2"]:
    return look.view.camera.project(look.view.cam_from_world.apply(point[None]))[0][0]


def _best_look(run: FinishedRun, point: Float[np.ndarray, " 3"]) -> Look:
    """The view that sees a place best; if its surface hides it from all, the one that faces it."""
    weights = [float(sight(point[None], look)[0][0]) for look in run.looks]
    if max(weights) > 0:
        return run.looks[int(np.argmax(weights))]
    off = []
    for look in run.looks:
        camera = look.view.camera
        uv, z = camera.project(look.view.cam_from_world.apply(point[None]))
        away = np.linalg.norm(uv[0] - [camera.width / 2, camera.height / 2])
        off.append(float(away) if z[0] > 0 else math.inf)
    return run.looks[int(np.argmin(off))]


def _summary(here: Described, fit: Fit) -> str:
    field = here.field
    text = (
        f"{len(field.keypoints)} of {len(field.xyz)} points described, by {field.views.mean():.1f} "
        f"photos on average, {field.features.shape[1]} numbers each"
    )
    if math.isnan(fit.before):
        return f"{text}; not refined"
    return (
        f"{text}; the same place found from another photo, held-out points: "
        f"{100 * fit.before:.1f} % before the head, {100 * fit.after:.1f} % after"
    )


def _told(point: Float[np.ndarray, " 3"], landing: Landing) -> str:
    there = ", ".join(f"{v:.4g}" for v in landing.xyz)
    return (
        f"{', '.join(f'{v:.4g}' for v in point)} lands at {there} of the other run; confidence "
        f"{landing.confidence:.2f} (an order of trust, no probability: similarity "
        f"{landing.similarity:.2f}, margin {landing.margin:.3f}, round trip ends "
        f"{100 * landing.round_trip:.1f} % of the scene off)"
    )


def _facts(field: FeatureField, options: FeaturesOptions, fit: Fit) -> dict[str, Any]:
    return {
        "features": described(options.features), "on": options.on, "seed": options.seed,
        "points": len(field.xyz), "described": len(field.keypoints),
        "views_mean": float(field.views.mean()), "head": _plain(fit),
    }  # fmt: skip


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON can hold it; unknown numbers as null."""
    out: dict[str, Any] = {}
    for name, item in dataclasses.asdict(value).items():
        item = item.tolist() if isinstance(item, np.ndarray) else item
        out[name] = None if isinstance(item, float) and not math.isfinite(item) else item
    return out


def _write(path: Path, facts: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(facts, indent=1, allow_nan=False))
