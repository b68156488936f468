"""Photos stored as their mirror image, as some selfie cameras do: no rigid scene fits them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image as PilImage
from PIL import ImageOps

from corr.matchers.base import Matcher
from corr.matches import Matches
from corr.matching import load_matches, match_photos
from corr.photos import Image

PARTNERS = 4  # photos that a mirror image is compared with
CLEARLY = 3  # times as many verified matches as the photo itself has
# Of the sample's photos mirror images fit some geometry with 29 to 40 % of their matches, photos
# as taken with 56 to 85 %: left and right exchanged, much of a scene still looks like itself.
DOUBTFUL_SHARE, FIRM_SHARE = 0.5, 0.6


def find_mirrored(
    images: Sequence[Image],
    inliers: Mapping[tuple[int, int], int],
    matches: Mapping[tuple[int, int], Matches],
    matcher: Matcher,
    folder: Path,
    *,
    needed: int,
    strong: Sequence[float],
) -> dict[int, int]:
    """Photos whose mirror image fits the others far better than they do; who shows it best.

    Only photos are looked at that are not tied firmly to any other.

    Args:
        images: All photos.
        inliers: Verified matches by pair of photos.
        matches: All matches by pair.
        matcher: Compares the mirror images.
        folder: For copies and matches; what lies there from before is used.
        needed: Verified matches that a mirror image must have at least.
        strong: Verified matches that hold a photo well, by photo; twice as many leave no doubt.
    """
    from recon.rescue import count_inliers

    own = [_best(photo, inliers, matches) for photo in range(len(images))]
    found: dict[int, int] = {}
    # The mirror image of a good photo fits a mirrored one as well: the weakest tied is the odd one.
    for photo in sorted(range(len(images)), key=lambda k: (own[k][0], k)):
        count, share, _ = own[photo]
        if count >= 2 * strong[photo] or (count >= strong[photo] / 2 and share > DOUBTFUL_SHARE):
            continue
        ties = {k: inliers.get((min(k, photo), max(k, photo)), 0) for k in range(len(images))}
        others = [k for k in sorted(ties, key=lambda k: (-ties[k], k)) if k not in (photo, *found)]
        others = others[:PARTNERS]
        pictures = [flipped(images[photo], folder), *(images[k] for k in others)]
        where = folder / str(photo)
        match_photos(pictures, matcher, where, [(0, k) for k in range(1, len(pictures))])
        flipped_matches = load_matches(where)
        counts = count_inliers(pictures, flipped_matches)
        most, firm, partner = _best(0, counts, flipped_matches)
        if most >= max(needed, CLEARLY * count) and firm >= FIRM_SHARE:
            found[photo] = others[partner - 1]
    return found


def _best(
    photo: int,
    inliers: Mapping[tuple[int, int], int],
    matches: Mapping[tuple[int, int], Matches],
) -> tuple[int, float, int]:
    """Verified matches of a photo's best pair, their share of all of it, and the other photo."""
    mine = [(n, pair) for pair, n in inliers.items() if photo in pair and n]
    if not mine:
        return 0, 0.0, photo
    count, pair = max(mine, key=lambda item: (item[0], (-item[1][0], -item[1][1])))
    return count, count / len(matches[pair]), pair[1] if pair[0] == photo else pair[0]


def flipped(image: Image, folder: Path) -> Image:
    """The mirror image of a working copy, left and right exchanged, as a photo of its own."""
    folder.mkdir(parents=True, exist_ok=True)

    def turned(path: Path, kind: str) -> Path:
        copy = folder / f"{Path(image.name).name}.{kind}.png"
        with PilImage.open(path) as file:
            ImageOps.mirror(file).save(copy)
        return copy

    mask = None if image.mask_path is None else turned(image.mask_path, "mask")
    return replace(image, work_path=turned(image.work_path, "photo"), mask_path=mask)


def mirrored_reason(partner: str) -> str:
    """Why such a photo is left out, and what to do."""
    return (
        f"it looks like a mirror image: left and right exchanged it matches {partner}; mirror it "
        "back (e.g. mogrify -flop) and run again"
    )
