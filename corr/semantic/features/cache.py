"""Features on disk in half precision, computed once per photo, and few of them in memory.

`<folder>/<key of the extractor>/<photo>.npz`: the descriptors as float16 and the geometry. A grid
of rows x columns cells and d numbers takes 2 * rows * columns * d bytes. For a photo of 4 : 3 these
are 0.5 MB with the default (32 x 24 x 304) and 4.1 MB with DINOv2-B at 840 pixels (60 x 45 x 768),
7.5 GB for the 1,800 photos of SPair-71k.
"""

import hashlib
import io
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PilImage

from corr.errors import UserError
from corr.semantic.datasets.base import Side
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.grid import FeatureGrid
from corr.sharding import ItemFiles, Parallel, Task, map_sharded, refuse_failures, split
from corr.store import digest, write_atomic

log = logging.getLogger(__name__)
VERSION = 1  # of what extractors compute; a change makes old files be ignored
_DESCRIPTION = "features.json"
PHOTOS_PER_SHARD = 4


@dataclass
class FeatureCache:
    """Grids of photos: from memory, from disk, or computed and kept.

    Args:
        folder: Of all extractors' features.
        extractor: What computes a grid; None = only what is on disk may be used.
        memory_mb: Grids kept in memory, MB; the least recently used ones go first.
        key: The subfolder; empty = from the extractor's class and options.
    """

    folder: Path
    extractor: Extractor | None
    memory_mb: float = 512.0
    key: str = ""
    _kept: OrderedDict[str, FeatureGrid] = field(default_factory=OrderedDict, repr=False)
    _kept_bytes: int = field(default=0, repr=False)

    def __post_init__(self):
        if not self.key:
            if self.extractor is None:
                raise ValueError("a cache without an extractor must be told its key")
            self.key = extractor_key(self.extractor)

    @property
    def place(self) -> Path:
        """Where this extractor's files lie."""
        return self.folder / self.key

    def file(self, name: str) -> Path:
        """Of a photo; names that differ in any sign get different files."""
        tail = hashlib.sha256(name.encode()).hexdigest()[:8]
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[-80:]
        return self.place / f"{plain}-{tail}.npz"

    def size_mb(self, names: Iterable[str]) -> float:
        """What the photos' features take on disk, MB."""
        return sum(self.file(n).stat().st_size for n in names) / 2**20

    def fill(self, photos: Iterable[Side], parallel: Parallel | None = None) -> float:
        """Compute what is missing, one photo in memory at a time; returns the size on disk, MB.

        Args:
            photos: Whose features are wanted.
            parallel: Where they are computed; None = in this process.

        Raises:
            UserError: Photos failed, or are missing and cannot be computed; the others are kept.
        """
        parallel = parallel or Parallel()
        photos = list(photos)
        missing = [p for p in photos if not self.file(p.name).is_file()]
        if missing and self.extractor is None:
            raise UserError(
                f"{len(missing)} of {len(photos)} photos have no features in {self.place} "
                f"({missing[0].name}, …)"
            )
        self.place.mkdir(parents=True, exist_ok=True)
        if self.extractor is not None:
            write_atomic(self.place / _DESCRIPTION, json.dumps(described(self.extractor), indent=1))
        size = parallel.executor.shard_size or (1 if parallel.here else PHOTOS_PER_SHARD)
        failures = map_sharded(
            Task(GridWork(self if parallel.here else self.emptied())), split(missing, size),
            ItemFiles(lambda photo: self.file(photo.name)), parallel.executor,
            workers=parallel.workers, label="features", unit="photo",
        )  # fmt: skip
        refuse_failures(failures, len(missing), name=lambda photo: photo.name, unit="photo")
        size_mb = self.size_mb(p.name for p in photos)
        log.info(
            "features of %d photos (%d new), %.1f MB on disk", len(photos), len(missing), size_mb
        )
        return size_mb

    def emptied(self) -> "FeatureCache":
        """This cache with nothing in memory, to be sent to other processes."""
        return replace(self, _kept=OrderedDict(), _kept_bytes=0)

    def reading(self) -> "FeatureCache":
        """A cache that finds on disk what this one has filled, and computes nothing."""
        return FeatureCache(self.folder, None, self.memory_mb, self.key)

    def get(self, photo: Side) -> FeatureGrid:
        """A photo's grid, as half precision left it, converted to float32 once.

        Raises:
            UserError: The photo cannot be read, or is of another size than its annotation says.
        """
        if photo.name in self._kept:
            self._kept.move_to_end(photo.name)
            return self._kept[photo.name]
        file = self.file(photo.name)
        if not file.is_file():
            if self.extractor is None:
                raise UserError(f"{photo.name} has no features in {self.place}")
            self.place.mkdir(parents=True, exist_ok=True)
            save_grid(file, self.compute(photo))
        grid = load_grid(file)
        grid = replace(grid, descriptor=grid.descriptor.astype(np.float32))
        self._keep(photo.name, grid)
        return grid

    def compute(self, photo: Side) -> FeatureGrid:
        """A photo's grid, anew."""
        assert self.extractor is not None
        return self.extractor.extract(read_photo(photo))

    def _keep(self, name: str, grid: FeatureGrid) -> None:
        self._kept[name] = grid
        self._kept_bytes += grid.descriptor.nbytes
        while self._kept_bytes > self.memory_mb * 2**20 and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._kept_bytes -= old.descriptor.nbytes


