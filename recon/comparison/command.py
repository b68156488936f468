"""`python -m recon compare`: finished runs in one table and one page."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from corr.folders import make_folder
from corr.page import assets
from corr.page.text import environment
from corr.store import strict_json, write_atomic
from recon.comparison.runs import FinishedRun, find_runs
from recon.comparison.table import Table, as_csv, as_text, shown, tables_of
from recon.options_compare import CompareOptions


def compare(options: CompareOptions) -> str:
    """Collect finished runs; returns what is printed.

    Writes `compare.csv`, `compare.json` and `compare.html`.

    Raises:
        UserError: There is no finished run, or a result is damaged.
    """
    tables = tables_of(find_runs(options.runs))
    out = Path(options.out)
    make_folder(out)
    write_atomic(out / "compare.csv", as_csv(tables))
    rows = [row for table in tables for row in _records(table)]
    write_atomic(out / "compare.json", strict_json(rows))
    page = out / "compare.html"
    write_atomic(page, render(tables, out))
    text = "\n\n".join(as_text(table) for table in tables)
    return f"{text}\n\ntable: {out / 'compare.csv'}\nreport: {page}"


def _records(table: Table) -> list[dict[str, Any]]:
    return [
        {
            "kind": table.kind, "run": str(run.folder),
            "options": {name: run.options.get(name) for name in table.options},
            "figures": dict(run.values),
        }
        for run in table.runs
    ]  # fmt: skip


def render(tables: Sequence[Table], out: Path) -> str:
    """The page; reports of the runs are linked relative to `out`."""
    return (
        environment()
        .from_string(assets.read("page.html.j2", "recon.comparison"))
        .render(
            tables=[_drawn(table, out) for table in tables], css=Markup(assets.read("page.css")),
            count=sum(len(table.runs) for table in tables),
        )
    )  # fmt: skip


def _drawn(table: Table, out: Path) -> dict[str, Any]:
    rows = []
    for name, run in zip(table.names, table.runs, strict=True):
        rows.append({
            "name": name,
            "link": _link(run, out),
            "options": [run.options.get(option, "") for option in table.options],
            "figures": [_bar(table, run, k) for k in range(len(table.columns))],
        })  # fmt: skip
    return {"kind": table.kind, "options": table.options, "rows": rows,
            "columns": [c.name for c in table.columns]}  # fmt: skip


def _bar(table: Table, run: FinishedRun, k: int) -> dict[str, Any]:
    """A figure with a bar as long as its share of the column's largest."""
    column = table.columns[k]
    value = run.values[column.name]
    values = [v for r in table.runs if (v := r.values[column.name]) is not None]
    largest = max(values, default=0.0)
    share = 0.0 if value is None or largest <= 0 else max(0.0, value / largest)
    text = shown(value, column)
    return {"text": text, "best": text == table.best(column), "percent": round(100 * share, 1)}


def _link(run: FinishedRun, out: Path) -> str:
    if run.report is None:
        return ""
    return Path(os.path.relpath(run.report.resolve(), out.resolve())).as_posix()
