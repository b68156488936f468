"""What features see: similarity to a click, joint principal colours, colours carried over.

Sources: joint PCA: Amir et al., Deep ViT Features as Dense Visual Descriptors, 2021.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image as PilImage

from corr.semantic.features.grid import FeatureGrid
from corr.semantic.warp import Warp

# Dark violet to yellow through red, lightness rising steadily: reads in grey, too.
_RAMP = np.array([
    [12, 8, 38], [66, 10, 104], [147, 38, 103], [212, 72, 66], [246, 142, 30], [249, 233, 130],
], np.float64)  # fmt: skip


def heat_map(
    photo: UInt8[np.ndarray, "h w 3"],
    grid: FeatureGrid,
    descriptor: Float[np.ndarray, " d"],
    *,
    strength: float = 0.65,
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo under its cells' similarity to a descriptor, from its lowest to its highest.

    Args:
        photo: Original size.
        grid: Its features.
        descriptor: What was clicked on, in whatever photo.
        strength: Of the colours over the photo, 0..1.
    """
    cosine = (grid.flat @ np.asarray(descriptor, np.float32)).reshape(grid.shape)
    low, high = float(cosine.min()), float(cosine.max())
    share = over_photo((cosine - low)[..., None] / max(high - low, 1e-6), grid)[..., 0]
    place = np.clip(share, 0, 1) * (len(_RAMP) - 1)
    at = np.minimum(place.astype(int), len(_RAMP) - 2)
    part = (place - at)[..., None]
    colour = (1 - part) * _RAMP[at] + part * _RAMP[at + 1]
    grey = photo.mean(-1, keepdims=True)
    return np.rint((1 - strength) * grey + strength * colour).astype(np.uint8)


def joint_pca(
    grids: list[FeatureGrid], inside: list[Bool[np.ndarray, " _"]] | None = None
) -> list[Float[np.ndarray, "_ _ 3"]]:
    """Colours 0..1 of all cells such that like descriptors have like colours across photos.

    The three main directions in which the descriptors of all photos together vary, each
    stretched so that 96 % of the values fill it.

    Args:
        grids: Features of some photos.
        inside: Which cells the directions and ranges are taken from (those on the objects); None =
            all.
    """
    if inside is None:
        inside = [np.ones(len(g.flat), dtype=bool) for g in grids]
    chosen = [g.flat[i] for g, i in zip(grids, inside, strict=True)]
    stack = np.concatenate(chosen).astype(np.float64)
    mean = stack.mean(0)
    _, axes = np.linalg.eigh(np.cov((stack - mean).T))
    main = axes[:, ::-1][:, :3]
    # An eigenvector's sign is arbitrary: the one with the larger third moment is taken.
    skew = ((stack - mean) @ main) ** 3
    main = main * np.where(skew.sum(0) < 0, -1.0, 1.0)
    low, high = np.percentile((stack - mean) @ main, [2, 98], axis=0)
    span = np.maximum(high - low, 1e-9)
    return [
        np.clip(((g.flat - mean) @ main - low) / span, 0, 1).reshape(*g.shape, 3) for g in grids
    ]


def colours_carried(
    onto: UInt8[np.ndarray, "ha wa 3"],
    colours_of: UInt8[np.ndarray, "hb wb 3"],
    warp: Warp,
    *,
    min_confidence: float = 0.0,
) -> UInt8[np.ndarray, "ha wa 3"]:
    """Every pixel of photo a in the colour of its match in photo b, where it has one.

    Args:
        onto: Photo a, whose shape is kept.
        colours_of: Photo b.
        warp: From a to b.
        min_confidence: Below it a pixel keeps a faded grey of its own.
    """
    import cv2

    height, width = onto.shape[:2]
    v, u = np.mgrid[:height, :width] + 0.5
    uv, sure = warp.at(np.stack([u, v], -1).reshape(-1, 2))
    places = (uv - 0.5).reshape(height, width, 2).astype(np.float32)
    carried = cv2.remap(colours_of, places[..., 0], places[..., 1], cv2.INTER_LINEAR,
                        borderMode=cv2.BORDER_CONSTANT)  # fmt: skip
    limit = np.array([colours_of.shape[1], colours_of.shape[0]])
    known = ((uv >= 0) & (uv <= limit)).all(-1) & (sure >= min_confidence)
    own = np.rint(0.35 * onto.mean(-1, keepdims=True) + 160).astype(np.uint8)
    return np.where(known.reshape(height, width, 1), carried, own)


def over_photo(
    planes: Float[np.ndarray, "rows columns k"], grid: FeatureGrid
) -> Float[np.ndarray, "h w k"]:
    """Values of cells as values of the photo's pixels: bilinear between centres, clamped beyond."""
    from scipy.ndimage import map_coordinates

    u = (np.arange(grid.width) + 0.5 - grid.first_uv[0]) / grid.step_uv[0]
    v = (np.arange(grid.height) + 0.5 - grid.first_uv[1]) / grid.step_uv[1]
    at = np.meshgrid(v, u, indexing="ij")
    return np.stack(
        [map_coordinates(planes[..., k].astype(np.float64), at, order=1, mode="nearest")
         for k in range(planes.shape[-1])], -1,
    )  # fmt: skip


def beside(
    pictures: list[UInt8[np.ndarray, "_ _ 3"]], height: int, gap_px: int = 12
) -> UInt8[np.ndarray, "height w 3"]:
    """Pictures in a row at one height, white between them."""
    small = [
        PilImage.fromarray(p).resize((max(1, round(p.shape[1] * height / p.shape[0])), height))
        for p in pictures
    ]
    canvas = PilImage.new(
        "RGB", (sum(p.width for p in small) + gap_px * (len(small) - 1), height), (255, 255, 255)
    )
    left = 0
    for picture in small:
        canvas.paste(picture, (left, 0))
        left += picture.width + gap_px
    return np.asarray(canvas)
