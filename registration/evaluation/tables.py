"""The scores as Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence

from registration.evaluation.published import ROWS
from registration.evaluation.scores import SceneScores, Scores
from registration.recall import Bin

UNORIENTED = (
    "This run gave the registrar the sensor position; published rows most likely did not use it. "
    "Compare them with orientation=none."
)


def markdown(scores: Scores, *, registrar: str, orientation: str) -> str:
    """The whole report of one run."""
    parts = [
        f"# {scores.benchmark}, registrar={registrar}, orientation={orientation}",
        _missing(scores),
        "## Recall (%)",
        recall_table(scores),
        _definitions(scores),
        "## Errors and costs",
        error_table(scores),
        "## By overlap, and by inlier ratio (definition A)",
        bin_table("overlap", scores.by_overlap),
        bin_table("inlier ratio", scores.by_inlier_ratio),
        "## Probability",
        calibration_table(scores),
        "## Published",
        published_table(scores),
        UNORIENTED if orientation == "sensor" else "",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def recall_table(scores: Scores) -> str:
    """Definitions and averagings, scene by scene."""
    head = ["scene", "pairs", "answered", "A", "B", "B, row 0 left out", "B, strict"]
    rows = [_recall_row(s) for s in scores.scenes]
    total, r = scores.total, scores.total.recalls
    rows.append(
        ["**mean over pairs**", str(total.pairs), str(total.answered), percent(r.a_pairs),
         percent(r.b_pairs), percent(r.b_predator), ""]
    )  # fmt: skip
    rows.append(
        ["**mean over scenes**", "", "", percent(r.a_scenes), percent(r.b_scenes), "",
         percent(r.b_geotransformer)]
    )  # fmt: skip
    return table(head, rows)


def _recall_row(scene: SceneScores) -> list[str]:
    r = scene.recalls
    return [scene.scene, str(scene.pairs), str(scene.answered), percent(r.a_pairs),
            percent(r.b_pairs), percent(r.b_predator), percent(r.b_geotransformer)]  # fmt: skip


def keypoint_table(runs: Mapping[int, Scores]) -> str:
    """Runs with different numbers of key-points side by side."""
    head = ["key-points", "pairs", "A", "B", "RE deg", "TE cm", "IR %", "FMR %", "s register"]
    rows = []
    for count, scores in runs.items():
        t = scores.total
        rows.append(
            [str(count) if count else "all", str(t.pairs), percent(t.recalls.a_pairs),
             percent(t.recalls.b_pairs), number(t.successes.rotation_mean_deg),
             number(t.successes.translation_mean_cm), percent(t.inlier_ratio), percent(t.fmr),
             number(t.seconds_register)]
        )  # fmt: skip
    title = next(iter(runs.values())).benchmark
    return f"# {title}, by number of key-points\n\n{table(head, rows)}\n"


def error_table(scores: Scores) -> str:
    """Pose errors, inlier ratio, FMR and seconds, scene by scene."""
    head = ["scene", "RE deg", "TE cm", "RE median", "TE median", "RE all, median",
            "TE all, median", "IR %", "FMR %", "s register", "s a pair"]  # fmt: skip
    rows = []
    for scene in (*scores.scenes, scores.total):
        good, every = scene.successes, scene.all_pairs
        numbers = [good.rotation_mean_deg, good.translation_mean_cm, good.rotation_median_deg,
                   good.translation_median_cm, every.rotation_median_deg,
                   every.translation_median_cm]  # fmt: skip
        rows.append(
            [scene.scene, *map(number, numbers), percent(scene.inlier_ratio), percent(scene.fmr),
             number(scene.seconds_register), number(scene.seconds_pair)]
        )  # fmt: skip
    good, every = scores.total.successes, scores.total.all_pairs
    note = (
        f"RE and TE are means over the {good.count} successes (definition A); over all "
        f"{every.count} answers the means are {number(every.rotation_mean_deg)} deg and "
        f"{number(every.translation_mean_cm)} cm. The inlier ratio is that of the registrar's own "
        "matches within two voxels of the truth. A pair's seconds include the preparation of each "
        "fragment once per scene; one thread."
    )
    return table(head, rows) + "\n\n" + note


def bin_table(name: str, bins: Sequence[Bin]) -> str:
    """Recall per bin; empty when the quantity is unknown."""
    if not bins:
        return ""
    rows = [[f"{100 * b.low:g}-{100 * b.high:g} %", str(b.count), percent(b.recall)] for b in bins]
    return table([name, "pairs", "recall"], rows)


def calibration_table(scores: Scores) -> str:
    """Quality of the probability, then stated against true."""
    c = scores.calibration
    line = (
        f"Expected calibration error {number(c.ece, 3)}, Brier score {number(c.brier, 3)}, "
        f"AUC {number(c.auc, 3)}. At 95 % precision it answers {percent(c.coverage_95)} % of the "
        f"pairs (probability >= {number(c.threshold_95)}). Accepted by itself: "
        f"{percent(scores.accepted_share)} %, {percent(scores.accepted_precision)} % of them right."
    )
    rows = [
        [f"{b.low:.1f}-{b.high:.1f}", str(b.count), number(b.stated), number(b.true)]
        for b in c.reliability
    ]
    return line + "\n\n" + table(["probability", "pairs", "stated", "right"], rows)


def published_table(scores: Scores) -> str:
    """Other methods, quoted; ours beside them by every definition that they use."""
    r, good = scores.total.recalls, scores.total.successes
    rows = [
        ["**this run**", "", "A" if scores.benchmark != "KITTI" else scores.limit,
         percent(r.a_pairs), number(good.rotation_mean_deg), number(good.translation_mean_cm),
         number(scores.total.seconds_pair), f"{scores.total.pairs} pairs"]
    ]  # fmt: skip
    definitions = {"B": r.b_predator, **scores.other_limits}
    rows += [
        ["**this run**", "", d, percent(v), "", "", "", "PREDATOR's count" if d == "B" else ""]
        for d, v in definitions.items()
        if math.isfinite(v)
    ]
    rows += [
        [p.method, p.features, p.definition, f"{p.recall:g}", number(p.rotation_deg),
         number(p.translation_cm), number(p.seconds), p.source]
        for p in ROWS[scores.benchmark]
    ]  # fmt: skip
    if len(rows) == 1:
        return ""
    return table(["method", "features", "definition", "recall", "RE deg", "TE cm", "s", "source"],
                 rows)  # fmt: skip


def _missing(scores: Scores) -> str:
    if not scores.missing:
        return ""
    return (
        f"{len(scores.missing)} scenes are not in the folder: {', '.join(scores.missing)}. "
        "Published numbers are over all of them."
    )


def _definitions(scores: Scores) -> str:
    text = f"A: all pairs, errors under {scores.limit}."
    if math.isfinite(scores.total.recalls.b_pairs):
        text += (
            " B: pairs that are not consecutive, RMSE through gt.info at most 0.2 m; without each "
            "scene's first row as PREDATOR counts; strictly under 0.2 m as GeoTransformer counts."
        )
    return text


def percent(share: float) -> str:
    """Of 0..1, one digit; a dash for NaN."""
    return f"{100 * share:.1f}" if math.isfinite(share) else "-"


def number(value: float, digits: int = 2) -> str:
    """Fixed digits; a dash for NaN."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in plain text too."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
