"""report.html of an evaluation: the tables, and the worst pairs first."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from tqdm import tqdm

from corr.page import assets
from corr.page.pictures import jpeg_uri
from corr.page.text import environment
from corr.semantic.datasets.base import KeypointPair, PairSet
from corr.semantic.dense_pictures import beside, colours_carried, heat_map, joint_pca, over_photo
from corr.semantic.evaluation.curves import reliability_curve, risk_curve
from corr.semantic.evaluation.predictions import Prediction
from corr.semantic.evaluation.scores import HEADLINE, Scores
from corr.semantic.evaluation.tables import AVERAGES, heading, is_result, meaning
from corr.semantic.features.cache import FeatureCache, read_photo
from corr.semantic.pck import PointErrors, correct, point_errors
from corr.semantic.pictures import marked, pair_picture
from corr.semantic.pose_alignment import object_cells
from corr.semantic.transfer import Transfer
from corr.semantic.warp import dense_warp
from corr.store import write_atomic

log = logging.getLogger(__name__)
_PACKAGE = "corr.semantic.evaluation"


@dataclass(frozen=True)
class PairRow:
    """One pair as the page shows it."""

    key: str
    category: str
    found: int
    points: int
    median_error: float | None  # of the extent that alpha multiplies; None = no answer
    confidence: float
    picture: str  # data: address
    asked: str  # key-point of the heat map
    seen: str  # data: address: heat map, joint colours of both photos, colours carried over


def worst_first(errors: PointErrors) -> list[int]:
    """Pairs with points by the share found at the headline's alpha, then by mean capped error."""
    found = correct(errors, HEADLINE)
    pairs = len(errors.category)
    points = np.bincount(errors.pair, minlength=pairs)
    share = np.bincount(errors.pair[found], minlength=pairs) / np.maximum(points, 1)
    relative = np.minimum(errors.error_px / errors.extent_px, 1.0)
    mean = np.bincount(errors.pair, relative, minlength=pairs) / np.maximum(points, 1)
    order = np.lexsort((np.arange(pairs), -mean, share))
    return [int(k) for k in order if points[k]]


def write_page(
    path: Path,
    pairs: PairSet,
    predictions: Mapping[str, Prediction],
    scores: Scores,
    *,
    setup: str,
    worst: int,
    cache: FeatureCache,
    transfer: Transfer,
) -> None:
    """Write the page with the `worst` pairs that went wrong most.

    Args:
        path: Of the page.
        pairs: What was asked.
        predictions: The answers by the pair's key.
        scores: Of these.
        setup: One line on how they were made.
        worst: Pairs shown.
        cache: Of the features, for the pictures of what they see.
        transfer: For the dense warp of the last picture.
    """
    uv = {p.key: predictions[p.key].uv for p in pairs.pairs}
    errors = point_errors(pairs, uv, scores.extent)
    order = worst_first(errors)[:worst]
    rows = [
        pair_row(pairs.pairs[k], predictions[pairs.pairs[k].key], errors, k, cache, transfer)
        for k in tqdm(order, desc="pictures", unit="pair", disable=len(order) < 50)
    ]
    template = environment().from_string(assets.read("page.html.j2", _PACKAGE))
    html = template.render(
        title=heading(scores), scores=scores, rows=rows, setup=setup,
        css=Markup(assets.read("page.css")), averages=AVERAGES, headline=HEADLINE,
        result=is_result(scores), meaning=meaning(scores),
        curves=Markup(risk_curve(scores.trust) + reliability_curve(scores.trust)),
    )  # fmt: skip
    write_atomic(path, html)
    log.info("page: %s, %.1f MB", path, path.stat().st_size / 1e6)


def pair_row(
    pair: KeypointPair,
    prediction: Prediction,
    errors: PointErrors,
    index: int,
    cache: FeatureCache,
    transfer: Transfer,
) -> PairRow:
    """The pair's figures and its pictures."""
    own = errors.pair == index
    found = correct(errors, HEADLINE)[own]
    relative = errors.error_px[own] / errors.extent_px[own]
    median, asked = float(np.median(relative)), int(np.argmax(relative))
    photos = read_photo(pair.source), read_photo(pair.target)
    picture = pair_picture(
        *photos, uv_source=pair.source.uv, uv_true=pair.target.uv, uv_found=prediction.uv,
        found=found,
    )  # fmt: skip
    seen = seen_picture(pair, asked, photos, cache, transfer)
    return PairRow(
        pair.key, pair.category, int(found.sum()), len(found),
        median if np.isfinite(median) else None, float(prediction.confidence.mean()),
        jpeg_uri(picture, 900), pair.ids[asked], jpeg_uri(seen, 1200),
    )  # fmt: skip


def seen_picture(
    pair: KeypointPair,
    asked: int,
    photos: tuple[UInt8[np.ndarray, "_ _ 3"], UInt8[np.ndarray, "_ _ 3"]],
    cache: FeatureCache,
    transfer: Transfer,
    height: int = 220,
) -> UInt8[np.ndarray, "height w 3"]:
    """Heat map of one key-point in the target, both photos' joint colours, the dense warp.

    The warp gives the target's shape the source's colours. The source is taken as it is, also
    where `align=pose` matched from its mirror image.
    """
    source, target = cache.get(pair.source), cache.get(pair.target)
    descriptor = source.sample(pair.source.uv[asked : asked + 1])[0]
    heat = marked(heat_map(photos[1], target, descriptor), pair.target.uv[asked])
    inside = [object_cells(pair.source, source), object_cells(pair.target, target)]
    colours = joint_pca([source, target], inside)
    joint = [
        np.rint(255 * over_photo(plane, grid)).astype(np.uint8)
        for plane, grid in zip(colours, (source, target), strict=True)
    ]
    warp = dense_warp(target, source, transfer)
    return beside([heat, *joint, colours_carried(photos[1], photos[0], warp)], height)
