"""Ways to place the photos, from the usual one to the last resort; the best-supported one wins."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recon.poses.bundle import Bundle
from recon.poses.evidence import Evidence
from recon.poses.intrinsics import FALLBACK, Group
from recon.poses.link import Linked
from recon.poses.mapping import from_model, map_globally, map_incrementally, write_database
from recon.poses.pose_graph import map_pose_graph

log = logging.getLogger(__name__)
ANGLES_DEG = (16.0, 8.0, 4.0, 2.0)  # least median parallax of the first pair
FOCALS = (FALLBACK, 0.8, 2.2)  # x longer side, guesses when nothing tells the focal length
FAR_OFF = 1.6  # ratio to a focal length from EXIF that cannot be
ENOUGH = 0.9  # share of all verified matches; an attempt that agrees with them ends the search


@dataclass(frozen=True)
class Ladder:
    """Options of the search for rough cameras."""

    names: Sequence[str]
    min_inliers: int
    seed: int
    fixed_focal: bool
    given: Bundle | None = None  # cameras that the user brought: tried first

    def climb(self, groups: Sequence[Group], tracks: Linked, evidence: Evidence) -> Bundle | None:
        """The attempt that agrees with most verified matches; None when none gave a model.

        It ends early at an attempt with every photo that verified pairs connect and 90 % of all
        verified matches.
        """
        best, most, tried = None, -1, []
        for rung, bundle in self._attempts(groups, tracks, evidence):
            if bundle is None:
                tried.append(f"{rung}: no model")
                continue
            agreeing = sum(evidence.agreeing(bundle).values())
            tried.append(
                f"{rung}: {len(bundle.poses)} photos, {agreeing / evidence.total:.0%} of matches"
            )
            if agreeing > most:
                best, most = bundle, agreeing
            whole = len(bundle.poses) >= evidence.reachable()
            if whole and agreeing >= ENOUGH * evidence.total:
                break
        log.info("map: %s", "; ".join(tried))
        return best

    def _attempts(
        self, groups: Sequence[Group], tracks: Linked, evidence: Evidence
    ) -> Iterator[tuple[str, Bundle | None]]:
        if self.given is not None:
            yield "as given", self.given
        lens_of = {photo: k for k, group in enumerate(groups) for photo in group.photos}
        for note, guess, refine in self._guesses(groups):
            lenses = tuple(group.lens for group in guess)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "database.db"
                write_database(
                    path, guess, self.names, tracks, evidence.pairs, min_matches=self.min_inliers
                )
                before = None
                for angle in ANGLES_DEG:
                    model = map_incrementally(
                        path, len(self.names), angle, self.seed,
                        min_inliers=self.min_inliers, refine_focal=refine,
                    )  # fmt: skip
                    found = None
                    if model is not None:
                        found = from_model(model, lens_of, lenses)
                        size = model.num_reg_images(), model.compute_num_observations()
                        if size == before:  # the same first pair again: further down as well
                            break
                        before = size
                        if found is not None and not self._near_prior(found, groups):
                            found = None
                    yield f"incremental, first pair >= {angle:g} deg{note}", found
                if len(self.names) > 2:
                    model = map_globally(
                        path, len(self.names), self.seed, min_inliers=self.min_inliers
                    )
                    found = None if model is None else from_model(model, lens_of, lenses)
                    yield f"global{note}", found
            yield f"pose graph{note}", map_pose_graph(guess, tracks, evidence.pairs, self.seed)

    @staticmethod
    def _near_prior(bundle: Bundle, groups: Sequence[Group]) -> bool:
        """False when the mapper moved a focal length from EXIF beyond what EXIF gets wrong."""
        return all(
            max(lens.focal_px / group.lens.focal_px, group.lens.focal_px / lens.focal_px) < FAR_OFF
            for lens, group in zip(bundle.lenses, groups, strict=True)
            if group.trusted
        )

    def _guesses(self, groups: Sequence[Group]) -> Iterator[tuple[str, list[Group], bool]]:
        """What to assume about focal lengths: a note, the groups, whether the mapper refines it."""
        if all(group.known for group in groups):
            yield "", list(groups), False
            if not self.fixed_focal and len(self.names) > 2:
                yield ", focal free", list(groups), True  # EXIF of a cropped photo is wrong
            return
        for focal in FOCALS:
            guess = [
                g if g.known else g.with_focal(focal * max(g.lens.width, g.lens.height))
                for g in groups
            ]
            yield f", focal {focal:g} x side", guess, len(self.names) > 2
