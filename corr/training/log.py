"""What a training leaves beside its weights: a CSV of its course and a picture of it."""

import csv
from collections.abc import Sequence
from pathlib import Path

_COLOURS = ("#1f6fb4", "#d1495b", "#3a8f5c", "#8a5fb0")


def append_row(file: Path, row: dict[str, float]) -> None:
    """Add one line; the first one writes the header."""
    new = not file.is_file()
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def read_rows(file: Path) -> list[dict[str, float]]:
    """All lines as numbers."""
    with file.open(newline="") as lines:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]


def draw_curves(file: Path, rows: Sequence[dict[str, float]], x: str, names: Sequence[str]) -> None:
    """An SVG with one panel per column, each on its own scale."""
    width, high = 420, 150
    parts = [_panel(rows, x, name, k * high, width, high) for k, name in enumerate(names)]
    size = f'width="{width}" height="{high * len(names)}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="10">'
    )
    file.write_text(
        "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
    )


def _panel(
    rows: Sequence[dict[str, float]], x: str, name: str, top: int, width: int, high: int
) -> str:
    xs, ys = [row[x] for row in rows], [row[name] for row in rows]
    if not xs:
        return ""
    low, span = min(ys), (max(ys) - min(ys)) or 1.0
    left, reach = min(xs), (max(xs) - min(xs)) or 1.0
    points = " ".join(
        f"{60 + (a - left) / reach * (width - 75):.1f},"
        f"{top + high - 30 - (b - low) / span * (high - 55):.1f}"
        for a, b in zip(xs, ys, strict=True)
    )
    colour = _COLOURS[top // high % len(_COLOURS)]
    return (
        f'<text x="60" y="{top + 16}" font-weight="bold">{name}</text>'
        f'<text x="4" y="{top + 28}">{max(ys):.4g}</text>'
        f'<text x="4" y="{top + high - 27}">{low:.4g}</text>'
        f'<text x="60" y="{top + high - 8}">{x} {left:.4g} to {max(xs):.4g}</text>'
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    )
