"""Pairs that the chosen matcher matches badly are matched again by the dense one.

A semi-dense matcher is quick and good up to 30 degrees or so between views; few photos are often
further apart. Where its verified matches do not hold the photos together, the dense matcher, which
costs seconds a pair, replaces them. A photo that still matches nothing is tried in four quarter
turns: matchers fail beyond 45 degrees of roll.
"""

import json
import logging
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from corr.matchers.base import Matcher
from corr.matches import Matches
from corr.matching import load_matches, match_photos, pair_file
from corr.photos import Image
from corr.sharding import Parallel
from corr.store import write_atomic
from recon.mirrored import find_mirrored, mirrored_reason
from recon.poses.connected import parts
from recon.poses.intrinsics import group_photos, scale_of
from recon.poses.two_view import Verification, verify_pairs

log = logging.getLogger(__name__)
Pair = tuple[int, int]  # indices of two photos
RESCUE_FILE = "rescue.json"
FEW = 5  # photos up to which all pairs are matched again: tracks link within one matcher only
PARTNERS = (1, 2, 4)  # of each loose photo, else: more only where fewer did not tie it
COUNTED = 600  # matches of a pair among which its geometry is searched; all are counted
CELL_PX = 8  # spacing of a semi-dense matcher's points, working pixels


@dataclass(frozen=True)
class Rescue:
    """When pairs are matched again, and by what."""

    matcher: Matcher
    turning: Matcher | None = None  # tries quarter turns, for photos that match nothing else
    # A wrong dense field is smooth, so part of it fits some geometry: up to 23 of 31 matches of 90
    # pairs of different scenes did, at 256 and 640 px; of true pairs a few with as little.
    needed: int = 40  # verified dense matches of a pair; with fewer the first matcher's stay
    firm: int = 300  # verified dense matches that hold two photos together; they are sparser
    strong_share: float = 0.1  # of a photo's cells: verified matches that hold two photos together

    def run(self, images: Sequence[Image], folder: Path, parallel: Parallel | None = None) -> None:
        """Replace the matches of weak pairs in a folder of `match_photos`; writes `rescue.json`.

        Interrupted, it continues: what is to be matched again is decided once.
        """
        if (folder / RESCUE_FILE).exists():
            return
        dense, turned = folder / "rescue" / "dense", folder / "rescue" / "turned"

        def counted() -> list:
            return [[*pair, n] for pair, n in count_inliers(images, load_matches(folder)).items()]

        counts = {(a, b): n for a, b, n in _once(folder / "rescue" / "counts.json", counted)}

        def match(pairs: Sequence[Pair]) -> Mapping[Pair, Matches]:
            log.info("rescue: %d pairs are matched again, densely", len(pairs))
            match_photos(images, self.matcher, dense, pairs, parallel)
            return load_matches(dense)

        pairs = self.densely(images, counts, match)
        _take(dense, folder, pairs)
        again = [(a, b) for a, b in _once(turned / "plan.json", lambda: self.lonely(counts))]
        if again and self.turning is not None:
            log.info("rescue: %d pairs are matched again in quarter turns", len(again))
            match_photos(images, self.turning, turned, again, parallel)
            inliers = count_inliers(images, load_matches(turned))
            again = [pair for pair in again if inliers[pair]]
            _take(turned, folder, again)
            counts.update({pair: inliers[pair] for pair in again})
        names: dict = {
            what: [[images[a].name, images[b].name] for a, b in which]
            for what, which in (("dense", pairs), ("turned", again))
        }
        names["mirrored"] = self.drop_mirrored(images, counts, folder)
        write_atomic(folder / RESCUE_FILE, json.dumps(names))
        shutil.rmtree(folder / "rescue")

    def densely(
        self,
        images: Sequence[Image],
        counts: dict[Pair, int],
        match: Callable[[Sequence[Pair]], Mapping[Pair, Matches]],
    ) -> list[Pair]:
        """Match weak pairs again until no photo is loose, or no pair is left that may help.

        Args:
            images: All photos.
            counts: Verified matches by pair; those of the pairs returned are updated.
            match: Gives the dense matches of pairs.

        Returns:
            Pairs whose dense matches hold, and are to replace the others.
        """
        cells = cell_counts(images)
        strong = {
            p for p, n in counts.items()
            if n >= self.strong_share * min(cells[p[0]], cells[p[1]])
        }  # fmt: skip
        tried, taken = set[Pair](), list[Pair]()
        for partners in PARTNERS:
            pairs = [
                p for p in self.choose(len(images), counts, strong, partners) if p not in tried
            ]
            if not pairs:
                continue
            tried.update(pairs)
            inliers = count_inliers(images, match(pairs))
            good = {p: inliers[p] for p in pairs if inliers[p] >= self.needed}
            strong |= {p for p, n in good.items() if n >= self.firm}
            counts.update(good)
            taken += good
        return taken

    @staticmethod
    def choose(
        num_photos: int, inliers: Mapping[Pair, int], strong: Collection[Pair], partners: int
    ) -> list[Pair]:
        """The pairs to match again; none when strong pairs connect all photos.

        Photos outside the largest part that strong pairs connect are loose: their best pairs are
        chosen, `partners` of all and as many across parts, and the pairs among those that they
        are tied to.
        """
        part = parts(num_photos, strong)
        if len(set(part.tolist())) == 1:
            return []
        if num_photos <= FEW:
            return sorted(inliers)
        main = np.bincount(part).argmax()
        chosen: set[Pair] = set()
        for photo in np.flatnonzero(part != main).tolist():
            mine = sorted((p for p in inliers if photo in p), key=lambda p: (-inliers[p], p))
            across = [p for p in mine if part[p[0]] != part[p[1]]]
            ties = {*mine[:partners], *across[:partners]}
            # Tracks link within one matcher: what a loose photo is tied to is tied among itself,
            # or to one more.
            held = sorted({k for p in ties for k in p if part[k] == main})
            chosen |= ties | {p for p in combinations(held, 2) if p in inliers}
            if len(held) == 1:
                inside = [p for p in inliers if held[0] in p and part[p[0]] == part[p[1]]]
                chosen |= {max(inside, key=lambda p: (inliers[p], p))} if inside else set()
        return sorted(chosen)

    def lonely(self, inliers: Mapping[Pair, int]) -> list[Pair]:
        """The pairs of photos that have not one verified pair; none without a turning matcher."""
        if self.turning is None:
            return []
        tied = {photo for pair, count in inliers.items() if count for photo in pair}
        return sorted(pair for pair in inliers if not set(pair) <= tied)

    def drop_mirrored(
        self, images: Sequence[Image], inliers: Mapping[Pair, int], folder: Path
    ) -> dict[str, str]:
        """Take the matches of mirror images away; their names and those of who matches them."""
        if self.turning is None:
            return {}
        matches = load_matches(folder)
        where = folder / "rescue" / "mirrored"
        strong = [self.strong_share * n for n in cell_counts(images)]
        found = find_mirrored(
            images, inliers, matches, self.turning, where, needed=self.needed, strong=strong
        )
        for pair in matches:
            if found.keys() & set(pair):
                matches[pair].select(np.zeros(0, dtype=np.int64)).save(pair_file(folder, pair))
        for photo, partner in found.items():
            log.warning("%s: %s", images[photo].name, mirrored_reason(images[partner].name))
        return {images[photo].name: images[partner].name for photo, partner in found.items()}


