"""The scores as Markdown."""

import math
from collections.abc import Iterable, Sequence

from corr.semantic.evaluation.published import ROWS
from corr.semantic.evaluation.scores import HEADLINE, Scores
from corr.semantic.pck import Averages
from corr.semantic.pck_defects import DEFECTS

AVERAGES = {
    "per_image": "per image", "per_point": "per point",
    "category_mean": "mean of categories", "weighted": "categories by point, weighted by pairs",
}  # fmt: skip


def markdown(scores: Scores, *, setup: str, mirrored: Scores | None = None) -> str:
    """The whole report of one run."""
    parts = [
        f"# {heading(scores)}",
        setup,
        _sanity(scores),
        "\n".join(f"- {note}" for note in scores.notes),
        "## PCK (%)",
        pck_table(scores),
        _legend(scores),
        "## By category" if len(categories(scores)) > 1 else "",
        subset_table(scores, ("category",)) if len(categories(scores)) > 1 else "",
        "## By difficulty, and where only geometry tells parts apart",
        subset_table(scores, ("viewpoint", "scale", "truncation", "occlusion", "mirror",
                              "geometry")),
        _confusion(scores),
        "## With the source mirrored" if mirrored else "",
        pck_table(mirrored) if mirrored else "",
        _confusion(mirrored) if mirrored else "",
        "## The same predictions under evaluators with known defects",
        defect_table(scores),
        "## Confidence",
        _trust(scores),
        "## Published" if published_table(scores) else "",
        published_table(scores),
    ]  # fmt: skip
    return "\n\n".join(p for p in parts if p) + "\n"


def heading(scores: Scores) -> str:
    """What was scored; a part of a benchmark is called what it is."""
    name = f"{scores.benchmark} {scores.split}"
    return name if is_result(scores) else f"{name}: sanity"


def is_result(scores: Scores) -> bool:
    """Whether the numbers are those of the benchmark, or of a set that has no official size."""
    return scores.complete or not scores.official_pairs


def _sanity(scores: Scores) -> str:
    if is_result(scores):
        return ""
    return (
        f"sanity: {scores.pairs} of the official {scores.official_pairs} pairs. These numbers show "
        "that everything runs; they are no result and compare with nothing."
    )


def pck_table(scores: Scores) -> str:
    """Four averages at every alpha, with <= and with <."""
    head = ["average", *(f"@{a:g}" for a in scores.alphas), *(f"< @{a:g}" for a in scores.alphas)]
    rows = [
        [label, *(percent(getattr(a, name)) for a in (*scores.averages, *scores.strict))]
        for name, label in AVERAGES.items()
    ]
    return table(head, rows)


def _legend(scores: Scores) -> str:
    what = {"box": "the longer side of the target's box", "image": "the target's longer side",
            "points": "the extent of the target's key-points"}[scores.extent]  # fmt: skip
    text = (
        f"{scores.points} points of {scores.pairs} pairs; alpha times {what}, distances in "
        "original pixels, found at <= (right half: strictly nearer)."
    )
    if scores.unanswered:
        text += f" {scores.unanswered} points have no answer and count as not found."
    if scores.without_points:
        text += f" {scores.without_points} pairs share no key-point and are in no average."
    return text


def categories(scores: Scores) -> list[str]:
    """Names of the categories."""
    return [s.level for s in scores.subsets if s.group == "category"]


def subset_table(scores: Scores, groups: Sequence[str]) -> str:
    """PCK per image and per point of some subsets."""
    head = ["subset", "pairs", "points", *(f"image @{a:g}" for a in scores.alphas),
            *(f"point @{a:g}" for a in scores.alphas)]  # fmt: skip
    rows = [
        [s.level if s.group == "category" else f"{s.group}: {s.level}", str(s.pairs), str(s.points),
         *(percent(a.per_image) for a in s.averages), *(percent(a.per_point) for a in s.averages)]
        for s in scores.subsets if s.group in groups
    ]  # fmt: skip
    return table(head, rows) if rows else "The annotation states none."


def _confusion(scores: Scores) -> str:
    c = scores.confusion
    if not c.points:
        return ""
    return (
        f"Left or right: of {c.points} points whose twin the target shows, {percent(c.found)} % "
        f"are found at alpha {HEADLINE:g}, {percent(c.at_twin)} % lie on the twin instead, "
        f"{percent(c.elsewhere)} % elsewhere."
    )


def defect_table(scores: Scores) -> str:
    """What each mistake on record would make of these predictions."""
    k = scores.alphas.index(HEADLINE)
    rows = [["**right**", "", *_two(scores.averages[k]), ""]]
    rows += [
        [d.name, d.what, *_two(scores.defects[d.name]), d.source]
        for d in DEFECTS if d.name in scores.defects
    ]  # fmt: skip
    rows.append(["strict", "< instead of <=", *_two(scores.strict[k]), "SD-DINO, GeoAware-SC"])
    return table(["evaluator", "mistake", f"per image @{HEADLINE:g}", f"per point @{HEADLINE:g}",
                  "where"], rows)  # fmt: skip


def _two(a: Averages) -> list[str]:
    return [percent(a.per_image), percent(a.per_point)]


def _trust(scores: Scores) -> str:
    t = scores.trust
    parts = [
        f"A found point is surer than one that is not with a chance of {percent(t.auc)} % (50 = "
        f"guessing); of the surer half of the points {percent(t.surest_half)} % are found at alpha "
        f"{HEADLINE:g}. {meaning(scores)}"
    ]
    if t.risk:
        head = ["answered", *(f"{100 * c:.0f} %" for c, _, _ in t.risk)]
        rows = [["wrong", *(f"{percent(r)} %" for _, r, _ in t.risk)],
                ["confidence at least", *(f"{s:.2f}" for _, _, s in t.risk)]]  # fmt: skip
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def meaning(scores: Scores) -> str:
    """What the confidence of this run is."""
    t = scores.trust
    if not t.calibrated:
        return (
            "The confidence is an order of trust, not a probability: no curve is shipped for these "
            "features and this way of matching."
        )
    return (
        "The confidence is the probability of being found at alpha 0.1, fitted on other photos of "
        f"rendered cows; its expected calibration error here is {t.reliability.error:.3f}."
    )


def published_table(scores: Scores) -> str:
    """Other methods, quoted; ours beside them by the two averages that they use."""
    rows = ROWS.get(scores.benchmark.removesuffix(" small"))
    if not rows:
        return ""
    word = "" if is_result(scores) else " (sanity)"
    ours = [
        [f"**this run{word}**", "", label, *(percent(getattr(a, name)) for a in scores.averages),
         f"{scores.pairs} pairs", ""]
        for name, label in AVERAGES.items()
    ]  # fmt: skip
    others = [
        [p.method, p.supervision, p.average, *(_number(v) for v in p.pck), p.source, p.note]
        for p in rows
    ]
    head = ["method", "supervision", "average", *(f"@{a:g}" for a in scores.alphas), "source", ""]
    return table(head, [*ours, *others])


def percent(share: float) -> str:
    """Of 0..1, one digit; a dash for NaN."""
    return f"{100 * share:.1f}" if math.isfinite(share) else "-"


def _number(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
