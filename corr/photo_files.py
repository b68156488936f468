"""Find photo files and decode them: any common format in, upright 8-bit RGB out."""

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError

from corr.errors import UserError
from corr.exif import EXIF_IFD, focal_prior_px

log = logging.getLogger(__name__)

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".heic", ".heif", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
BACKGROUND = 128  # behind transparent pixels: mid-grey makes the weakest edges


class UnreadablePhotoError(Exception):
    """The file cannot be used; the message is a reason in a few words."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A photo's pixels, upright, and what its file says about it."""

    rgb: UInt8[np.ndarray, "h w 3"]
    opaque: Bool[np.ndarray, "h w"] | None  # from alpha; None when there is none or all is opaque
    focal_prior_px: float | None


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each of several different files: the file's own where no other one has it.

    Namesakes have their folders' names in front, as many as it takes: `left_0001.jpg` and
    `right_0001.jpg`. Where that meets another name, or folders are called alike, numbers follow.
    """
    places = [p.resolve() for p in paths]
    names = [p.name for p in places]
    deepest = max((len(p.parts) for p in places), default=0)
    for depth in range(2, deepest + 1):
        counts = Counter(names)
        if max(counts.values()) == 1:
            break
        names = [
            name if counts[name] == 1 else "_".join(p.parts[max(1, len(p.parts) - depth) :])
            for name, p in zip(names, places, strict=True)
        ]
    taken: set[str] = set()
    for k, name in enumerate(names):
        stem, suffix, number = Path(name).stem, Path(name).suffix, 2
        while names[k] in taken:
            names[k] = f"{stem}_{number}{suffix}"
            number += 1
        taken.add(names[k])
    return names


def list_photos(source: Path) -> list[Path]:
    """Photo files of a folder in natural order, or the single photo or video that was given.

    Files are recognised by suffix; hidden files and subfolders are ignored, others are logged.

    Raises:
        UserError: Nothing is there, or nothing that can be read.
    """
    if source.is_file():
        if source.suffix.lower() in (*PHOTO_SUFFIXES, *VIDEO_SUFFIXES):
            return [source]
        raise UserError(f"{source} is neither a photo ({_known()}) nor a video")
    if not source.is_dir():
        raise UserError(f"photos folder {source} does not exist")
    files = [p for p in source.iterdir() if p.is_file() and not p.name.startswith(".")]
    photos = sorted((p for p in files if p.suffix.lower() in PHOTO_SUFFIXES), key=_natural)
    others = [p for p in files if p.suffix.lower() not in PHOTO_SUFFIXES]
    if not photos:
        raise UserError(f"no photos in {source} ({_known()}); {_what_else(source, others)}")
    if others:
        log.info("%s: %d other files ignored (%s)", source, len(others), _by_suffix(others))
    return photos


def _known() -> str:
    return "read are " + " ".join(s[1:] for s in PHOTO_SUFFIXES)


def _what_else(source: Path, others: list[Path]) -> str:
    text = f"it holds {len(others)} other files"
    if others:
        text += f" ({_by_suffix(others)})"
    videos = [p.name for p in others if p.suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        return f"{text}; to use a video give its path: {source / sorted(videos)[0]}"
    below = [p for p in sorted(source.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    for folder in below:
        count = sum(p.suffix.lower() in PHOTO_SUFFIXES for p in folder.iterdir())
        if count:
            return f"{text}; subfolder {folder} holds {count} photos: give that one"
    return text


def _by_suffix(files: Iterable[Path]) -> str:
    counts = Counter(p.suffix.lower() or "no suffix" for p in files)
    return ", ".join(f"{n} {suffix}" for suffix, n in sorted(counts.items()))


def _natural(path: Path) -> tuple:
    """Sort key under which 2.jpg comes before 10.jpg."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts), path.name


def decode(path: Path) -> Decoded:
    """Read a photo upright, as 8-bit RGB; the first frame of a file with several.

    16-bit values are cut to 8 bits; transparent pixels are laid over mid-grey and reported.

    Raises:
        UnreadablePhotoError: With the reason.
    """
    _register_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # corrupt EXIF, very large photos
            with PilImage.open(path) as file:
                file.load()
                tags = _exif_tags(file)
                upright = ImageOps.exif_transpose(file)
                rgb, opaque = _to_rgb(upright)
    except UnidentifiedImageError:
        raise UnreadablePhotoError("not an image (its content is of no known format)") from None
    except PilImage.DecompressionBombError:
        raise UnreadablePhotoError("too large: more than 178 megapixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UnreadablePhotoError(f"cannot be decoded: {text}") from None
    if opaque is not None and not opaque.any():
        raise UnreadablePhotoError("fully transparent")
    height, width = rgb.shape[:2]
    return Decoded(rgb, opaque, focal_prior_px(tags, width, height))


def read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    """A mask file as 8-bit grey; its alpha channel if that is all it has to say."""
    _register_heif()
    with PilImage.open(path) as file:
        if file.mode in ("1", "L"):
            return np.asarray(file.convert("L"))
        if file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info:
            rgba = np.asarray(file.convert("RGBA"))
            alpha = rgba[..., 3]
            return alpha if alpha.min() < 255 else rgba[..., :3].max(-1)
        return _to_rgb(file)[0].max(-1)


def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _exif_tags(file: PilImage.Image) -> dict[int, object]:
    try:
        return dict(file.getexif().get_ifd(EXIF_IFD))
    except Exception:  # a broken directory must not cost the photo
        return {}


def _to_rgb(
    image: PilImage.Image,
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"] | None]:
    if image.mode.startswith("I") or image.mode == "F":
        white = 65535.0 if image.mode.startswith("I;16") else None
        grey = _to_8_bit(np.asarray(image, dtype=np.float64), white)
        return np.repeat(grey[..., None], 3, axis=-1), None
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if not has_alpha:
        return np.asarray(image.convert("RGB")), None
    rgba = image.convert("RGBA")
    alpha = np.asarray(rgba)[..., 3]
    if alpha.min() == 255:
        return np.asarray(rgba.convert("RGB")), None
    ground = PilImage.new("RGBA", rgba.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    return np.asarray(PilImage.alpha_composite(ground, rgba).convert("RGB")), alpha > 127


def _to_8_bit(values: np.ndarray, white: float | None) -> UInt8[np.ndarray, "h w"]:
    """Grey of known white, or else of the smallest common range that holds all values."""
    values = np.nan_to_num(values)
    if white is None:
        top = float(values.max(initial=0.0))
        white = next((w for w in (1.0, 255.0, 65535.0) if top <= w), top)
    return np.clip(values * (255.0 / white) + 0.5, 0, 255).astype(np.uint8)
