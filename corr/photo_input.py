"""Stage 1: a folder of photos or a video becomes upright working copies, masks and a list."""

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image as PilImage

from corr.errors import UserError
from corr.photo_files import (
    PHOTO_SUFFIXES,
    VIDEO_SUFFIXES,
    Decoded,
    UnreadablePhotoError,
    decode,
    list_photos,
    read_grey,
)
from corr.photos import Image
from corr.store import write_atomic

__all__ = ["PhotoSet", "list_photos", "load_photos", "prepare_photos"]

log = logging.getLogger(__name__)

PHOTOS_FILE = "photos.json"
THUMBNAIL_PX = 128  # long side of the copy that texture is judged on
# Mean difference of grey thumbnails over their contrast below which two photos are one. Saved
# again as JPEG 30 to 90, or at half the size, real photos stay below 0.025; the closest two of
# 180 photos of real scenes differ by 0.10.
SAME_PX, SAME_DIFFERENCE = 64, 0.04
EDGE_LEVELS, MIN_EDGE_SHARE = 4.0, 0.002  # grey levels per thumbnail pixel; share of all pixels


@dataclass(frozen=True)
class PhotoSet:
    """The usable photos, and why the others are left out."""

    images: tuple[Image, ...]
    left_out: dict[str, str]  # file name -> reason, one line


@dataclass(frozen=True, eq=False)
class _Prepared:
    image: Image
    look: Float[np.ndarray, "s s"]  # tiny grey copy, zero mean, unit contrast
    reason: str | None  # why the photo is of no use by itself


def prepare_photos(
    source: Path,
    folder: Path,
    *,
    max_side: int,
    masks: Path | None = None,
    frames: int = 12,
    names: Sequence[str] | None = None,
    at_least: int = 2,
) -> PhotoSet:
    """Write `work/`, `masks/` and `photos.json` into `folder`.

    Left out, with a reason: unreadable files, copies of another photo, photos without texture.

    Args:
        source: A folder of photos, or a video file.
        folder: Where to write; the paths kept in it are relative, so that it can be moved.
        max_side: Longest side of the working copies, pixels; smaller photos are not enlarged.
        masks: Folder of masks named like the photos; 0 = ignore.
        frames: How many frames to take out of a video.
        names: Use only these photos (file names, with or without suffix).
        at_least: How many usable photos there must be.

    Raises:
        UserError: The source, a name or a mask is wrong, or too few photos can be used.
    """
    paths = list_photos(source)
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        from corr.video import extract_frames

        paths = extract_frames(source, folder / "frames", frames=frames)
    if names is not None:
        paths = _choose(paths, names, source)
    return prepare_files(
        paths, folder, source=source, max_side=max_side, masks=masks, at_least=at_least
    )


def prepare_files(
    paths: Sequence[Path],
    folder: Path,
    *,
    source: Path,
    max_side: int,
    masks: Path | None = None,
    at_least: int = 2,
    names: Sequence[str] | None = None,
) -> PhotoSet:
    """`prepare_photos` for files that are given one by one.

    `source` is what messages call the place that they come from; `names` are the photos' names
    (and those of their masks), all different; None: the files' own.
    """
    if max_side < 32:
        raise ValueError(f"max_side must be at least 32, got {max_side}")
    paths = list(paths)
    names = [p.name for p in paths] if names is None else list(names)
    mask_of = _find_masks(masks, names) if masks is not None else {}
    for part in ("work", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)

    def prepare(path: Path, name: str) -> _Prepared | str:
        return _prepare(path, name, folder, max_side, mask_of.get(name))

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        prepared = dict(zip(names, pool.map(prepare, paths, names), strict=True))
    photos = _select(prepared)
    _log(photos, masks, source)
    _require(at_least, photos, source)
    _save(photos, folder)
    return photos


def load_photos(folder: Path) -> PhotoSet:
    """Read what `prepare_photos` wrote; the folder may have moved since."""
    record = json.loads((folder / PHOTOS_FILE).read_text())
    images = [
        Image(
            **{
                **entry,
                "path": Path(entry["path"]),
                "work_path": folder / entry["work_path"],
                "mask_path": folder / entry["mask_path"] if entry["mask_path"] else None,
            }
        )
        for entry in record["images"]
    ]
    return PhotoSet(tuple(images), record["left_out"])


