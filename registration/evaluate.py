"""`registration eval`: predict every pair of a benchmark, then score from the files."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from corr.errors import UserError
from corr.folders import job_folder, make_folder
from corr.setup_note import keep_setup
from corr.store import digest, strict_json, write_atomic
from registration.datasets.benchmark import Benchmark
from registration.datasets.kitti import read_kitti
from registration.datasets.redwood import read_icl_nuim
from registration.datasets.threedmatch import read_3dmatch
from registration.evaluation.plots import reliability_and_overlap
from registration.evaluation.predictions import files_key, read_all
from registration.evaluation.scores import Scores, score
from registration.evaluation.tables import keypoint_table, markdown
from registration.evaluation.workers import PairTask, Setup, predict
from registration.options_eval import EvalOptions, registrar_name
from registration.recall import self_check

log = logging.getLogger(__name__)


def evaluate(options: EvalOptions) -> str:
    """Run or continue an evaluation, or one per number of key-points; returns what is printed.

    Raises:
        UserError: The folder is no such benchmark, or `out` holds another run.
    """
    counts = options.counts()
    if len(counts) == 1:
        return _evaluate(options, out_folder(options))[0]
    parent, scores = out_folder(options), {}
    for count in counts:
        log.info("%d key-points", count)
        out = parent / f"keypoints_{count}"
        part = dataclasses.replace(options, keypoints=str(count), out=str(out))
        text, scores[count] = _evaluate(part, out)
    complete = {n: s for n, s in scores.items() if s is not None}
    if len(complete) < len(scores):
        return text.replace(str(part.out), str(parent))  # what other shards have to do
    text = keypoint_table(complete)
    write_atomic(parent / "report.md", text)
    return f"{text}\nevery number has its own report in its folder\nreport: {parent / 'report.md'}"


def out_folder(options: EvalOptions) -> Path:
    """`out`, or a folder named after what is evaluated."""
    name = registrar_name(options.registrar)
    default = f"outputs/eval/{options.benchmark}_{name}_{options.orientation}"
    return job_folder(Path(options.out or default).expanduser().resolve(), options.shard)


def _evaluate(options: EvalOptions, out: Path) -> tuple[str, Scores | None]:
    """One run; no scores while other shards have pairs to predict.

    Writes `predictions*.jsonl`, and once every pair is there `metrics.json`, `report.md` and
    `plots.svg`.

    Raises:
        UserError: The folder is no such benchmark, or `out` holds another run.
    """
    name = registrar_name(options.registrar)
    make_folder(out)
    benchmark = chosen_benchmark(options, out)
    options.executor.check(options.workers)
    setup = Setup(
        with_keypoints(options.registrar, options.counts()[0]),
        voxel=options.voxel or benchmark.voxel,
        orientation=options.orientation,
        move=True,
        refine=options.refine,
        seed=options.seed,
    )
    keep_setup(out, _described(options, setup, benchmark))
    tasks = pair_tasks(benchmark)
    part, parts = (int(v) for v in options.shard.split("/"))
    file = out / ("predictions.jsonl" if parts == 1 else f"predictions_{part}of{parts}.jsonl")
    label = f"{benchmark.name} {name}"
    predict(shard(tasks, part, parts), setup, file, parallel=options.parallel(), label=label)
    predictions = read_all(out)
    absent = sum(t.key not in predictions for t in tasks)
    if absent:
        return (
            f"shard {options.shard} is done; {absent} of {len(tasks)} pairs are still to be "
            f"predicted: run the other shards with out={out}"
        ), None
    scores = score(benchmark, predictions)
    return write_report(out, scores, registrar=name, orientation=options.orientation), scores


def chosen_benchmark(options: EvalOptions, out: Path) -> Benchmark:
    """Read the benchmark, check its truth, and take the part that is asked for.

    Raises:
        UserError: The folder does not fit, or no pair is left.
    """
    benchmark = read_benchmark(options.benchmark, Path(options.data).expanduser(), out)
    if benchmark.missing:
        log.warning("%s: missing scenes: %s", benchmark.name, ", ".join(benchmark.missing))
    try:
        self_check(benchmark.pairs)
        benchmark = benchmark.chosen(scenes=options.scenes, every=options.every)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not benchmark.pairs:
        raise UserError(f"every={options.every} leaves no pair; choose a smaller number")
    log.info("%s: %d scenes, %d pairs", benchmark.name, len(benchmark.scenes), len(benchmark.pairs))
    return benchmark


def read_benchmark(name: str, root: Path, out: Path) -> Benchmark:
    """The benchmark of that name; `out` is where refined truth may be kept.

    Raises:
        UserError: The folder does not fit.
    """
    if name == "kitti":
        return read_kitti(root, out / "truth")
    if name == "icl_nuim":
        return read_icl_nuim(root)
    return read_3dmatch(root, name)


def with_keypoints(registrar: Any, keypoints: int) -> Any:
    """The registrar with its number of key-points set, wherever in it the option lies.

    Raises:
        UserError: It has no such option.
    """
    if not keypoints:
        return registrar
    names = [f.name for f in dataclasses.fields(registrar)]
    if "keypoints" in names:
        return dataclasses.replace(registrar, keypoints=keypoints)
    for name in names:
        inner = getattr(registrar, name)
        if dataclasses.is_dataclass(inner) and any(
            f.name == "keypoints" for f in dataclasses.fields(inner)
        ):
            changed = dataclasses.replace(inner, keypoints=keypoints)  # type: ignore[type-var]
            return dataclasses.replace(registrar, **{name: changed})
    raise UserError(
        f"keypoints={keypoints} has no effect on {type(registrar).__name__}; set keypoints=0"
    )


def pair_tasks(benchmark: Benchmark) -> list[PairTask]:
    """The work, in the benchmark's order."""
    return [
        PairTask(
            scene.name, pair.source, pair.target,
            scene.fragments[pair.source], scene.fragments[pair.target], pair.target_from_source,
        )
        for scene in benchmark.scenes
        for pair in scene.pairs
    ]  # fmt: skip


def shard(tasks: list[PairTask], part: int, parts: int) -> list[PairTask]:
    """The `part`-th of `parts` contiguous stretches (few fragments are then prepared twice)."""
    return tasks[len(tasks) * (part - 1) // parts : len(tasks) * part // parts]


def _described(options: EvalOptions, setup: Setup, benchmark: Benchmark) -> dict[str, Any]:
    """What decides the predictions, to recognise a folder by."""
    return {
        "benchmark": options.benchmark,
        "files": {s.name: files_key(s.fragments.values()) for s in benchmark.scenes},
        "registrar": type(setup.registrar).__name__,
        "registrar_version": type(setup.registrar).VERSION,
        "registrar_options": digest(setup.registrar),
        "orientation": setup.orientation,
        "voxel": setup.voxel,
        "refine": setup.refine,
        "seed": setup.seed,
    }


def write_report(out: Path, scores: Scores, *, registrar: str, orientation: str) -> str:
    """Write `metrics.json`, `report.md` and `plots.svg`; returns the text to print."""
    text = markdown(scores, registrar=registrar, orientation=orientation)
    head = {"registrar": registrar, "orientation": orientation}
    write_atomic(out / "metrics.json", strict_json({**head, **dataclasses.asdict(scores)}))
    write_atomic(out / "report.md", text)
    title = f"{scores.benchmark}, {registrar}, {orientation}"
    svg = reliability_and_overlap(scores.calibration.reliability, scores.by_overlap, title)
    write_atomic(out / "plots.svg", svg)
    return f"{text}\nreport: {out / 'report.md'}"
