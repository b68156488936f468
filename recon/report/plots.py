"""Plots as inline SVG: sharp at every size, small, and they follow the page's light or dark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from recon.scene import Reconstruction

MAX_POINTS = 2500


@dataclass
class Series:
    """A line of a chart; `style` is a class of the page's style sheet."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str


def line_chart(
    series: list[Series], title: str, *, width: int = 520, height: int = 260, log: bool = False
) -> str:
    """A chart over iterations; empty when there is nothing finite to draw."""
    series = [s for s in (_finite(s, log) for s in series) if len(s.x) > 1]
    if not series:
        return ""
    left, right, top, bottom = 50, 26, 38, 32
    xs = np.concatenate([np.asarray(s.x, float) for s in series])
    ys = np.concatenate([np.asarray(s.y, float) for s in series])
    x_low, x_high = float(xs.min()), float(xs.max())
    y_low, y_high = float(ys.min()), float(ys.max())
    pad = 0.06 * (y_high - y_low) or 0.5
    y_low, y_high = y_low - pad, y_high + pad

    def px(x: float) -> float:
        return left + (x - x_low) / max(x_high - x_low, 1e-12) * (width - left - right)

    def py(y: float) -> float:
        return height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom)

    out = [_open(width, height, title)]
    for y in log_ticks(y_low, y_high) if log else ticks(y_low, y_high):
        text = f"{10**y:.3g}" if log else f"{y:g}"
        out.append(f'<path class="grid" d="M{left} {py(y):.1f}H{width - right}"/>')
        out.append(f'<text class="tick" x="{left - 7}" y="{py(y) + 4:.1f}" text-anchor="end">')
        out.append(f"{text}</text>")
    for x in ticks(x_low, x_high):
        out.append(f'<text class="tick" x="{px(x):.1f}" y="{height - 9}" text-anchor="middle">')
        out.append(f"{x:g}</text>")
    for s in series:
        line = "L".join(f"{px(x):.1f} {py(y):.1f}" for x, y in zip(s.x, s.y, strict=True))
        out.append(f'<path class="line {s.style}" d="M{line}"/>')
    out.append(_legend(series, title, left))
    return "".join([*out, "</svg>"])


def _legend(series: list[Series], title: str, left: int) -> str:
    out = [f'<text class="name" x="{left}" y="22">{title}</text>']
    if len(series) > 1:
        x = left + 7.5 * len(title) + 18
        for s in series:
            out.append(f'<path class="line {s.style}" d="M{x:.0f} 18h18"/>')
            out.append(f'<text class="tick" x="{x + 24:.0f}" y="22">{s.label}</text>')
            x += 24 + 7 * len(s.label) + 18
    return "".join(out)


def _finite(series: Series, log: bool) -> Series:
    def number(value: float | None) -> float:
        return np.nan if value is None else float(value)

    x, y = (np.array([number(v) for v in values]) for values in (series.x, series.y))
    if log:
        y = np.log10(np.where(y > 0, y, np.nan))
    keep = np.isfinite(x) & np.isfinite(y)
    return Series(series.label, x[keep].tolist(), y[keep].tolist(), series.style)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers in a range, about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = np.ceil(low / step)
    return [float(round(k * step, 12)) for k in np.arange(first, high / step + 1e-9)]


