"""Photos as taken to pinhole pictures of the working size."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image as PilImage

from corr.geometry import Camera
from corr.photos import Image
from recon.poses.lens import Lens


def pinhole_of(image: Image, lens: Lens) -> Camera:
    """The pinhole of the undistorted picture: working size, the lens's focal length and centre.

    `lens` is in original pixels. The working copy's two axes are scaled by almost, not exactly,
    the same factor; K keeps both.
    """
    x, y = image.work_per_original
    K = np.array(
        [[lens.focal_px * x, 0, lens.cx * x], [0, lens.focal_y_px * y, lens.cy * y], [0, 0, 1.0]]
    )
    return Camera(image.work_width, image.work_height, K)


def undistort_points(
    uv: Float[np.ndarray, "n 2"], lens: Lens, camera: Camera
) -> Float[np.ndarray, "n 2"]:
    """Original distorted pixels to pixels of the pinhole picture."""
    focal = np.array([camera.K[0, 0], camera.K[1, 1]])
    return lens.undistort(uv) * focal + camera.K[:2, 2]


def undistort_picture(
    image: Image, lens: Lens
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"] | None]:
    """The pinhole picture, and where it is valid (None = everywhere).

    Valid is what lies inside the photo as taken and is not masked out. Without distortion the
    working copy itself is returned, not resampled.
    """
    picture, mask = image.load(), image.load_mask()
    if not lens.distorted:
        return picture, mask if mask is not None and not mask.all() else None
    import cv2

    camera = pinhole_of(image, lens)
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    uv = np.stack([columns, rows], -1)
    xy = (uv - camera.K[:2, 2]) / np.array([camera.K[0, 0], camera.K[1, 1]])
    source = lens.distort(xy) * image.work_per_original
    size = np.array([camera.width, camera.height])
    valid = ((source >= 0.5) & (source <= size - 0.5)).all(-1)
    at = (source - 0.5).astype(np.float32)  # OpenCV counts from pixel centres
    out = cv2.remap(
        picture, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    if mask is not None:
        share = cv2.remap(mask.astype(np.float32), at[..., 0], at[..., 1], cv2.INTER_LINEAR)
        valid &= share > 0.5
    return np.asarray(out, dtype=np.uint8), None if valid.all() else valid


def save_picture(folder: Path, name: str, rgb: np.ndarray, valid: np.ndarray | None) -> None:
    """Write `images/<name>.png` and, unless everything is valid, `masks/<name>.png`."""
    path = folder / "images" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(rgb).save(path, compress_level=1)
    if valid is not None:
        path = folder / "masks" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PilImage.fromarray(valid.astype(np.uint8) * 255).save(path)
