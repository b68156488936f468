"""Small plots as SVG that follow the page's colours."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT, PAD = 420, 300, 44


def curve(points: Sequence[tuple[float, float]], *, x: str, y: str, title: str) -> Markup:
    """A line through points in [0, 1] x [0, 1], with axes and their names."""

    def at(u: float, v: float) -> tuple[float, float]:
        return PAD + u * (WIDTH - 2 * PAD), HEIGHT - PAD - v * (HEIGHT - 2 * PAD)

    path = " ".join("{:.1f},{:.1f}".format(*at(*p)) for p in points)
    marks = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        (left, low), (across, up) = at(tick, 0.0), at(0.0, tick)
        marks.append(
            f'<text x="{left:.0f}" y="{low + 18:.0f}" text-anchor="middle">{tick:g}</text>'
        )
        marks.append(
            f'<text x="{across - 8:.0f}" y="{up + 4:.0f}" text-anchor="end">{tick:g}</text>'
        )
        marks.append(f'<line x1="{PAD}" x2="{WIDTH - PAD}" y1="{up:.0f}" y2="{up:.0f}"/>')
    middle_x, middle_y = WIDTH // 2, HEIGHT // 2
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="plot">'
        "<title>{}</title>"
        '<g stroke="var(--line)" fill="var(--soft)" font-size="12" stroke-width="1">'
        f"{''.join(marks)}"
        f'<text x="{middle_x}" y="{HEIGHT - 8}" text-anchor="middle">{{}}</text>'
        f'<text x="14" y="{middle_y}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle_y})">{{}}</text></g>'
        f'<polyline points="{path}" fill="none" stroke="var(--accent)" stroke-width="2"/></svg>'
    ).format(title, x, y)
