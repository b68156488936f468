"""The splat formats by name: how each is written, read and how near it must come back."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corr.errors import UserError
from recon.export.choice import FORMATS
from recon.export.compressed_ply import read_compressed_ply, write_compressed_ply
from recon.export.dot_splat import read_dot_splat, write_dot_splat
from recon.export.splat_glb import read_splat_glb, write_splat_glb
from recon.export.splat_ply import read_splats, write_splats
from recon.export.spz import read_spz, write_spz
from recon.held_out import draw
from recon.render.base import Renderer
from recon.scene import View
from recon.splats.gaussians import Gaussians

log = logging.getLogger(__name__)
_MOST_VIEWS = 4  # that a written file is compared in


@dataclass(frozen=True)
class SplatFormat:
    """One format.

    Args:
        suffix: Of its files; also how a file of it is recognised.
        write: From path and splats.
        read: Back, in the frame that was written.
        least_db: PSNR of renders of the file read back against those from memory, degree-1
            harmonics as we fit them; less is a defect. `.splat` drops the harmonics and so has no
            bar of its own beyond staying recognisable.
    """

    suffix: str
    write: Callable[[Path, Gaussians], None]
    read: Callable[[Path], Gaussians]
    least_db: float


SPLAT_FORMATS = {
    "ply": SplatFormat(".ply", write_splats, read_splats, 60.0),
    "compressed": SplatFormat(".compressed.ply", write_compressed_ply, read_compressed_ply, 40.0),
    "spz": SplatFormat(".spz", write_spz, read_spz, 40.0),
    "splat": SplatFormat(".splat", write_dot_splat, read_dot_splat, 25.0),
    "glb": SplatFormat(".glb", write_splat_glb, read_splat_glb, 60.0),
}
assert tuple(SPLAT_FORMATS) == FORMATS


@dataclass(frozen=True)
class Written:
    """A file that was written and read back."""

    path: Path
    megabytes: float
    psnr_db: float  # against memory; infinite where the renders are the same

    def text(self) -> str:
        """One line for the summary."""
        same = "the same" if np.isinf(self.psnr_db) else f"PSNR {self.psnr_db:.1f} dB"
        return f"{self.path}: {self.megabytes:.2f} MB, read back and rendered: {same}"


def read_any(path: Path) -> Gaussians:
    """Splats of a file of any format, by its ending.

    Raises:
        UserError: No such file, no known ending, or its content is not of that format.
    """
    from plyfile import PlyParseError

    if not path.is_file():
        raise UserError(f"there is no {path}; give splats=<file>")
    known = sorted(SPLAT_FORMATS.values(), key=lambda f: -len(f.suffix))  # .compressed.ply first
    for kind in known:
        if path.name.lower().endswith(kind.suffix):
            reader = _unpacked(path) if kind.suffix == ".ply" else kind.read
            try:
                return reader(path)
            except (ValueError, KeyError, PlyParseError) as error:
                raise UserError(" ".join(str(error).split())) from None
    endings = ", ".join(k.suffix for k in SPLAT_FORMATS.values())
    raise UserError(f"{path}: splats are read from {endings}")


def _unpacked(path: Path) -> Callable[[Path], Gaussians]:
    """The reader of a PLY: other programs call compressed ones `.ply` too."""
    with path.open("rb") as file:
        return read_compressed_ply if b"element chunk" in file.read(2000) else read_splats


def export_splats(
    gaussians: Gaussians,
    name: str,
    path: Path,
    views: Sequence[View],
    renderer: Renderer,
    background: np.ndarray,
    *,
    pad_to_degree: int = 0,
) -> Written:
    """Write one format, read it back and compare renders of both.

    Splats with a number that is not finite go into no file but the plain PLY.

    Raises:
        UserError: The format cannot hold the splats.
    """
    kind = SPLAT_FORMATS[name]
    if name != "ply":
        finite = gaussians.is_finite()
        if not finite.all():
            log.warning("%s: %d splats are not finite, left out", path.name, int((~finite).sum()))
        gaussians = gaussians.select(finite)
    try:
        if name == "ply":
            write_splats(path, gaussians, pad_to_degree=pad_to_degree)
        else:
            kind.write(path, gaussians)
    except ValueError as error:
        raise UserError(f"{path.name} cannot be written: {error}") from None
    difference = psnr_between(gaussians, kind.read(path), views, renderer, background)
    return Written(path, path.stat().st_size / 1e6, difference)


def psnr_between(
    a: Gaussians, b: Gaussians, views: Sequence[View], renderer: Renderer, background: np.ndarray
) -> float:
    """PSNR of renders in [0, 1], over all pixels of a few evenly chosen views, dB."""
    chosen = np.unique(np.linspace(0, len(views) - 1, min(_MOST_VIEWS, len(views))).round())
    errors = []
    for i in chosen.astype(int):
        one, other = (draw(g, views[i], renderer, background=background) for g in (a, b))
        errors.append(((np.clip(one, 0, 1) - np.clip(other, 0, 1)) ** 2).mean())
    mean = float(np.mean(errors))
    return float("inf") if mean == 0 else -10 * float(np.log10(mean))
