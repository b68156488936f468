"""Pictures of pairs: the source's key-points, where they were found in the target, and the truth.

Green: found; red: not, with a thin line to where it should be; grey: no answer.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image as PilImage
from PIL import ImageDraw

from corr.page.pictures import at_height

GREEN, RED, GREY = (17, 160, 98), (214, 48, 72), (150, 155, 165)
GAP_PX = 12


def pair_picture(
    source: UInt8[np.ndarray, "hs ws 3"],
    target: UInt8[np.ndarray, "ht wt 3"],
    *,
    uv_source: Float[np.ndarray, "n 2"],
    uv_true: Float[np.ndarray, "n 2"],
    uv_found: Float[np.ndarray, "n 2"],
    found: Bool[np.ndarray, " n"],
    height: int = 300,
) -> UInt8[np.ndarray, "height w 3"]:
    """Both photos side by side at one height, a line from every key-point to its match."""
    photos, scales = zip(*(at_height(p, height) for p in (source, target)), strict=True)
    left = photos[0].width + GAP_PX
    canvas = PilImage.new("RGB", (left + photos[1].width, height), (255, 255, 255))
    canvas.paste(photos[0], (0, 0))
    canvas.paste(photos[1], (left, 0))
    draw = ImageDraw.Draw(canvas)
    offset = np.array([left, 0.0])
    start = uv_source * scales[0]
    true, end = (offset + uv * scales[1] for uv in (uv_true, uv_found))
    for a, t, b, good in zip(start, true, end, found, strict=True):
        if not np.isfinite(b).all():
            _dot(draw, a, GREY)
            _ring(draw, t, GREY)
            continue
        colour = GREEN if good else RED
        draw.line([*a, *b], fill=colour, width=2)
        if not good:
            draw.line([*b, *t], fill=RED, width=1)
            _ring(draw, t, RED)
        _dot(draw, a, colour)
        _dot(draw, b, colour)
    return np.asarray(canvas)


def marked(
    photo: UInt8[np.ndarray, "h w 3"], uv: Float[np.ndarray, " 2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with a ring around a place, wide enough to be seen at a third of the size."""
    canvas = PilImage.fromarray(photo)
    draw, radius = ImageDraw.Draw(canvas), max(6.0, 0.03 * max(photo.shape[:2]))
    for grow, colour in ((0.0, (0, 0, 0)), (radius / 4, (255, 255, 255))):
        r = radius + grow
        box = [uv[0] - r, uv[1] - r, uv[0] + r, uv[1] + r]
        draw.ellipse(box, outline=colour, width=max(2, round(radius / 4)))
    return np.asarray(canvas)


def _dot(draw: ImageDraw.ImageDraw, at: Float[np.ndarray, " 2"], colour: tuple[int, ...]) -> None:
    u, v = at
    draw.ellipse([u - 4, v - 4, u + 4, v + 4], fill=colour, outline=(255, 255, 255))


def _ring(draw: ImageDraw.ImageDraw, at: Float[np.ndarray, " 2"], colour: tuple[int, ...]) -> None:
    u, v = at
    draw.ellipse([u - 5, v - 5, u + 5, v + 5], outline=colour, width=2)
