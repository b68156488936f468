"""Printed matter: type in an alphabet of our own, pictures, and the sheets made from them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .noise import fractal, ramp

# Each letter is a few strokes over a 3 x 3 grid of points numbered like a telephone.
_DRAWN = (
    "729 46|13697 1 46|3179|126871|3179 46|317 45|317965|17 39 46|28|3987|17 349|179|71539"
    "|7193|26842|71364|26842 59|71364 59|314697|13 28|1793|183|17593|19 37|15 35 58|1379"
)
_LETTERS = _DRAWN.split("|")
_FINE = 3

Colour = tuple[int, int, int]


class Sheet:
    """A page measured in metres from its top-left corner, drawn large and reduced on `finish`."""

    def __init__(
        self,
        rng: np.random.Generator,
        width_m: float,
        height_m: float,
        px_per_m: float,
        paper: Colour,
    ):
        """Cut a sheet of one colour."""
        self.rng, self.width_m, self.height_m = rng, width_m, height_m
        self.columns, self.rows = (
            max(8, round(width_m * px_per_m)),
            max(8, round(height_m * px_per_m)),
        )
        self.scale = px_per_m * _FINE
        self.picture = Image.new("RGB", (self.columns * _FINE, self.rows * _FINE), paper)
        self.draw = ImageDraw.Draw(self.picture)

    def _px(self, *values: float) -> list[float]:
        return [value * self.scale for value in values]

    def block(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.draw.rectangle(self._px(x, y, x + width, y + height), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a disc."""
        self.draw.ellipse(self._px(x - radius, y - radius, x + radius, y + radius), fill=colour)

    def polygon(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a polygon of n x 2 points."""
        self.draw.polygon([tuple(self._px(*point)) for point in points], fill=colour)

    def word(
        self, x: float, y: float, size: float, letters: int, colour: Colour, *, bold: float = 0.16
    ) -> float:
        """Set a word with its top-left at x, y; return the x behind it."""
        width = max(1, round(bold * size * self.scale))
        for _ in range(letters):
            for stroke in _LETTERS[self.rng.integers(26)].split():
                spots = [
                    (x + 0.3 * size * ((int(c) - 1) % 3), y + 0.45 * size * ((int(c) - 1) // 3))
                    for c in stroke
                ]
                self.draw.line(
                    [tuple(self._px(*spot)) for spot in spots],
                    fill=colour,
                    width=width,
                    joint="curve",
                )
            x += 0.85 * size
        return x

    def title(self, x: float, y: float, width: float, size: float, colour: Colour) -> None:
        """Set one bold word that fills a width (fewer letters if the size is large)."""
        letters = max(2, int(width / (0.85 * size)))
        self.word(x, y, size, letters, colour, bold=0.24)

    def text(
        self, x: float, y: float, width: float, height: float, size: float, colour: Colour
    ) -> None:
        """Fill a rectangle with ragged lines of words, with gaps between paragraphs."""
        line = y
        while line + size < y + height:
            if self.rng.uniform() < 0.12:
                line += 0.8 * size
            at = x
            while True:
                letters = int(self.rng.integers(2, 9))
                if at + 0.85 * size * letters > x + width:
                    break
                at = self.word(at, line, size, letters, colour) + 0.5 * size
            line += 1.75 * size

    def photo(self, x: float, y: float, width: float, height: float, *, grey: bool = False) -> None:
        """Print a picture: a sky, ridges of hills one behind another, a sun, a few trees."""
        left, top = (int(v) for v in self._px(x, y))
        columns, rows = (max(8, int(v)) for v in self._px(width, height))
        self.picture.paste(
            Image.fromarray(landscape(self.rng, rows, columns, grey=grey)), (left, top)
        )

    def finish(self, *, ageing: float = 0.05) -> np.ndarray:
        """Reduce to the final size, with uneven ink, rubbed spots and yellowing."""
        image = (
            np.asarray(self.picture, np.float64)
            .reshape(self.rows, _FINE, self.columns, _FINE, 3)
            .mean((1, 3))
            / 255
        )
        wear = fractal(self.rng, (self.rows, self.columns), slope=1.3, coarsest_px=150)[..., None]
        ink = fractal(self.rng, (self.rows, self.columns), slope=1.1, coarsest_px=40)[..., None]
        image = image * (1 + ageing * wear * np.array([0.5, 0.8, 1.2]) + 0.4 * ageing * ink)
        rub = np.clip(
            fractal(self.rng, (self.rows, self.columns), slope=1.0, coarsest_px=60) - 2.0, 0, 0.5
        )[..., None]
        return np.clip(image * (1 - rub) + rub * 0.85, 0, 1)


def landscape(rng: np.random.Generator, rows: int, columns: int, *, grey: bool) -> np.ndarray:
    """Paint a small landscape, uint8."""
    y, x = np.mgrid[0:rows, 0:columns] / max(rows, columns)
    cloud = fractal(
        rng, (rows, columns), slope=1.5, stretch=(1, 2), coarsest_px=0.6 * columns, finest_px=4
    )
    hue = rng.uniform(0, 1)
    sky = ramp(
        y * 1.6 + 0.12 * cloud,
        [(0, (0.25 + 0.5 * hue, 0.45, 0.75 - 0.3 * hue)), (1, (0.95, 0.85, 0.65))],
    )
    sun = np.hypot(y - rng.uniform(0.05, 0.25), x - rng.uniform(0.15, 0.85)) < rng.uniform(
        0.04, 0.09
    )
    image = np.where(sun[..., None], np.array([1.0, 0.9 - 0.4 * hue, 0.5]), sky)
    base = rng.uniform(0, 1, 3) * 0.35 + [0.1, 0.2, 0.1]
    for depth in range(4):
        line = fractal(
            rng, (2, columns), slope=1.5, stretch=(1, 1), coarsest_px=0.5 * columns, finest_px=6
        )[0]
        crest = (0.30 + 0.16 * depth) * rows / max(rows, columns) + 0.05 * line[None, :]
        tone = base * (1.5 - 0.32 * depth) + 0.10 * (3 - depth) * np.array([0.5, 0.6, 0.9]) / 1.5
        grain = fractal(rng, (rows, columns), slope=1.0, coarsest_px=0.25 * columns, finest_px=4)[
            ..., None
        ]
        image = np.where((y > crest)[..., None], tone * (1 + 0.16 * grain), image)
    if grey:
        image = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1) * 0.85 + 0.08
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> tuple[Colour, Colour, Colour]:
    """Pick a paper, an ink and an accent that stand apart from each other."""
    pairs = [
        ((196, 62, 44), (245, 232, 205), (36, 46, 66)),
        ((32, 74, 104), (240, 226, 180), (214, 120, 44)),
        ((226, 206, 150), (60, 36, 30), (150, 40, 40)),
        ((44, 88, 66), (236, 226, 196), (220, 180, 60)),
        ((230, 226, 216), (30, 34, 40), (46, 110, 150)),
        ((88, 50, 84), (240, 214, 170), (120, 170, 150)),
        ((224, 160, 48), (42, 36, 40), (170, 54, 40)),
        ((110, 150, 164), (250, 244, 230), (40, 50, 70)),
    ]
    return pairs[rng.integers(len(pairs))]


def cover(rng: np.random.Generator, width_m: float, height_m: float, px_per_m: float) -> np.ndarray:
    """Print a book or box front: title, picture, shapes, small type."""
    paper, ink, accent = _colours(rng)
    sheet = Sheet(rng, width_m, height_m, px_per_m, paper)
    w, h = width_m, height_m
    sheet.block(0, h * rng.uniform(0.55, 0.75), w, h * rng.uniform(0.04, 0.12), accent)
    for _ in range(rng.integers(3, 9)):
        sheet.disc(
            rng.uniform(0, w),
            rng.uniform(0, h),
            rng.uniform(0.01, 0.09) * w,
            (ink, accent)[rng.integers(2)],
        )
    sheet.photo(0.1 * w, 0.30 * h, 0.8 * w, rng.uniform(0.28, 0.4) * h)
    sheet.title(0.09 * w, 0.07 * h, 0.86 * w, 0.15 * w * rng.uniform(0.8, 1.2), ink)
    sheet.title(0.09 * w, 0.20 * h, 0.6 * w, 0.07 * w, accent if rng.uniform() < 0.5 else ink)
    sheet.text(0.1 * w, 0.76 * h, 0.8 * w, 0.2 * h, 0.0045, ink)
    fan = rng.uniform(0, 1, (rng.integers(3, 7), 2)) * [0.3 * w, 0.2 * h] + rng.uniform(
        0, 0.7, 2
    ) * [w, h]
    sheet.polygon(fan, accent)
    return sheet.finish()


def spine(rng: np.random.Generator, length_m: float, thick_m: float, px_per_m: float) -> np.ndarray:
    """Print a book's spine, reading along x."""
    paper, ink, accent = _colours(rng)
    sheet = Sheet(rng, length_m, thick_m, px_per_m, paper)
    for at in rng.uniform(0, 1, 3):
        sheet.block(at * length_m, 0, rng.uniform(0.003, 0.02), thick_m, accent)
    size = 0.5 * thick_m
    sheet.title(0.12 * length_m, 0.27 * thick_m, 0.5 * length_m, size, ink)
    sheet.title(0.72 * length_m, 0.33 * thick_m, 0.2 * length_m, 0.35 * thick_m, ink)
    return sheet.finish(ageing=0.07)


def newspaper(
    rng: np.random.Generator, width_m: float, height_m: float, px_per_m: float
) -> np.ndarray:
    """Set a newspaper page: masthead, headlines, columns, pictures, an advertisement."""
    sheet = Sheet(rng, width_m, height_m, px_per_m, (214, 208, 190))
    ink = (44, 42, 42)
    w, h = width_m, height_m
    sheet.title(0.06 * w, 0.03 * h, 0.88 * w, 0.028, ink)
    sheet.block(0.05 * w, 0.115 * h, 0.9 * w, 0.002, ink)
    for column in range(4):
        x, y = (0.05 + 0.23 * column) * w, 0.135 * h
        while y < 0.95 * h:
            size = rng.uniform(0.006, 0.011)
            sheet.title(x, y, 0.2 * w, size, ink)
            y += 1.6 * size
            if rng.uniform() < 0.4:
                tall = rng.uniform(0.08, 0.15) * h
                sheet.photo(x, y, 0.2 * w, min(tall, 0.96 * h - y), grey=True)
                y += tall + 0.004
            tall = min(rng.uniform(0.08, 0.2) * h, 0.97 * h - y)
            sheet.text(x, y, 0.2 * w, tall, 0.0031, ink)
            y += tall + 0.006
    sheet.block(0.52 * w, 0.7 * h, 0.42 * w, 0.24 * h, (168, 60, 44))
    sheet.title(0.55 * w, 0.73 * h, 0.36 * w, 0.03, (240, 230, 200))
    sheet.disc(0.73 * w, 0.86 * h, 0.025, (230, 190, 80))
    return sheet.finish(ageing=0.04)


def label(rng: np.random.Generator, round_m: float, height_m: float, px_per_m: float) -> np.ndarray:
    """Print a tin's label that runs all the way round: name, fruit, stripes, small type."""
    paper, ink, accent = _colours(rng)
    sheet = Sheet(rng, round_m, height_m, px_per_m, paper)
    w, h = round_m, height_m
    sheet.block(0, 0, w, 0.07 * h, accent)
    sheet.block(0, 0.9 * h, w, 0.1 * h, accent)
    for start in (0.04, 0.54):
        sheet.photo((start + 0.02) * w, 0.42 * h, 0.3 * w, 0.42 * h)
        sheet.title((start + rng.uniform(0, 0.04)) * w, 0.14 * h, 0.34 * w, 0.2 * h, ink)
        for _ in range(7):
            sheet.disc(
                (start + rng.uniform(0.3, 0.42)) * w, rng.uniform(0.4, 0.85) * h, 0.05 * h, accent
            )
        sheet.text((start + 0.37) * w, 0.12 * h, 0.1 * w, 0.3 * h, 0.0042, ink)
    return sheet.finish()


def poster(
    rng: np.random.Generator, width_m: float, height_m: float, px_per_m: float
) -> np.ndarray:
    """Print a wall poster: a large landscape, bold shapes, big type."""
    paper, ink, accent = _colours(rng)
    sheet = Sheet(rng, width_m, height_m, px_per_m, paper)
    w, h = width_m, height_m
    sheet.photo(0.06 * w, 0.06 * h, 0.88 * w, 0.62 * h)
    for _ in range(6):
        at = rng.uniform(0.1, 0.75, 2) * [w, h]
        sheet.polygon(
            at + rng.uniform(0, 0.2, (rng.integers(3, 6), 2)) * [w, h],
            (ink, accent, paper)[rng.integers(3)],
        )
    for _ in range(5):
        sheet.disc(
            rng.uniform(0.1, 0.9) * w,
            rng.uniform(0.1, 0.6) * h,
            rng.uniform(0.02, 0.06) * w,
            accent,
        )
    sheet.title(0.07 * w, 0.72 * h, 0.86 * w, 0.11 * w, ink)
    sheet.text(0.07 * w, 0.86 * h, 0.86 * w, 0.1 * h, 0.009, ink)
    return sheet.finish()
