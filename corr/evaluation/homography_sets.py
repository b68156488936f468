"""HPatches and the Oxford affine sets: sequences of a plane with true homographies."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.evaluation.sets import PairSet, PhotoFile, TruePair

HPATCHES_PAIRS = 540  # 108 sequences (116 without the eight that are too large), five pairs each
TOO_LARGE = {
    "i_contruction", "i_crownnight", "i_dc", "i_pencils", "i_whitebuilding", "v_artisans",
    "v_astronautis", "v_talent",
}  # fmt: skip
SHORT_SIDE = 480  # px that errors are stated at
# The files put the top-left pixel's centre at (0, 0), we at (0.5, 0.5).
HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])


def read_hpatches(root: Path) -> PairSet:
    """HPatches: `<i_… or v_…>/{1..6}.ppm` with `H_1_2` … `H_1_6`.

    The eight sequences with very large photos are left out, as all tables do since D2-Net.

    Source: Balntas et al., CVPR 2017; the protocol: Dusmanu et al., CVPR 2019.
    """
    folders = sorted(p for p in root.glob("[iv]_*") if p.is_dir() and p.name not in TOO_LARGE)
    if not folders:
        raise UserError(f"no sequences (i_…, v_…) of HPatches in {root}")
    pairs = [pair for f in folders for pair in _sequence(f, "{n}", "H_1_{n}", f.name[0])]
    return PairSet("HPatches", "homography", tuple(pairs), SHORT_SIDE, "short", HPATCHES_PAIRS)


def read_oxford(root: Path) -> PairSet:
    """Oxford affine sets: `<name>/img{1..6}.ppm` with `H1to2p` … `H1to6p`; one set or a folder.

    Source: Mikolajczyk et al., IJCV 2005.
    """
    folders = sorted(p.parent for p in root.glob("*/H1to2p"))
    if (root / "H1to2p").is_file():
        folders = [root]
    if not folders:
        raise UserError(f"no Oxford affine set (img1, H1to2p, …) in {root}")
    pairs = [pair for f in folders for pair in _sequence(f, "img{n}", "H1to{n}p", f.name)]
    return PairSet("Oxford affine", "homography", tuple(pairs), SHORT_SIDE, "short")


def _sequence(folder: Path, photo: str, truth: str, group: str) -> list[TruePair]:
    first = _photo(folder, photo.format(n=1))
    return [
        TruePair(
            f"{folder.name}_1_{n}", first, _photo(folder, photo.format(n=n)),
            H=_homography(folder / truth.format(n=n)), group=group,
        )
        for n in range(2, 7)
    ]  # fmt: skip


def _photo(folder: Path, stem: str) -> PhotoFile:
    for suffix in (".ppm", ".pgm", ".png", ".jpg"):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return PhotoFile(f"{folder.name}/{path.name}", path)
    raise UserError(f"photo {folder / stem}.ppm (or .pgm, .png, .jpg) is missing")


def _homography(path: Path) -> Float[np.ndarray, "3 3"]:
    try:
        H = np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise UserError(f"homography {path} cannot be read ({error})") from None
    if H.shape != (3, 3) or abs(np.linalg.det(H)) < 1e-12:
        raise UserError(f"{path} is no 3 x 3 homography")
    return HALF @ H @ np.linalg.inv(HALF)
