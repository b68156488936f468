"""Runs of one kind as a table: the options that differ, then the figures."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recon.comparison.figures import Figure
from recon.comparison.runs import FinishedRun

# They differ without changing what comes out, or say what the row's name says.
UNTOLD = ("out", "workers", "executor", "files", "scans")


@dataclass(frozen=True)
class Table:
    """Runs of one kind."""

    kind: str
    names: tuple[str, ...]
    options: tuple[str, ...]  # that not all runs share
    columns: tuple[Figure, ...]  # that at least one run has
    runs: tuple[FinishedRun, ...]

    def best(self, column: Figure) -> str:
        """The best value of a column as it is printed; empty where all look the same."""
        values = [v for run in self.runs if (v := run.values[column.name]) is not None]
        if not column.best or len({shown(v, column) for v in values}) < 2:
            return ""
        return shown(max(values) if column.best == "high" else min(values), column)

    def cells(self, run: FinishedRun) -> list[str]:
        """Options and figures of a run as they are printed."""
        options = [run.options.get(name, "") for name in self.options]
        return options + [shown(run.values[c.name], c) for c in self.columns]


def tables_of(runs: Sequence[FinishedRun]) -> list[Table]:
    """A table per kind of run, in the order of their first runs."""
    made = []
    for kind in dict.fromkeys(run.kind for run in runs):
        same = tuple(run for run in runs if run.kind == kind)
        options = tuple(
            name for name in dict.fromkeys(n for run in same for n in run.options)
            if name.partition(".")[0] not in UNTOLD
            and len({run.options.get(name) for run in same}) > 1
        )  # fmt: skip
        columns = tuple(
            c for c in same[0].columns if any(run.values[c.name] is not None for run in same)
        )
        made.append(Table(kind, _names(same), options, columns, same))
    return made


def _names(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """Folders without what all of them begin with."""
    paths = [run.folder.resolve() for run in runs]
    if len(paths) == 1:
        return (paths[0].name,)
    shared = 0
    while len({path.parts[: shared + 1] for path in paths}) == 1:
        shared += 1
    return tuple(str(Path(*path.parts[shared:])) for path in paths)


def shown(value: float | None, column: Figure) -> str:
    """A figure as it is printed; a dash where there is none."""
    return "-" if value is None else f"{value:.{column.digits}f}"


def as_text(table: Table) -> str:
    """The table for a terminal; the best of a column has a star."""
    rows = [[table.kind, *table.options, *(c.name for c in table.columns)]]
    for name, run in zip(table.names, table.runs, strict=True):
        cells = table.cells(run)
        for k, column in enumerate(table.columns, start=len(table.options)):
            cells[k] += "*" if cells[k] == table.best(column) else " "
        rows.append([name, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = 1 + len(table.options)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def as_csv(tables: Sequence[Table]) -> str:
    """All runs in one file; what a kind lacks is empty."""
    options = list(dict.fromkeys(name for t in tables for name in t.options))
    columns = list(dict.fromkeys(c.name for t in tables for c in t.columns))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["kind", "run", *options, *columns])
    for table in tables:
        for run in table.runs:
            values = [run.values.get(name) for name in columns]
            told = [run.options.get(name, "") if name in table.options else "" for name in options]
            writer.writerow([table.kind, run.folder, *told, *values])
    return file.getvalue()