def log_ticks(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2 and 5 times powers of ten between two logarithms; of 1 in wide ranges."""
    leading = (1, 2, 5) if high - low < 2.5 else (1,)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    logs = [float(np.log10(m)) + p for p in powers for m in leading]
    return [v for v in logs if low <= v <= high]


def history_charts(history: list[dict[str, float]]) -> list[str]:
    """Loss, PSNR and number of splats over the iterations, as far as they were recorded."""
    if not history:
        return []

    def column(name: str) -> list[float]:
        return [row.get(name) for row in history]  # type: ignore[misc]

    steps = column("iteration")
    psnr = [
        Series("fitted photos", steps, column("psnr_train"), "c1"),
        Series("stopping photo", steps, column("psnr_stop"), "c2"),
    ]
    charts = [
        line_chart([Series("loss", steps, column("loss"), "c1")], "loss (log)", log=True),
        line_chart(psnr, "PSNR, dB"),
        line_chart([Series("splats", steps, column("num_splats"), "c3")], "splats"),
    ]
    counts = {row.get("num_splats") for row in history}
    return [c for c in (charts if len(counts) > 1 else charts[:2]) if c]


def camera_layout(
    reconstruction: Reconstruction,
    up: Float[np.ndarray, "3"],
    edges: list[tuple[str, str, float]],
    numbers: dict[str, int],
    *,
    side: bool = False,
) -> str:
    """The scene from above (or from the side): points, frusta, numbers, and the view graph.

    Args:
        reconstruction: Views and points.
        up: World direction that is up.
        edges: Photo names and strength 0…1 of the pairs, drawn between camera centres.
        numbers: Number of every photo, as the page counts them.
        side: Look along the horizon instead of down.
    """
    width, height, margin = 520, 400, 26
    axes = _plane(reconstruction, up, side)
    points = reconstruction.xyz_world @ axes.T
    centres = {v.name: v.cam_from_world.centre @ axes.T for v in reconstruction.views}
    low, high = _extent(points, np.array(list(centres.values())))
    scale = min(
        (width - 2 * margin) / (high[0] - low[0]), (height - 2 * margin) / (high[1] - low[1])
    )
    middle = (low + high) / 2

    def px(xy: np.ndarray) -> np.ndarray:
        return np.array([width / 2, height / 2]) + (xy - middle) * [scale, -scale]

    title = "from the side" if side else "from above"
    out = [_open(width, height, f"cameras {title}"), _points(px(points), reconstruction.rgb)]
    for a, b, strength in edges:
        if not side and a in centres and b in centres:
            (x, y), (p, q) = px(centres[a]), px(centres[b])
            d, o = f"M{x:.1f} {y:.1f}L{p:.1f} {q:.1f}", 0.08 + 0.6 * strength
            out.append(f'<path class="edge" d="{d}" style="opacity:{o:.2f}"/>')
    for view in reconstruction.views:
        K, size = view.camera.K, np.array([view.camera.width, view.camera.height])
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]) * size
        rays = view.camera.unproject(corners, np.ones(4))
        tips = view.cam_from_world.inverse().apply(rays / (size[0] / K[0, 0])) @ axes.T
        tip = px(centres[view.name])
        ring = tip + _limited(px(tips) - tip, 24.0)
        shape = "L".join(f"{x:.1f} {y:.1f}" for x, y in ring)
        spokes = "".join(f"M{tip[0]:.1f} {tip[1]:.1f}L{x:.1f} {y:.1f}" for x, y in ring)
        out.append(f'<path class="frustum" d="M{shape}Z{spokes}"/>')
        out.append(f'<circle class="dot" cx="{tip[0]:.1f}" cy="{tip[1]:.1f}" r="2.5"/>')
        number = numbers.get(view.name, 0) or ""
        away = tip - 11 * _unit(ring.mean(axis=0) - tip)
        out.append(f'<text class="tag" x="{away[0]:.1f}" y="{away[1] + 4:.1f}">{number}</text>')
    out.append(f'<text class="name" x="12" y="20">{title}</text></svg>')
    return "".join(out)


def _plane(
    reconstruction: Reconstruction, up: Float[np.ndarray, "3"], side: bool
) -> Float[np.ndarray, "2 3"]:
    """Right and upward direction of the drawing, in the world."""
    right = np.mean([v.cam_from_world.R[0] for v in reconstruction.views], axis=0)
    right = right - (right @ up) * up
    if np.linalg.norm(right) < 1e-6:  # cameras all around: any horizontal direction
        right = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    right = _unit(right)
    return np.stack([right, up if side else np.cross(up, right)])


def _extent(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corners = [centres]
    if len(points):
        corners.append(np.quantile(points, [0.03, 0.97], axis=0))
    joined = np.concatenate(corners)
    low, high = joined.min(axis=0), joined.max(axis=0)
    pad = 0.04 * max((high - low).max(), 1e-9)
    return low - pad, high + pad


def _points(uv: np.ndarray, rgb: np.ndarray) -> str:
    """Dots, one path per rounded colour."""
    if len(uv) > MAX_POINTS:
        keep = np.random.default_rng(0).choice(len(uv), MAX_POINTS, replace=False)
        uv, rgb = uv[keep], rgb[keep]
    rounded = ((rgb.astype(int) // 64) * 64 + 32) * 4 // 5  # no white dots on a white page
    out = []
    for colour in np.unique(rounded, axis=0):
        dots = uv[(rounded == colour).all(axis=1)]
        d = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in dots)
        out.append(f'<path class="points" stroke="#{bytes(colour.tolist()).hex()}" d="{d}"/>')
    return "".join(out)


def _limited(offsets: np.ndarray, length: float) -> np.ndarray:
    """Scaled together so that the longest has that length."""
    return offsets * (length / max(np.linalg.norm(offsets, axis=1).max(), 1e-9))


def _unit(v: np.ndarray) -> np.ndarray:
    return v / max(float(np.linalg.norm(v)), 1e-12)


def _open(width: int, height: int, label: str) -> str:
    return f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
