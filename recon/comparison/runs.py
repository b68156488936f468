"""Finished runs below folders: their options and figures."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corr.errors import UserError
from recon.comparison.figures import RECONSTRUCTION_KIND, Figure, kind_of
from recon.workspace import is_finished

log = logging.getLogger(__name__)
RESULTS = ("metrics.json", "result.json")
DEEPEST = 3  # folders below a given one: outputs/<scene>/<job of a sweep>


@dataclass(frozen=True)
class FinishedRun:
    """One row of the comparison."""

    folder: Path
    kind: str
    columns: tuple[Figure, ...]
    options: Mapping[str, str]
    values: Mapping[str, float | None]  # by the figures' names

    @property
    def report(self) -> Path | None:
        """The run's own page or text."""
        found = (self.folder / name for name in ("report.html", "report.md"))
        return next((path for path in found if path.is_file()), None)


def find_runs(places: Iterable[str]) -> list[FinishedRun]:
    """The finished runs at or below some folders, each once; damaged ones are told and left out.

    Raises:
        UserError: A place does not exist, or there is no run.
    """
    found: dict[Path, FinishedRun] = {}
    damaged: list[str] = []
    given = [Path(place).expanduser() for place in places]
    for place in given:
        if not place.exists():
            raise UserError(f"{place} does not exist; give folders of finished runs")
        for folder in _results(place, DEEPEST):
            try:
                run = read_run(folder)
            except UserError as error:
                damaged.append(str(error))
                continue
            if run is not None:
                found.setdefault(folder.resolve(), run)
    if not found and damaged:
        raise UserError(damaged[0])
    for line in damaged:
        log.warning("left out: %s", line)
    if not given:
        raise UserError("name folders of finished runs, e.g. outputs/*")
    if not found:
        names = " ".join(map(str, given))
        raise UserError(f"there is no finished run in {names}; make one: python -m recon run")
    return list(found.values())


def _results(place: Path, depth: int) -> Iterator[Path]:
    if not place.is_dir():
        return
    if any((place / name).is_file() for name in RESULTS):
        yield place
    if depth:
        for inside in sorted(place.iterdir()):
            if inside.suffix != ".partial":
                yield from _results(inside, depth - 1)


def read_run(folder: Path) -> FinishedRun | None:
    """A finished run; None where the folder holds results of something else.

    Raises:
        UserError: Its results are damaged.
    """
    file = next(folder / name for name in RESULTS if (folder / name).is_file())
    try:
        record = json.loads(file.read_text())
        kind, columns = kind_of(record) if isinstance(record, dict) else ("", ())
        if not columns:
            return None
        values = {c.name: c.of(record) for c in columns}
        options = _options(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({error}); run it again or leave it out") from None
    if kind == RECONSTRUCTION_KIND and not is_finished(folder):
        log.warning("%s was begun again and did not end: its figures are of the run before", folder)
    return FinishedRun(folder, kind, columns, options, values)


def _options(folder: Path) -> dict[str, str]:
    """Options by their dotted names, of a run or (`setup.json`) of an evaluation."""
    if (folder / "config.yaml").is_file():
        from omegaconf import OmegaConf
        from yaml import YAMLError

        try:
            plain = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        except YAMLError as error:
            raise ValueError(f"config.yaml: {' '.join(str(error).split())}") from None
        choices = folder / "choices.json"
        chosen = json.loads(choices.read_text()) if choices.is_file() else {}
        return {**dict(_flat(plain, "")), **chosen}
    if (folder / "setup.json").is_file():
        return dict(_flat(json.loads((folder / "setup.json").read_text()), ""))
    return {}


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _flat(inside, f"{name}.{key}" if name else str(key))
    else:
        yield name, "" if value is None else str(value)
