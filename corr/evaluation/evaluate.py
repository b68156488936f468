"""`corr eval` of two-view benchmarks: matches to disk, estimates to a file, scores from those."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from corr.errors import UserError
from corr.evaluation.estimate import estimate, read_estimates
from corr.evaluation.homography_sets import read_hpatches, read_oxford
from corr.evaluation.page import write_page
from corr.evaluation.pose_sets import read_megadepth, read_posed_folder, read_scannet
from corr.evaluation.predict import predict, read_matched, shard, shard_file
from corr.evaluation.scores import Scores, score
from corr.evaluation.sets import PairSet
from corr.evaluation.tables import markdown
from corr.folders import job_folder, make_folder
from corr.options import EvalOptions, choice_name
from corr.options_match import PAIR_MATCHERS
from corr.setup_note import keep_setup
from corr.store import strict_json, write_atomic

log = logging.getLogger(__name__)


def evaluate(options: EvalOptions) -> str:
    """Run or continue an evaluation; returns the report that is printed.

    Writes `matches/`, `predictions*.jsonl`, `estimates*.jsonl` and, once every shard is done,
    `metrics.json`, `report.md` and `report.html`.

    Raises:
        UserError: The folder is no such benchmark, the matcher has no use for it, or `out` holds
            another run.
    """
    two = options.two_view
    if not options.matcher.RIGID:
        raise UserError("two-view benchmarks are of one rigid scene; choose another matcher=")
    options.executor.check(options.workers)
    whole = chosen_pairs(options)
    name = choice_name(options.matcher, PAIR_MATCHERS)
    place = Path(options.out or f"outputs/eval/{options.benchmark}_{name}")
    out = job_folder(place.expanduser().resolve(), options.two_view.shard)
    make_folder(out)
    keep_setup(out, _setup(options, name, whole))
    pairs = shard(whole.pairs, two.shard)
    parallel = options.parallel()
    predict(pairs, options.matcher, out, shard_file(out, "predictions", two.shard), parallel)
    estimate(
        pairs, whole, out, shard_file(out, "estimates", two.shard),
        estimators=two.estimator_list(), thresholds=two.threshold_list(), seed=two.seed,
        parallel=parallel,
    )  # fmt: skip
    matched = read_matched(out)
    if absent := sum(p.key not in matched for p in whole.pairs):
        return (
            f"shard {two.shard} is done; {absent} of {len(whole.pairs)} pairs are still to be "
            f"matched: run the other shards with out={out}"
        )
    estimates = read_estimates(out)
    ways = [(e, t) for e in two.estimator_list() for t in two.threshold_list()]
    if any((p.key, *way) not in estimates for p in whole.pairs for way in ways):
        return f"shard {two.shard} is done; other shards have estimates to make: run them again"
    scores = score(
        whole, matched, estimates, out, estimators=two.estimator_list(),
        thresholds=two.threshold_list(),
    )  # fmt: skip
    protocol = protocol_lines(options, name, whole)
    text = write_report(out, scores, protocol=protocol)
    if not options.worst:
        return f"{text}\nreport: {out / 'report.md'}"
    page = out / "report.html"
    write_page(page, whole, scores, out, protocol=protocol, worst=options.worst)
    return f"{text}\nreport: {page}"


def chosen_pairs(options: EvalOptions) -> PairSet:
    """Read the benchmark and take the part that is asked for.

    Raises:
        UserError: The folder does not fit, or no pair is left.
    """
    root = Path(options.data).expanduser()
    if not root.exists():
        raise UserError(f"data folder {root} does not exist")
    if options.benchmark == "posed":
        whole = read_posed_folder(
            root, min_overlap=options.two_view.overlap, most_pairs=options.two_view.most_pairs
        )
    else:
        whole = {
            "megadepth1500": read_megadepth, "scannet1500": read_scannet,
            "hpatches": read_hpatches, "oxford": read_oxford,
        }[options.benchmark](root)  # fmt: skip
    try:
        whole = whole.chosen(every=options.every)
    except ValueError as error:
        raise UserError(str(error)) from None
    photos = {p.name for pair in whole.pairs for p in (pair.a, pair.b)}
    log.info("%s: %d pairs of %d photos", whole.name, len(whole.pairs), len(photos))
    return whole


def _setup(options: EvalOptions, name: str, whole: PairSet) -> dict[str, Any]:
    """What decides the matches and estimates, to recognise a folder by."""
    return {
        "benchmark": options.benchmark, "data": str(Path(options.data).expanduser().resolve()),
        "matcher": {"name": name, **dataclasses.asdict(options.matcher)},
        "side": whole.side, "seed": options.two_view.seed,
        "kind": whole.kind,
    }  # fmt: skip


def protocol_lines(options: EvalOptions, name: str, whole: PairSet) -> list[str]:
    """Everything that has to be known to repeat the numbers."""
    shown = ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(options.matcher).items() if v != "")
    error = (
        "error = the larger of the angles of rotation and of the baseline's direction (its sign is "
        "free), no answer = infinite; a match is right if the squared epipolar distances in the "
        f"normalised planes sum to less than {whole.correct_epipolar:g}"
        if whole.kind == "pose"
        else "error = mean distance of photo a's corners from where they belong in photo b, no "
        "answer = infinite"
    )
    return [
        f"matcher={name}: {shown}",
        f"points, thresholds and pixels at a {whole.side_of}er side of {whole.side} px; one run, "
        f"seed {options.two_view.seed}",
        error,
        "the headline (bold) is the first estimator at its best threshold of those swept",
    ]


def write_report(out: Path, scores: Scores, *, protocol: list[str]) -> str:
    """Write `metrics.json` and `report.md`; returns the text to print."""
    text = markdown(scores, protocol=protocol)
    numbers = {"protocol": protocol, **dataclasses.asdict(scores)}
    write_atomic(out / "metrics.json", strict_json(numbers))
    write_atomic(out / "report.md", text)
    return text