def mirrored_photos(folder: Path) -> dict[str, str]:
    """Why mirror images are left out, by name, from a folder that a rescue went over."""
    file = folder / RESCUE_FILE
    found = json.loads(file.read_text()).get("mirrored", {}) if file.exists() else {}
    return {name: mirrored_reason(partner) for name, partner in found.items()}


def _once(file: Path, decide: Callable[[], list]) -> list:
    """What was decided before an interruption, or is now; matches taken since do not change it."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(decide()))
    return json.loads(file.read_text())


def _take(source: Path, folder: Path, pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        shutil.copyfile(pair_file(source, pair), pair_file(folder, pair))


def count_inliers(images: Sequence[Image], matches: Mapping[Pair, Matches]) -> dict[Pair, int]:
    """Matches of every pair that fit one rigid scene, focal lengths unknown; 0 if unverified."""
    groups = group_photos(images, focal_px=None, share="size")
    lens_of = {photo: group.lens for group in groups for photo in group.photos}
    lenses = [lens_of[i] for i in range(len(images))]
    scales = [scale_of(image) for image in images]
    how = Verification(searched=COUNTED)
    found = verify_pairs(matches, lenses, scales, how, trusted=False, depth=False)
    return {(p.a, p.b): len(p.inliers) if p.verified else 0 for p in found}


def cell_counts(images: Sequence[Image]) -> list[float]:
    """Points that a semi-dense matcher may have in each photo."""
    return [image.work_width * image.work_height / CELL_PX**2 for image in images]
