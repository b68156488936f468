"""`corr eval`: features to disk, predictions to a file, then every score from that file."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from corr.errors import UserError
from corr.folders import job_folder, make_folder
from corr.options import EvalOptions, choice_name, extractors, parsed_lengths, transfers
from corr.semantic.calibration import Curve, curve_for
from corr.semantic.cycles import CyclePck, cycle_pck, cycle_table
from corr.semantic.datasets.base import PairSet
from corr.semantic.datasets.read import read_pairs
from corr.semantic.evaluation.page import write_page
from corr.semantic.evaluation.predict import predict
from corr.semantic.evaluation.predictions import Prediction
from corr.semantic.evaluation.scores import Scores, score
from corr.semantic.evaluation.tables import markdown
from corr.semantic.features.cache import FeatureCache, described, open_cache, read_photo
from corr.semantic.pck_check import self_check
from corr.semantic.pose_alignment import flipped_side
from corr.setup_note import keep_setup
from corr.store import digest, file_digest, strict_json, write_atomic

log = logging.getLogger(__name__)


def evaluate(options: EvalOptions) -> str:
    """Run or continue an evaluation; returns the report that is printed.

    Writes `predictions.jsonl`, `metrics.json`, `report.md` and `report.html`.

    Raises:
        UserError: The folder is no such benchmark, or `out` holds another run.
    """
    self_check()
    options.executor.check(options.workers)
    pairs = chosen_pairs(options)
    features = choice_name(options.features, extractors()) + ("_head" if options.head else "")
    photos = pairs.photos
    chosen = options.features.for_collection(list(photos), lambda name: read_photo(photos[name]))
    # The curves were fitted to the features as they come, not to what a head makes of them.
    curve = None
    if not options.head:
        curve = curve_for(described(chosen), options.transfer, options.align)
    options = dataclasses.replace(options, features=chosen)
    options.transfer = options.transfer.calibrated(curve)
    transfer = choice_name(options.transfer, transfers())
    place = Path(options.out or f"outputs/eval/{options.benchmark}_{features}_{transfer}")
    out = job_folder(place.expanduser().resolve())
    seen = _seen(options, pairs)
    cache = open_cache(
        Path(options.cache).expanduser(), options.features, options.memory_mb, options.head
    )
    make_folder(out)
    keep_setup(out, _setup(options, curve))
    predictions = _predictions(pairs, cache, options, out / "predictions.jsonl")
    scores = score(pairs, predictions, options.extent, calibrated=curve is not None)
    mirrored = None
    if options.mirrored:
        flipped = pairs.mirrored()
        if not flipped.pairs:
            raise UserError("mirrored=true has no effect: no key-point's twin is known")
        again = _predictions(flipped, cache, options, out / "predictions_mirrored.jsonl")
        mirrored = score(flipped, again, options.extent, calibrated=curve is not None)
    on_disk = f"{len(pairs.photos)} photos, features of {cache.size_mb(pairs.photos):.1f} MB{seen}"
    setup = f"features={features}, transfer={transfer}; {_options_text(options)}; {on_disk}"
    cycles: tuple[CyclePck, ...] = ()
    if options.cycles:
        cycles = cycle_pck(
            pairs, cache, options.transfer, parsed_lengths(options.cycles), extent=options.extent
        )
    text = write_report(out, scores, setup=setup, mirrored=mirrored, cycles=cycles)
    if not options.worst:
        return f"{text}\nreport: {out / 'report.md'}"
    page = out / "report.html"
    write_page(
        page, pairs, predictions, scores, setup=setup, worst=options.worst, cache=cache,
        transfer=options.transfer,
    )  # fmt: skip
    return f"{text}\nreport: {page}"


def chosen_pairs(options: EvalOptions) -> PairSet:
    """Read the benchmark and take the part that is asked for.

    Raises:
        UserError: The folder does not fit, or no pair is left.
    """
    try:
        pairs = read_pairs(
            options.benchmark, Path(options.data).expanduser(), split=options.split,
            size=options.size, subset=options.subset, extent=options.extent,
        ).chosen(categories=options.categories, every=options.every)  # fmt: skip
        for pair in pairs.pairs:
            pair.target.extent_px(options.extent or pairs.extent)
    except ValueError as error:
        raise UserError(str(error)) from None
    log.info("%s %s: %d pairs of %d photos", pairs.name, pairs.split, len(pairs.pairs),
             len(pairs.photos))  # fmt: skip
    return pairs


def _predictions(
    pairs: PairSet, cache: FeatureCache, options: EvalOptions, file: Path
) -> dict[str, Prediction]:
    """Answers of all pairs; features that are missing are computed first."""
    photos = pairs.photos
    pose = options.align == "pose"
    if pose:
        flipped = (flipped_side(p.source) for p in pairs.pairs)
        photos = {**photos, **{side.name: side for side in flipped}}
    cache.fill(photos.values(), options.parallel())
    return predict(pairs, cache, options.transfer, file, pose=pose, parallel=options.parallel())


def _seen(options: EvalOptions, pairs: PairSet) -> str:
    """What a report must say of photos that the head was trained on.

    Raises:
        UserError: They are of the test split.
    """
    if not options.head:
        return ""
    from corr.semantic.learned.files import read_trained
    from corr.semantic.learned.unseen import check_untrained

    count = check_untrained(read_trained(Path(options.head).expanduser()), pairs)
    return f"; the head was trained on {count} of these photos, this is no result" if count else ""


def _setup(options: EvalOptions, curve: Curve | None) -> dict[str, Any]:
    """What decides the predictions, to recognise a folder by."""
    transfer = {"class": type(options.transfer).__name__, **dataclasses.asdict(options.transfer)}
    # Predictions of before there were heads lack the key.
    head = {"head": file_digest(Path(options.head).expanduser())} if options.head else {}
    return {
        "benchmark": options.benchmark, "split": options.split, "size": options.size,
        "subset": options.subset, "data": str(Path(options.data).expanduser().resolve()),
        "features": described(options.features), "transfer": transfer, "align": options.align,
        **head,
        "confidence": "order of trust" if curve is None else f"curve {digest(curve)}",
    }  # fmt: skip


def _options_text(options: EvalOptions) -> str:
    values = {f"features.{k}": v for k, v in described(options.features).items()
              if k.split(".")[-1] not in ("class", "version", "weights")}  # fmt: skip
    if options.head:
        values["head"] = options.head
    values["align"] = options.align
    values |= {f"transfer.{k}": v for k, v in dataclasses.asdict(options.transfer).items()}
    return ", ".join(f"{k}={v}" for k, v in values.items())


def write_report(
    out: Path,
    scores: Scores,
    *,
    setup: str,
    mirrored: Scores | None = None,
    cycles: tuple[CyclePck, ...] = (),
) -> str:
    """Write `metrics.json` and `report.md`; returns the text to print."""
    text = markdown(scores, setup=setup, mirrored=mirrored)
    numbers = {"setup": setup, **dataclasses.asdict(scores)}
    if mirrored is not None:
        numbers["mirrored"] = dataclasses.asdict(mirrored)
    if cycles:
        text += f"\n{cycle_table(cycles)}"
        numbers["cycles"] = [dataclasses.asdict(c) for c in cycles]
    write_atomic(out / "metrics.json", strict_json(numbers))
    write_atomic(out / "report.md", text)
    return text
