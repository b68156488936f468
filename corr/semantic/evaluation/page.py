"""report.html of an evaluation: the tables, and the worst pairs first."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from tqdm import tqdm

from corr.page import assets
from corr.page.pictures import jpeg_uri
from corr.page.text import environment
from corr.semantic.datasets.base import KeypointPair, PairSet
from corr.semantic.evaluation.predictions import Prediction
from corr.semantic.evaluation.scores import HEADLINE, Scores
from corr.semantic.evaluation.tables import AVERAGES, heading, is_result
from corr.semantic.features.cache import read_photo
from corr.semantic.pck import PointErrors, correct, point_errors
from corr.semantic.pictures import pair_picture
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
) -> None:
    """Write the page with the `worst` pairs that went wrong most."""
    uv = {p.key: predictions[p.key].uv for p in pairs.pairs}
    errors = point_errors(pairs, uv, scores.extent)
    order = worst_first(errors)[:worst]
    rows = [
        pair_row(pairs.pairs[k], predictions[pairs.pairs[k].key], errors, k)
        for k in tqdm(order, desc="pictures", unit="pair", disable=len(order) < 50)
    ]
    template = environment().from_string(assets.read("page.html.j2", _PACKAGE))
    html = template.render(
        title=heading(scores), scores=scores, rows=rows, setup=setup,
        css=Markup(assets.read("page.css")), averages=AVERAGES, headline=HEADLINE,
        result=is_result(scores),
    )  # fmt: skip
    write_atomic(path, html)
    log.info("page: %s, %.1f MB", path, path.stat().st_size / 1e6)


def pair_row(
    pair: KeypointPair, prediction: Prediction, errors: PointErrors, index: int
) -> PairRow:
    """The pair's figures and its picture."""
    own = errors.pair == index
    found = correct(errors, HEADLINE)[own]
    relative = float(np.median(errors.error_px[own] / errors.extent_px[own]))
    picture = pair_picture(
        read_photo(pair.source), read_photo(pair.target), uv_source=pair.source.uv,
        uv_true=pair.target.uv, uv_found=prediction.uv, found=found,
    )  # fmt: skip
    return PairRow(
        pair.key, pair.category, int(found.sum()), len(found),
        relative if np.isfinite(relative) else None, float(prediction.confidence.mean()),
        jpeg_uri(picture, 900),
    )  # fmt: skip
