"""Pictures that lie inside a page."""

import base64
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PilImage


def load_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as 8-bit RGB."""
    with PilImage.open(path) as file:
        return np.asarray(file.convert("RGB"))


def jpeg_uri(rgb: UInt8[np.ndarray, "h w 3"], max_side: int, *, quality: int = 84) -> str:
    """A `data:` address of the picture, shrunk so that its longer side fits."""
    picture = PilImage.fromarray(rgb)
    if max(picture.size) > max_side:
        picture.thumbnail((max_side, max_side), PilImage.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def at_height(
    photo: UInt8[np.ndarray, "h w 3"], height: int
) -> tuple[PilImage.Image, Float[np.ndarray, " 2"]]:
    """The photo at a height, and picture pixels per photo pixel along u and v."""
    width = max(1, round(photo.shape[1] * height / photo.shape[0]))
    small = PilImage.fromarray(photo).resize((width, height), PilImage.Resampling.BILINEAR)
    return small, np.array([width / photo.shape[1], height / photo.shape[0]])
