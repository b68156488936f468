"""report.html of a two-view evaluation: the tables, precision and recall, the worst pairs first."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from tqdm import tqdm

from corr.evaluation import tables
from corr.evaluation.estimate import Seen
from corr.evaluation.predict import as_image, load
from corr.evaluation.published import ROWS
from corr.evaluation.scores import PairScore, Scores, worst_first
from corr.evaluation.sets import PairSet, TruePair
from corr.match_pictures import matches_picture
from corr.page import assets
from corr.page.pictures import jpeg_uri
from corr.page.plots import curve
from corr.page.text import environment
from corr.store import write_atomic

log = logging.getLogger(__name__)
_PACKAGE = "corr.evaluation"


@dataclass(frozen=True)
class PairRow:
    """One pair as the page shows it."""

    key: str
    error: str
    matches: int
    precision: str
    picture: str  # data: address


def write_page(
    path: Path, whole: PairSet, scores: Scores, folder: Path,
    *, protocol: Sequence[str], worst: int,
) -> None:  # fmt: skip
    """Write the page with the `worst` pairs that went wrong most."""
    order = worst_first(scores)[:worst]
    rows = [
        pair_row(whole, whole.pairs[k], scores.per_pair[k], folder, tables.UNIT[scores.kind])
        for k in tqdm(order, desc="pictures", unit="pair", disable=len(order) < 50)
    ]
    plot = curve(scores.curve, x="recall", y="precision", title="precision over recall")
    html = environment().from_string(assets.read("page.html.j2", _PACKAGE)).render(
        title=tables.heading(scores), sanity=tables.sanity(scores), scores=scores, pairs=rows,
        protocol=[*protocol, *scores.notes], css=Markup(assets.read("page.css")),
        limits=tables.limits(scores), matching=tables.matching_line(scores),
        published=tables.published_rows(scores) if scores.benchmark in ROWS else [],
        curve=plot if scores.curve else "",
    )  # fmt: skip
    write_atomic(path, html)
    log.info("page: %s, %.1f MB", path, path.stat().st_size / 1e6)


def pair_row(whole: PairSet, pair: TruePair, scored: PairScore, folder: Path, unit: str) -> PairRow:
    """The pair's figures and its picture."""
    matches = load(folder, pair.key)
    right = Seen.of(pair, matches, whole).correct(whole.correct_epipolar)
    picture = matches_picture(
        as_image(pair.a).load(), as_image(pair.b).load(), matches.uv_a, matches.uv_b,
        matches.score, right,
    )  # fmt: skip
    error = tables.number(scored.error)
    precision = f"{tables.percent(scored.precision)} %"
    return PairRow(
        pair.key, "no answer" if error == "-" else f"{error} {unit}", scored.matches, precision,
        jpeg_uri(picture, 1000),
    )  # fmt: skip