def _save(photos: PhotoSet, folder: Path) -> None:
    def entry(image: Image) -> dict:
        mask = image.mask_path.relative_to(folder).as_posix() if image.mask_path else None
        return {
            **vars(image),
            "path": str(image.path),
            "work_path": image.work_path.relative_to(folder).as_posix(),
            "mask_path": mask,
        }

    record = {"images": [entry(i) for i in photos.images], "left_out": photos.left_out}
    write_atomic(folder / PHOTOS_FILE, json.dumps(record, indent=1))


def _choose(paths: list[Path], names: Sequence[str], source: Path) -> list[Path]:
    for name in names:
        if not any(name in (p.name, p.stem) for p in paths):
            some = ", ".join(p.name for p in paths[:5]) + (", …" if len(paths) > 5 else "")
            raise UserError(f"no photo named {name} in {source}; there are: {some}")
    wanted = set(names)
    return [p for p in paths if p.name in wanted or p.stem in wanted]


def _find_masks(masks: Path, names: list[str]) -> dict[str, Path]:
    """Mask file of each photo that has one: the same stem, or COLMAP's `name.jpg.png`."""
    if not masks.is_dir():
        raise UserError(f"masks folder {masks} does not exist")
    files = sorted(p for p in masks.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
    by_stem = {p.stem: p for p in files}
    found = {name: by_stem.get(name) or by_stem.get(Path(name).stem) for name in names}
    result = {name: mask for name, mask in found.items() if mask is not None}
    if not result:
        raise UserError(
            f"no mask in {masks} fits a photo; the mask of {names[0]} must be named "
            f"{Path(names[0]).stem}.png or {names[0]}.png"
        )
    return result


def _prepare(
    path: Path, name: str, folder: Path, max_side: int, mask: Path | None
) -> _Prepared | str:
    try:
        photo = decode(path)
    except UnreadablePhotoError as error:
        return str(error)
    height, width = photo.rgb.shape[:2]
    scale = min(1.0, max_side / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    work_path = folder / "work" / f"{name}.png"
    # Pillow maps the whole extent of the input to the whole extent of the output and widens
    # its filter when it shrinks: pixel centres stay at +0.5 and nothing aliases.
    work = PilImage.fromarray(photo.rgb).resize(size, PilImage.Resampling.LANCZOS)
    work.save(work_path, compress_level=1)
    usable = _usable(photo, mask, path, size)
    mask_path = None
    if usable is not None:
        mask_path = folder / "masks" / f"{name}.png"
        PilImage.fromarray(usable.astype(np.uint8) * 255).save(mask_path)
    image = Image(name, path, width, height, photo.focal_prior_px, work_path, *size, mask_path)
    return _Prepared(image, _look(work), _no_use(*_thumbnail(work, usable)))


def _usable(
    photo: Decoded, mask: Path | None, path: Path, size: tuple[int, int]
) -> Bool[np.ndarray, "h w"] | None:
    """Mask at working size from the alpha channel and the mask file; None without either."""
    usable = None
    if photo.opaque is not None:
        usable = _resize_mask(photo.opaque.astype(np.uint8) * 255, size)
    if mask is not None:
        try:
            grey = read_grey(mask)
        except (OSError, ValueError) as error:
            raise UserError(f"mask {mask} cannot be read: {error}") from None
        _check_aspect(grey, photo, mask, path)
        given = _resize_mask(_full_range(grey), size)
        usable = given if usable is None else usable & given
    return usable


def _full_range(mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Masks that count 0, 1 (or labels) instead of 0, 255: any label is wanted."""
    return mask if mask.max(initial=0) > 127 else (mask > 0).astype(np.uint8) * 255


def _resize_mask(mask: UInt8[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "a b"]:
    return np.asarray(PilImage.fromarray(mask).resize(size, PilImage.Resampling.NEAREST)) > 127


def _check_aspect(
    mask: UInt8[np.ndarray, "h w"], photo: Decoded, mask_path: Path, path: Path
) -> None:
    mask_height, mask_width = mask.shape
    height, width = photo.rgb.shape[:2]
    rounding = 1 / width + 1 / height  # each side of a resized mask may be off by one
    if abs(mask_width / width - mask_height / height) > rounding:
        raise UserError(
            f"mask {mask_path} is {mask_width}x{mask_height}, but {path.name} is {width}x{height} "
            f"when upright; save the mask with the photo's aspect ratio and orientation"
        )


def _thumbnail(
    work: PilImage.Image, usable: Bool[np.ndarray, "h w"] | None
) -> tuple[Float[np.ndarray, "a b"], Bool[np.ndarray, "a b"] | None]:
    scale = THUMBNAIL_PX / max(work.size)
    size = (max(1, round(work.width * scale)), max(1, round(work.height * scale)))
    small = np.asarray(work.resize(size, PilImage.Resampling.BOX), dtype=np.float64).mean(-1)
    if usable is None:
        return small, None
    return small, _resize_mask(usable.astype(np.uint8) * 255, size)


def _no_use(grey: Float[np.ndarray, "h w"], usable: Bool[np.ndarray, "h w"] | None) -> str | None:
    """Reason to leave a photo out by its looks alone: nothing in it could be matched."""
    edge = np.zeros(grey.shape, dtype=bool)
    edge[:, 1:] |= np.abs(np.diff(grey, axis=1)) > EDGE_LEVELS
    edge[1:] |= np.abs(np.diff(grey, axis=0)) > EDGE_LEVELS
    if usable is not None:
        if not usable.any():
            return "its mask leaves nothing"
        edge = edge[usable]
    if edge.mean() < MIN_EDGE_SHARE:
        return f"no texture: {edge.mean():.2%} of it are edges, nothing to match"
    return None


def _select(prepared: dict[str, "_Prepared | str"]) -> PhotoSet:
    kept: list[_Prepared] = []
    left_out: dict[str, str] = {}
    for name, item in prepared.items():
        if isinstance(item, str):
            left_out[name] = item
        elif item.reason is not None:
            left_out[name] = item.reason
        elif twin := next((k for k in kept if _same(k, item)), None):
            left_out[name] = f"identical to {twin.image.name}"
        else:
            kept.append(item)
    return PhotoSet(tuple(k.image for k in kept), left_out)


def _look(work: PilImage.Image) -> Float[np.ndarray, "s s"]:
    tiny = work.convert("L").resize((SAME_PX, SAME_PX), PilImage.Resampling.BOX)
    grey = np.asarray(tiny, dtype=np.float64)
    return (grey - grey.mean()) / max(float(grey.std()), 1.0)


def _same(a: _Prepared, b: _Prepared) -> bool:
    """True for the same pixels, also re-saved or resized."""
    aspects = (a.image.width * b.image.height, a.image.height * b.image.width)
    if max(aspects) > 1.02 * min(aspects):
        return False
    return bool(np.abs(a.look - b.look).mean() <= SAME_DIFFERENCE)


def _log(photos: PhotoSet, masks: Path | None, source: Path) -> None:
    for name, reason in photos.left_out.items():
        log.warning("%s is left out: %s", name, reason)
    with_focal = sum(i.focal_prior_px is not None for i in photos.images)
    log.info("%s: %d photos, %d with a focal length", source, len(photos.images), with_focal)
    without = [i.name for i in photos.images if i.mask_path is None]
    if masks is not None and without:
        log.warning("%d photos have no mask, e.g. %s", len(without), without[0])


def _require(at_least: int, photos: PhotoSet, source: Path) -> None:
    count = len(photos.images)
    if count >= at_least:
        return
    need = "at least two from different positions are needed"
    if at_least != 2:
        need = f"at least {at_least} are needed"
    if count == 1 and not photos.left_out:
        raise UserError(f"only one photo in {source} ({photos.images[0].name}); {need}")
    reasons = [f"{name}: {reason}" for name, reason in list(photos.left_out.items())[:3]]
    more = len(photos.left_out) - len(reasons)
    if more:
        reasons.append(f"and {more} more")
    total = count + len(photos.left_out)
    raise UserError(
        f"{count} of {total} photos in {source} can be used, {need} ({'; '.join(reasons)})"
    )
