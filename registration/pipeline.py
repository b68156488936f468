"""The main job: two files in; transform, aligned cloud, pictures and a report out."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from corr.cli import shared_dir
from corr.errors import UserError
from corr.folders import job_folder, log_to, make_folder
from corr.machine import compile_clock
from corr.store import peak_memory_mb, write_atomic
from registration.api import Aligned, align
from registration.drawn import drawn_pair
from registration.files import read_cloud
from registration.inputs import with_sensor
from registration.options import RunOptions
from registration.outputs import read_truth, true_error, write_answer
from registration.pictures import write_pictures
from registration.summary import Summary, closing_lines

log = logging.getLogger(__name__)
SCANS = shared_dir() / "data" / "scans"


def run(options: RunOptions) -> Summary:
    """Align two scans and write everything about it into the result folder.

    Raises:
        UserError: The files or the options cannot work; the message says what to change.
    """
    out = result_folder(options)
    options = with_bundled(options)
    truth = read_truth(Path(options.truth)) if options.truth else None
    make_folder(out)
    config = _yaml(options)
    write_atomic(out / "config.yaml", config["text"])
    handler = log_to(out / "run.log")
    try:
        start = perf_counter()
        with compile_clock() as compiled:
            aligned = aligned_files(options)
        error = None if truth is None else true_error(aligned, truth)
        write_answer(out, aligned, config["values"], error)
        pair = drawn_pair(aligned)
        lines = (*closing_lines(aligned, pair, error), *_compiled(compiled()))
        files = _existing(out, "transform.txt", "aligned.ply", "result.json")
        if options.pictures:
            from registration.report.page import write_report

            files += write_pictures(out, pair)
            write_report(out, aligned, pair, error)
            files.append("report.html")
        log.info("total %.1f s, peak memory %.0f MB", perf_counter() - start, peak_memory_mb())
        return Summary(out, lines, tuple(files))
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def aligned_files(options: RunOptions) -> Aligned:
    """Read both files and align them.

    Raises:
        UserError: A file cannot be read, or its points cannot be aligned.
    """
    try:
        source = with_sensor(read_cloud(options.source), options.sensor_source, "source")
        target = with_sensor(read_cloud(options.target), options.sensor_target, "target")
        return align(
            source, target, registrar=options.registrar, voxel=options.voxel, scale=options.scale,
            seed=options.seed,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from None


def with_bundled(options: RunOptions) -> RunOptions:
    """The options, with the bundled pair, its scanners' places and its truth if none is given."""
    if options.source:
        return options
    if not (SCANS / "source.ply").is_file():
        raise UserError("this installation carries no scans; give source=<file> target=<file>")
    return replace(
        options,
        source=str(SCANS / "source.ply"),
        target=str(SCANS / "target.ply"),
        truth=options.truth or str(SCANS / "target_from_source.txt"),
        sensor_source=options.sensor_source or "origin",
        sensor_target=options.sensor_target or "origin",
    )


def result_folder(options: RunOptions) -> Path:
    """`out`, or `outputs/<source>_to_<target>`; one folder per job in a Hydra sweep."""
    if options.out:
        folder = Path(options.out)
    elif not options.source:
        folder = Path("outputs") / "scans"
    else:
        name = f"{Path(options.source).stem}_to_{Path(options.target).stem}"
        folder = Path("outputs") / re.sub(r"[^\w.-]+", "_", name)
    return job_folder(folder)


def _compiled(seconds: float) -> list[str]:
    if seconds < 1.0:
        return []
    return [f"note: {seconds:.0f} s of the time went into compiling kernels, once per machine"]


def _existing(folder: Path, *names: str) -> list[str]:
    return [name for name in names if (folder / name).is_file()]


def _yaml(options: RunOptions) -> dict[str, Any]:
    from omegaconf import OmegaConf

    config = OmegaConf.structured(options)
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    return {
        "text": OmegaConf.to_yaml(config),
        "values": {**values, "registrar": {type(options.registrar).__name__: values["registrar"]}},
    }
