"""The scores as Markdown."""

import math
from collections.abc import Sequence

from corr.evaluation.published import ROWS
from corr.evaluation.scores import AUC_AT, Row, Scores
from corr.semantic.evaluation.tables import percent, table

UNIT = {"pose": "deg", "homography": "px"}


def markdown(scores: Scores, *, protocol: Sequence[str]) -> str:
    """The whole report of one run."""
    parts = [
        f"# {heading(scores)}",
        sanity(scores),
        "\n".join(f"- {line}" for line in (*protocol, *scores.notes)),
        "## Estimators",
        estimator_table(scores),
        matching_line(scores),
        "## By group" if len(scores.groups) > 1 else "",
        group_table(scores) if len(scores.groups) > 1 else "",
        "## Published" if scores.benchmark in ROWS else "",
        published_table(scores) if scores.benchmark in ROWS else "",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def heading(scores: Scores) -> str:
    """What was scored; a part of a benchmark is called what it is."""
    return scores.benchmark if scores.complete else f"{scores.benchmark}: sanity"


def sanity(scores: Scores) -> str:
    """A warning where the numbers are no result of the benchmark."""
    if scores.complete:
        return ""
    return (
        f"sanity: {scores.pairs} of the official {scores.official_pairs} pairs. These numbers show "
        "that everything runs; they are no result and compare with nothing."
    )


def limits(scores: Scores) -> list[str]:
    """Heads of the AUC columns."""
    return [f"AUC@{at:g} {UNIT[scores.kind]}" for at in AUC_AT[scores.kind]]


def estimator_table(scores: Scores) -> str:
    """Every estimator at every threshold, on the same matches."""
    head = ["estimator", "threshold px", *limits(scores), f"median error {UNIT[scores.kind]}",
            "no answer", "inliers", "ms"]  # fmt: skip
    return table(head, [_cells(row, row == scores.headline) for row in scores.rows])


def _cells(row: Row, best: bool) -> list[str]:
    name = f"**{row.estimator}**" if best else row.estimator
    return [
        name, f"{row.threshold:g}", *(percent(a) for a in row.auc), number(row.median_error),
        str(row.failures), f"{row.inliers:.0f}", f"{1000 * row.seconds:.1f}",
    ]  # fmt: skip


def matching_line(scores: Scores) -> str:
    """What holds whatever the estimator."""
    right = "matches right" if scores.kind == "pose" else "matches within 3 px"
    return (
        f"{scores.pairs} pairs, {scores.matches:.0f} matches each, {percent(scores.precision)} % "
        f"of the {right} (mean over pairs), {scores.seconds:.3f} s per pair for matching."
    )


def group_table(scores: Scores) -> str:
    """The headline's AUC by group."""
    rows = [[n, str(c), *(percent(a) for a in at)] for n, c, at in scores.groups]
    return table(["group", "pairs", *limits(scores)], rows)


def published_rows(scores: Scores) -> list[list[str]]:
    """Ours, then others, with the protocol of each."""
    word = "" if scores.complete else " (sanity)"
    ours = [
        [f"**this run{word}**", f"{r.estimator} {r.threshold:g} px", f"{scores.pairs} pairs",
         *(percent(a) for a in r.auc), ""]
        for r in scores.rows
    ]  # fmt: skip
    others = [
        [p.method, p.estimator, p.protocol, *(number(a, 1) for a in p.auc), p.source]
        for p in ROWS.get(scores.benchmark, ())
    ]
    return [*ours, *others]


def published_table(scores: Scores) -> str:
    """Other methods, quoted; numbers of different estimators do not compare."""
    head = ["method", "estimator", "protocol", *limits(scores), "source"]
    return table(head, published_rows(scores))


def number(value: float, digits: int = 2) -> str:
    """A dash for what is not known or infinite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
