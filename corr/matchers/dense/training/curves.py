"""The log of a training, line by line, and a picture of it."""

import csv
from pathlib import Path

PANELS = (
    ("loss",),
    ("epe_median", "coarse_median"),
    ("pck1", "pck3", "pck5"),
    ("ece", "chi2"),
)


def append(file: Path, row: dict[str, float]) -> None:
    """Add a line; where columns are new the file is written again with all of them."""
    rows = read(file) if file.is_file() else []
    rows.append(row)
    columns = list(dict.fromkeys(key for r in rows for key in r))
    partial = file.with_suffix(".next")
    with partial.open("w", newline="") as out:
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for r in rows:
            writer.writerow({key: f"{value:.6g}" for key, value in r.items()})
    partial.replace(file)


def read(file: Path) -> list[dict[str, float]]:
    """All lines; empty places are left out."""
    with file.open(newline="") as lines:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(lines)]


def draw(log: Path, picture: Path) -> None:
    """A PNG with one panel per group of columns, against the step."""
    from PIL import Image, ImageDraw

    rows = read(log)
    width, high = 480, 170
    image = Image.new("RGB", (width, high * len(PANELS)), "white")
    pen = ImageDraw.Draw(image)
    for k, names in enumerate(PANELS):
        _panel(pen, rows, names, (60, high * k + 22, width - 15, high * (k + 1) - 18))
    image.save(picture)


def _panel(pen, rows: list[dict[str, float]], names: tuple[str, ...], box: tuple) -> None:
    left, top, right, bottom = box
    shown = [(r["step"], r[n]) for r in rows for n in names if n in r]
    pen.rectangle(box, outline="#bbbbbb")
    if not shown:
        return
    high = max(v for _, v in shown) or 1.0
    last = max(s for s, _ in shown) or 1.0
    for name, colour in zip(names, ("#1f6fb4", "#d1495b", "#3a8f5c"), strict=False):
        line = [
            (left + (right - left) * r["step"] / last, bottom - (bottom - top) * r[name] / high)
            for r in rows
            if name in r
        ]
        if len(line) > 1:
            pen.line(line, fill=colour, width=2)
        x = left + 130 * names.index(name)
        pen.text((x, top - 14), f"{name} {rows[-1].get(name, 0):.3g}", fill=colour)
    pen.text((4, top - 4), f"{high:.3g}", fill="black")
    pen.text((right - 60, bottom + 2), f"step {last:.0f}", fill="black")
