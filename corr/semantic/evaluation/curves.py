"""Risk against coverage, and stated against true shares, as drawings inside of the page."""

from collections.abc import Sequence

from corr.semantic.evaluation.scores import Trust

_SIDE, _EDGE = 240, 44  # pixels: of the square, and of the room for figures around it
_COLOUR = "#2f6fb2"


def risk_curve(trust: Trust) -> str:
    """Share wrong among the surest points, over the share that is answered."""
    points = [(coverage, risk) for coverage, risk, _ in trust.risk]
    return _plot(points, "share answered, surest first", "share wrong", diagonal=False)


def reliability_curve(trust: Trust) -> str:
    """Share found over stated confidence, bins of equally many points; the diagonal is perfect.

    Empty where the confidence is no probability.
    """
    if not trust.calibrated:
        return ""
    points = list(zip(trust.reliability.stated, trust.reliability.happened, strict=True))
    return _plot(points, "stated probability", "share found", diagonal=True)


def _plot(points: Sequence[tuple[float, float]], x: str, y: str, *, diagonal: bool) -> str:
    """Both axes 0 to 1."""
    if not points:
        return ""
    size, low = _SIDE + 2 * _EDGE, _EDGE + _SIDE
    at = [(_EDGE + _SIDE * a, low - _SIDE * b) for a, b in points]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{_COLOUR}"/>' for a, b in at)
    even = f'<path d="M{_EDGE} {low}L{low} {_EDGE}" stroke="#999" stroke-dasharray="4"/>'
    marks = "".join(
        f'<text x="{_EDGE + _SIDE * v}" y="{low + 16}" text-anchor="middle">{v:g}</text>'
        f'<text x="{_EDGE - 6}" y="{low - _SIDE * v + 4}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    middle = size // 2
    return (
        f'<svg width="{size}" height="{size}" role="img" aria-label="{y} over {x}" '
        'font-size="12" fill="currentColor">'
        f'<rect x="{_EDGE}" y="{_EDGE}" width="{_SIDE}" height="{_SIDE}" fill="none" '
        f'stroke="#999"/>{even if diagonal else ""}'
        f'<polyline points="{line}" fill="none" stroke="{_COLOUR}" stroke-width="2"/>{dots}{marks}'
        f'<text x="{middle}" y="{size - 8}" text-anchor="middle">{x}</text>'
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{y}'
        "</text></svg>"
    )
