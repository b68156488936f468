"""Pictures of matches: both photos side by side, a line per match.

Green: it fits the pair's geometry; red: it does not; blue: there is no geometry to fit. The more
confident a match, the stronger its line.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image as PilImage
from PIL import ImageDraw

from corr.page.pictures import at_height

GREEN, RED, BLUE = (17, 160, 98), (214, 48, 72), (40, 110, 220)
GAP_PX = 12
MOST_LINES = 400  # of each colour; more would hide the photos
FAINT, STRONG = 70, 235  # opacity of the least and most confident match drawn, 0 … 255


def matches_picture(
    rgb_a: UInt8[np.ndarray, "ha wa 3"],
    rgb_b: UInt8[np.ndarray, "hb wb 3"],
    uv_a: Float[np.ndarray, "n 2"],
    uv_b: Float[np.ndarray, "n 2"],
    score: Float[np.ndarray, " n"],
    inliers: Bool[np.ndarray, " n"] | None,
    *,
    height: int = 480,
) -> UInt8[np.ndarray, "height w 3"]:
    """The picture.

    Args:
        rgb_a: Photo a, any size.
        rgb_b: Photo b.
        uv_a: Pixels of `rgb_a`.
        uv_b: Pixels of `rgb_b`.
        score: Confidence of every match, 0 … 1.
        inliers: Which ones fit the geometry; None = there is none.
        height: Of the picture, pixels.
    """
    (left, scale_a), (right, scale_b) = at_height(rgb_a, height), at_height(rgb_b, height)
    canvas = PilImage.new("RGB", (left.width + GAP_PX + right.width, height), (255, 255, 255))
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width + GAP_PX, 0))
    draw = ImageDraw.Draw(canvas, "RGBA")
    start, end = uv_a * scale_a, uv_b * scale_b + [left.width + GAP_PX, 0.0]
    everything = np.ones(len(score), dtype=bool)
    groups = [(everything, BLUE)] if inliers is None else [(~inliers, RED), (inliers, GREEN)]
    for members, colour in groups:  # what fits lies on top
        rows = _most_confident(np.flatnonzero(members), score)
        for row, opacity in zip(rows.tolist(), _opacity(score[rows]).tolist(), strict=True):
            line = (*colour, opacity)
            draw.line([*start[row], *end[row]], fill=line, width=1)
            for u, v in (start[row], end[row]):
                draw.ellipse([u - 2, v - 2, u + 2, v + 2], fill=line)
    return np.asarray(canvas)


def _most_confident(rows: np.ndarray, score: np.ndarray) -> np.ndarray:
    """At most `MOST_LINES` rows, the strongest last."""
    return rows[np.argsort(score[rows], kind="stable")][-MOST_LINES:]


def _opacity(score: np.ndarray) -> np.ndarray:
    if not len(score):
        return np.zeros(0, dtype=int)
    spread = (score - score.min()) / max(float(np.ptp(score)), 1e-9)
    return np.round(FAINT + (STRONG - FAINT) * spread).astype(int)
