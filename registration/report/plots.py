"""Small drawings of the report as SVG: probability gauge, residuals of the matches."""

import math

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup, escape

_BINS = 24
_REACH = 6.0  # voxels at the right end of the histogram


def gauge(probability: float, *, accepted: bool) -> Markup:
    """A half circle filled to the probability."""
    share = min(max(probability, 0.0), 1.0)
    radius, cx, cy = 84.0, 110.0, 104.0

    def at(value: float) -> tuple[float, float]:
        angle = math.pi * (1 - value)
        return cx + radius * math.cos(angle), cy - radius * math.sin(angle)

    (x0, y0), (x1, y1), (x, y) = at(0.0), at(1.0), at(share)
    arc = f"M{x0:.1f} {y0:.1f}A{radius:g} {radius:g} 0 0 1 "
    fill = f'<path class="dial fill" d="{arc}{x:.1f} {y:.1f}"/>' if share > 0.005 else ""
    ticks = "".join(
        f'<text x="{tx:.0f}" y="{cy + 22:.0f}" text-anchor="{anchor}">{text}</text>'
        for tx, anchor, text in ((x0, "middle", "0"), (x1, "middle", "1"))
    )
    word, text = "accepted" if accepted else "not accepted", probability_text(share)
    size = "value long" if len(text) > 5 else "value"
    return Markup(
        f'<svg class="plot gauge {"good" if accepted else "bad"}" viewBox="0 0 220 132" role="img" '
        f'aria-label="probability {text}, {word}">'
        f'<path class="dial" d="{arc}{x1:.1f} {y1:.1f}"/>{fill}'
        f'<text class="{size}" x="{cx:g}" y="{cy - 18:g}">{text}</text>'
        f'<text class="word" x="{cx:g}" y="{cy + 4:g}">{word}</text>{ticks}</svg>'
    )


def probability_text(share: float) -> Markup:
    """Two digits, three near one, and never a certainty; for HTML."""
    return Markup(
        "&gt; 0.999" if share > 0.999 else f"{share:.2f}" if share < 0.995 else f"{share:.3f}"
    )


def residual_histogram(
    residual: Float[np.ndarray, " m"], inlier: Bool[np.ndarray, " m"], voxel: float
) -> Markup:
    """How far apart matched points are under the answer; those that agree in colour.

    Args:
        residual: Distances, data's unit.
        inlier: The matches that agree.
        voxel: The working resolution, data's unit.
    """
    edges = np.linspace(0, _REACH, _BINS + 1)
    share = residual / voxel
    counts = [np.histogram(share[mask], edges)[0] for mask in (inlier, ~inlier)]
    beyond = int((share > _REACH).sum())
    most = int(max((counts[0] + counts[1]).max(), 1))
    width, height, left, bottom, top = 560.0, 240.0, 46.0, 40.0, 24.0
    step = (width - left - 12) / _BINS
    per_count = (height - bottom - top) / most
    parts = []
    for value in _ticks(most):
        y = height - bottom - value * per_count
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{width - 12}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for k in range(_BINS):
        base = height - bottom
        for kind, row in zip(("agree", "other"), counts, strict=True):
            tall = float(row[k]) * per_count
            if tall:
                parts.append(
                    f'<rect class="{kind}" x="{left + k * step + 1:.1f}" y="{base - tall:.1f}" '
                    f'width="{step - 2:.1f}" height="{tall:.1f}"><title>{edges[k]:.2f} to '
                    f"{edges[k + 1]:.2f} voxels: {row[k]}</title></rect>"
                )
            base -= tall
    for value in range(0, int(_REACH) + 1):
        x = left + value / _REACH * _BINS * step
        y = height - bottom + 18
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{value}</text>')
    note = f"distance of matched points under the answer, voxels; {beyond} beyond {_REACH:g}"
    parts.append(f'<text x="{left}" y="{height - 6}">{escape(note)}</text>')
    return Markup(
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="histogram of match distances">{"".join(parts)}</svg>'
    )


def _ticks(most: int) -> list[int]:
    step = 10 ** math.floor(math.log10(most))
    step = next(s for s in (step // 5 or 1, step // 2 or 1, step, 2 * step) if most / s <= 5)
    return list(range(0, most + 1, step))
