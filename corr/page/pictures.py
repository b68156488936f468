"""Pictures that lie inside a page."""

import base64
import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
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
