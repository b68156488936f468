"""Pictures for the report: JPEG data addresses, differences, matches, the pair matrix."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PilImage

from corr.page.pictures import jpeg_uri, load_rgb
from recon.report.run_files import Pair, Photo

LINES_PER_PAIR = 150
MAX_PAIRS = 80
DIFFERENCE_FULL = 0.25  # mean absolute difference (of 1) that is drawn at full brightness
_SCORE_CLASSES = 8
_HEAT = np.array([[10, 8, 30], [90, 22, 110], [187, 55, 84], [249, 142, 9], [252, 255, 200]])


def side_for(num_photos: int) -> int:
    """Longer side of the photos in the page, so that many photos do not make it huge."""
    return 1024 if num_photos <= 12 else 720 if num_photos <= 30 else 480


def difference(
    photo: UInt8[np.ndarray, "h w 3"], render: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Mean absolute difference over the channels, dark (none) to bright (`DIFFERENCE_FULL`)."""
    error = np.abs(photo.astype(np.float32) - render.astype(np.float32)).mean(axis=2) / 255
    share = np.clip(error / DIFFERENCE_FULL, 0, 1)
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(share, stops, _HEAT[:, k]) for k in range(3)]
    return np.stack(channels, axis=2).round().astype(np.uint8)


_KINDS = {
    "planar": "one plane explains most of them",
    "rotation": "taken from nearly one place, so no depth",
}


@dataclass
class Triple:
    """A photo, its render and their difference as addresses."""

    name: str
    photo: str
    render: str
    difference: str
    width: int
    height: int


def triple(name: str, photo: Path, render: Path, max_side: int) -> Triple:
    """Photo, render and difference; the render is brought to the photo's size if it differs."""
    a, b = load_rgb(photo), load_rgb(render)
    height, width = a.shape[:2]
    if b.shape != a.shape:
        resized = PilImage.fromarray(b).resize((width, height), PilImage.Resampling.BILINEAR)
        b = np.asarray(resized)
    return Triple(
        name=name,
        photo=jpeg_uri(a, max_side),
        render=jpeg_uri(b, max_side),
        difference=jpeg_uri(difference(a, b), max_side // 2, quality=78),
        width=width,
        height=height,
    )


@dataclass
class PairFigure:
    """Two photos side by side with match lines as SVG paths, one per class of score."""

    index: int
    a: int
    b: int
    title: str  # "best pair", …; empty for the ones shown on a click
    caption: str
    width: float
    height: float
    split: float  # x where the second photo begins
    widths: tuple[float, float]
    paths: list[tuple[int, str]]  # class of score (0 low), path


def score_range(pairs: list[Pair]) -> tuple[float, float]:
    """Scores at the ends of the colour scale: the middle 96 % of all shown matches."""
    scores = [p.matches.score[p.inlier] if p.num_inliers else p.matches.score for p in pairs]
    joined = np.concatenate(scores) if scores else np.zeros(0)
    if not len(joined):
        return 0.0, 1.0
    low, high = np.quantile(joined, [0.02, 0.98])
    return float(low), float(max(high, low + 1e-9))


def pair_figures(pairs: list[Pair], photos: list[Photo]) -> list[PairFigure]:
    """Figures of the pairs (best first): best, median and worst verified pair carry a title."""
    verified = [p for p in pairs if p.num_inliers]
    titles: dict[int, str] = {}
    if verified:
        titles = {
            id(verified[-1]): "worst verified pair",
            id(verified[len(verified) // 2]): "median pair",
            id(verified[0]): "best pair",
        }
    shown = [p for p in pairs if id(p) in titles]
    shown += [p for p in pairs if id(p) not in titles and len(p.matches)]
    scale = score_range(pairs)
    return [
        _figure(k, p, photos, titles.get(id(p), ""), scale) for k, p in enumerate(shown[:MAX_PAIRS])
    ]


def _figure(
    index: int, pair: Pair, photos: list[Photo], title: str, scale: tuple[float, float]
) -> PairFigure:
    a, b = photos[pair.a], photos[pair.b]
    height, gap = 300.0, 6.0
    per_a, per_b = height / a.height, height / b.height
    widths = (a.width * per_a, b.width * per_b)
    split = widths[0] + gap
    matches = pair.matches.select(pair.inlier) if pair.num_inliers else pair.matches
    keep = np.argsort(matches.score, kind="stable")
    if len(keep) > LINES_PER_PAIR:  # evenly over the ranks of the score
        keep = keep[np.linspace(0, len(keep) - 1, LINES_PER_PAIR).round().astype(int)]
    low, high = scale
    share = np.clip((matches.score[keep] - low) / (high - low), 0, 1)
    klass = np.minimum((share * _SCORE_CLASSES).astype(int), _SCORE_CLASSES - 1)
    ends = np.concatenate(
        [matches.uv_a[keep] * per_a, matches.uv_b[keep] * per_b + [split, 0.0]], axis=1
    )
    paths = [(int(k), _lines(ends[klass == k])) for k in np.unique(klass)]
    caption = f"{a.name} — {b.name}: "
    if pair.num_inliers:
        caption += f"{pair.num_inliers} of {len(pair.matches)} matches agree with one geometry"
        if len(keep) < pair.num_inliers:
            caption += f", {len(keep)} drawn"
        if pair.label in _KINDS:
            caption += f"; {_KINDS[pair.label]}"
    else:
        caption += f"{len(pair.matches)} matches, none verified"
    return PairFigure(
        index, pair.a, pair.b, title, caption, split + widths[1], height, split, widths, paths
    )


def _lines(ends: Float[np.ndarray, "n 4"]) -> str:
    return "".join(f"M{x:.0f} {y:.0f}L{p:.0f} {q:.0f}" for x, y, p, q in ends)


@dataclass
class Cell:
    """A field of the pair matrix."""

    inliers: int
    matches: int
    strength: float  # 0…1, for the colour
    figure: int | None  # index into the figures


def pair_matrix(
    pairs: list[Pair], figures: list[PairFigure], num_photos: int
) -> list[list[Cell | None]]:
    """Inliers of all pairs as a symmetric table; None where no matches were looked for."""
    table: list[list[Cell | None]] = [[None] * num_photos for _ in range(num_photos)]
    most = max((p.num_inliers for p in pairs), default=0) or 1
    where = {(f.a, f.b): k for k, f in enumerate(figures)}
    for p in pairs:
        strength = float(np.sqrt(p.num_inliers / most))
        cell = Cell(p.num_inliers, len(p.matches), strength, where.get((p.a, p.b)))
        table[p.a][p.b] = table[p.b][p.a] = cell
    return table
