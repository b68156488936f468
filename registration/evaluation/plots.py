"""Two diagrams as one SVG: stated probability against truth, and recall by overlap."""

from collections.abc import Sequence
from html import escape

from registration.calibration import ReliabilityBin
from registration.recall import Bin

SIDE = 260  # px, side of a diagram
LEFT, TOP, GAP, BOTTOM = 48, 34, 76, 48
INK, BAR, LINE = "#222", "#7aa6d8", "#c2571a"


def reliability_and_overlap(
    reliability: Sequence[ReliabilityBin], by_overlap: Sequence[Bin], title: str
) -> str:
    """The SVG text."""
    width, height = 2 * SIDE + LEFT + GAP + 24, SIDE + TOP + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="11" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_reliability(reliability, LEFT),
        *_overlap(by_overlap, LEFT + SIDE + GAP),
        "</svg>",
    ]
    return "\n".join(parts)


def _reliability(bins: Sequence[ReliabilityBin], left: int) -> list[str]:
    total = max(1, sum(b.count for b in bins))
    parts = _frame(left, "Right answers by stated probability", "stated probability", "share right")
    for b in bins:
        parts.append(_bar(left, b.low, b.high, b.true, f"{b.count} answers: {b.true:.2f} right"))
        share = b.count / total
        x, y = _at(left, b.stated, b.true)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2 + 8 * share:.1f}" fill="{LINE}"/>')
    (x0, y0), (x1, y1) = _at(left, 0, 0), _at(left, 1, 1)
    parts.append(f'<path d="M{x0} {y0}L{x1} {y1}" stroke="{LINE}" stroke-dasharray="4 3"/>')
    return parts


def _overlap(bins: Sequence[Bin], left: int) -> list[str]:
    parts = _frame(left, "Recall by overlap (definition A)", "overlap", "recall")
    for b in bins:
        parts.append(_bar(left, b.low, b.high, b.recall, f"{b.count} pairs: {b.recall:.2f}"))
        x, y = _at(left, (b.low + b.high) / 2, b.recall)
        parts.append(f'<text x="{x:.1f}" y="{y - 4:.1f}" text-anchor="middle">{b.count}</text>')
    return parts


def _frame(left: int, title: str, below: str, beside: str) -> list[str]:
    middle, base = left + SIDE / 2, TOP + SIDE
    parts = [
        f'<text x="{middle}" y="{TOP - 12}" text-anchor="middle" font-size="13">{title}</text>',
        f'<text x="{middle}" y="{base + 36}" text-anchor="middle">{below}</text>',
        f'<text transform="translate({left - 34} {TOP + SIDE / 2}) rotate(-90)" '
        f'text-anchor="middle">{beside}</text>',
        f'<rect x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#999"/>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _at(left, tick, tick)
        parts.append(f'<text x="{x}" y="{base + 16}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    return parts


def _bar(left: int, low: float, high: float, value: float, tip: str) -> str:
    x0, y = _at(left, low, value)
    x1, base = _at(left, high, 0.0)
    return (
        f'<rect x="{x0 + 1:.1f}" y="{y:.1f}" width="{x1 - x0 - 2:.1f}" height="{base - y:.1f}" '
        f'fill="{BAR}"><title>{escape(tip)}</title></rect>'
    )


def _at(left: int, x: float, y: float) -> tuple[float, float]:
    return left + SIDE * x, TOP + SIDE * (1 - y)