def open_cache(
    folder: Path, extractor: Extractor, memory_mb: float, head: str = ""
) -> FeatureCache:
    """The cache of an extractor, with a trained head on it if there is one.

    Args:
        folder: Of all extractors' features.
        extractor: Computes frozen grids.
        memory_mb: Kept in memory, MB.
        head: Path of a file of `corr train`; empty = none.

    Raises:
        UserError: The file is no head, or was trained on other features.
    """
    if not head:
        return FeatureCache(folder, extractor, memory_mb)
    from corr.semantic.learned.headed import headed_cache

    return headed_cache(folder, extractor, memory_mb, Path(head).expanduser())


def described(extractor: Extractor) -> dict[str, object]:
    """Class and options, without those that do not change the features."""
    return {"class": type(extractor).__name__, "version": VERSION, **extractor.settings()}


def extractor_key(extractor: Extractor) -> str:
    """A name for the features that this extractor computes."""
    return f"{type(extractor).__name__}-{digest(described(extractor))}"


def read_photo(photo: Side) -> UInt8[np.ndarray, "h w 3"]:
    """The photo's pixels, flipped if the pair wants it so.

    Annotations count pixels of the file as it is stored, so EXIF's orientation is left alone.

    Raises:
        UserError: It cannot be read, or has another size than the annotation says.
    """
    try:
        with PilImage.open(photo.path) as file:
            rgb = np.asarray(file.convert("RGB"))
    except OSError as error:
        raise UserError(f"{photo.path} cannot be read as a photo ({error})") from None
    if rgb.shape[:2] != (photo.height, photo.width):
        raise UserError(
            f"{photo.path} is {rgb.shape[1]} x {rgb.shape[0]} pixels, its annotation says "
            f"{photo.width} x {photo.height}: key-points would not fit"
        )
    return np.ascontiguousarray(rgb[:, ::-1]) if photo.mirrored else rgb


@dataclass
class GridWork:
    """Computes the grids of photos."""

    cache: FeatureCache

    def __call__(self, photos: Sequence[Side]) -> Iterator[bytes]:
        """The bytes of a file per photo."""
        for photo in photos:
            yield grid_bytes(self.cache.compute(photo))


def save_grid(file: Path, grid: FeatureGrid) -> None:
    """Write a grid in half precision, atomically."""
    write_atomic(file, grid_bytes(grid))


def grid_bytes(grid: FeatureGrid) -> bytes:
    """A grid in half precision, as its file holds it."""
    buffer = io.BytesIO()
    np.savez(
        buffer, descriptor=grid.descriptor.astype(np.float16), first_uv=grid.first_uv,
        step_uv=grid.step_uv, size=np.array([grid.width, grid.height]),
    )  # fmt: skip
    return buffer.getvalue()


def load_grid(file: Path) -> FeatureGrid:
    """Read a grid as it was saved, float16.

    Raises:
        UserError: The file is damaged.
    """
    try:
        with np.load(file) as data:
            width, height = (int(v) for v in data["size"])
            return FeatureGrid(data["descriptor"], data["first_uv"], data["step_uv"], width, height)
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise UserError(f"{file} is damaged ({error}); delete it to have it made again") from None
