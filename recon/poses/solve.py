"""The camera stage: matches in, placed pinhole views, points and undistorted photos out."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from corr.errors import UserError
from corr.matches import Matches
from corr.photos import Image
from corr.store import write_atomic
from recon.scene import Reconstruction

if TYPE_CHECKING:
    from recon.poses.bundle import Bundle
    from recon.poses.evidence import Evidence
    from recon.poses.given import Given
    from recon.poses.intrinsics import Group
    from recon.poses.link import Linked
    from recon.poses.refine import Refinement
    from recon.poses.two_view import TwoView
    from recon.poses.uncertainty import Uncertainty

log = logging.getLogger(__name__)
FINDINGS_FILE = "findings.json"
CAMERAS = ("auto", "pinhole", "radial")
USES = ("", "intrinsics", "prior", "known")


@dataclass(frozen=True, eq=False)
class Placed:
    """What `PoseSolver.place` finds; working pixels."""

    bundle: "Bundle"
    pairs: "list[TwoView]"
    left_out: dict[str, str]  # why, by photo name
    uncertainty: "Uncertainty"
    findings: list[str]  # what is weak about the photos, one sentence each


@dataclass
class PoseSolver:
    """Places photos: two-view verification, tracks, mapping, bundle adjustment."""

    camera: str = "auto"  # lens: auto | pinhole (no distortion) | radial
    focal_px: float | None = None  # known focal length of all photos, original px; None = unknown
    share: str = "size"  # photos of one size (and EXIF focal) share a camera: size | folder | photo
    cameras: str = ""  # your cameras: transforms.json, COLMAP model, OpenCV calibration, K.txt
    use: str = ""  # of them: intrinsics | prior | known; empty = prior, or intrinsics if no poses
    refine: str = "none"  # of given intrinsics: none | focal
    sigma_deg: float = 1.0  # of a prior's rotation
    sigma_percent: float = 1.0  # of a prior's centre, percent of the largest distance between two
    max_error_px: float = 2.0  # working px, distance of a match from its epipolar line
    min_inliers: int = 15  # verified matches that a pair of photos needs at least
    seed: int = 0  # of the random sampling

    def __post_init__(self):
        for name, choices in (
            ("camera", CAMERAS),
            ("share", ("size", "folder", "photo")),
            ("use", USES),
            ("refine", ("none", "focal")),
        ):
            if (value := getattr(self, name)) not in choices:
                known = ", ".join(c for c in choices if c)
                raise ValueError(f"poses.{name} must be one of {known}, got {value}")
        if self.focal_px is not None and not self.focal_px > 0:
            raise ValueError(f"poses.focal_px must be positive, got {self.focal_px}")
        for name in ("max_error_px", "sigma_deg", "sigma_percent"):
            if not getattr(self, name) > 0:
                raise ValueError(f"poses.{name} must be positive, got {getattr(self, name)}")
        if self.min_inliers < 8:
            raise ValueError(f"poses.min_inliers must be 8 or more, got {self.min_inliers}")
        if self.use and not self.cameras:
            raise ValueError(f"poses.use={self.use} needs poses.cameras=<file>")
        if self.refine != "none" and not self.cameras:
            raise ValueError("poses.refine is of given intrinsics: it needs poses.cameras=<file>")
        if self.focal_px is not None and self.cameras:
            raise ValueError("give poses.focal_px or poses.cameras, not both")

    def solve(
        self,
        images: Sequence[Image],
        matches: Mapping[tuple[int, int], Matches],
        folder: Path,
        reasons: Mapping[str, str] = MappingProxyType({}),
    ) -> Reconstruction:
        """Place as many photos as possible; every other one is left out with its reason.

        `reasons` are known before, by photo name: they are said instead of the stage's own.

        Writes into `folder`: the COLMAP text model, `images/` and `masks/` (undistorted, working
        size), `distorted.json` (lenses as taken), `two_view.json`, `uncertainty.json`,
        `findings.json` (what is weak about the photos) and `left_out.json`.

        Raises:
            UserError: Fewer than two photos can be placed.
        """
        from recon.colmap_io import write_colmap
        from recon.poses.output import save_uncertainty, to_reconstruction
        from recon.poses.two_view_file import save_two_views

        start = perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        names = [image.name for image in images]
        try:
            placed = self.place(images, matches)
        except UserError as error:
            known = [f"{name}: {reason}" for name, reason in reasons.items()]
            raise UserError("; ".join([*known, str(error)])) from error
        placed.left_out.update({k: v for k, v in reasons.items() if k in placed.left_out})
        save_two_views(folder, placed.pairs, names)
        keep_frame = bool(self.cameras) and self._use(self._given(images)) != "intrinsics"
        reconstruction, scale = to_reconstruction(
            placed.bundle, images, placed.left_out, folder, keep_frame=keep_frame
        )
        save_uncertainty(folder, placed.uncertainty, names, scale)
        write_colmap(folder, reconstruction)
        log.info(
            "cameras: %d of %d photos, %d points, %.2f px, %.1f s",
            len(reconstruction.views), len(images), len(reconstruction.xyz_world),
            placed.bundle.rms_px, perf_counter() - start,
        )  # fmt: skip
        write_atomic(folder / FINDINGS_FILE, json.dumps(placed.findings, indent=1))
        for finding in placed.findings:
            log.warning("photos: %s", finding)
        for name, reason in placed.left_out.items():
            log.warning("%s is left out: %s", name, reason)
        return reconstruction

    def place(self, images: Sequence[Image], matches: Mapping[tuple[int, int], Matches]) -> Placed:
        """Poses, lenses and points in working pixels; the pairs; who is left out and why.

        Raises:
            UserError: Fewer than two photos can be placed.
        """
        from recon.poses.intrinsics import group_photos, scale_of, vote_focal
        from recon.poses.known import given_bundle, verify_known
        from recon.poses.two_view import Verification, verify_pairs

        how = Verification(self.max_error_px, self.min_inliers, self.seed)
        scales = [scale_of(image) for image in images]
        given = self._given(images)
        use = self._use(given)
        groups = group_photos(
            images, focal_px=self.focal_px, share=self.share, given=given,
            refine_focal=self.refine == "focal",
        )  # fmt: skip
        groups = [g if g.trusted else vote_focal(g, matches, scales, how) for g in groups]
        lens_of = {photo: k for k, group in enumerate(groups) for photo in group.photos}
        lenses = tuple(group.lens for group in groups)
        first = given_bundle(given, lenses, lens_of) if use in ("prior", "known") else None
        by_photo = [lenses[lens_of[i]] for i in range(len(images))]
        trusted = all(g.trusted for g in groups)
        free = verify_pairs(matches, by_photo, scales, how, trusted=trusted)
        pairs = free
        if use == "known" and first is not None:
            pairs = verify_known(matches, first, scales, how)
        return Placement(
            self, images, matches, scales, groups, pairs, free, given, use, first
        ).run()  # fmt: skip

    def _given(self, images: Sequence[Image]) -> "dict[int, Given]":
        if not self.cameras:
            return {}
        from recon.poses.given import for_photos, read_given

        given = read_given(Path(self.cameras))
        found = for_photos(given, images)
        if not found:
            known = ", ".join(list(given)[:3])
            names = ", ".join(image.name for image in images[:3])
            raise UserError(
                f"{self.cameras} is about {known}, …: none of the photos ({names}, …) is named so"
            )
        return found

    def _use(self, given: "Mapping[int, Given]") -> str:
        """What of the given cameras holds."""
        if not given:
            return "intrinsics"
        posed = sum(g.cam_from_world is not None for g in given.values())
        use = self.use or ("prior" if posed >= 2 else "intrinsics")
        if use != "intrinsics" and posed < 2:
            raise UserError(
                f"poses.use={use} needs the poses of two photos or more, {self.cameras} has "
                f"{posed}; take poses.use=intrinsics"
            )
        return use


@dataclass(frozen=True, eq=False)
class Placement:
    """One placing of photos, once pairs are verified."""

    options: PoseSolver
    images: Sequence[Image]
    matches: Mapping[tuple[int, int], Matches]
    scales: Sequence[float]
    groups: "list[Group]"
    pairs: "list[TwoView]"
    free: "list[TwoView]"  # the pairs as they verify themselves, whatever poses are known
    given: "Mapping[int, Given]"
    use: str
    first: "Bundle | None"

    def run(self) -> Placed:
        """Link, climb the ladder, refine; photos that contradict the rest go."""
        from recon.poses.cycles import look_alikes
        from recon.poses.evidence import Evidence
        from recon.poses.findings import findings, given_findings
        from recon.poses.link import link, thin
        from recon.poses.reasons import no_pair_message, reasons_for
        from recon.poses.splits import split_findings

        o, names = self.options, [image.name for image in self.images]
        lens_of = {photo: k for k, group in enumerate(self.groups) for photo in group.photos}
        by_photo = [self.groups[lens_of[i]].lens for i in range(len(names))]
        known = self.use == "known"
        alike = [] if known else look_alikes(self.pairs)
        sound = [p for p in self.pairs if p not in alike]
        tracks = link(self.matches, sound, self.scales)
        evidence = Evidence.of(self.matches, sound, self.scales, o.max_error_px)
        rough = self.first if known else self._rough(names, thin(tracks, by_photo), evidence)
        if rough is None:
            raise UserError(no_pair_message(self.pairs, names, len(names)))
        refinement = self._refinement(rough)
        pictures = {i: self.images[i].load() for i in sorted(rough.poses)}
        refined = refinement.run(rough, tracks, pictures)
        contradicting = [] if known else evidence.contradicting(refined.bundle)
        for photo in contradicting:
            refined = refinement.without(refined, photo)
        bundle = refined.bundle
        if len(bundle.poses) < 2 or not bundle.active.any():
            raise UserError(no_pair_message(self.pairs, names, len(names)))
        weak = set(rough.poses) - set(bundle.poses) - set(contradicting)
        left_out = reasons_for(
            self.pairs, names, set(bundle.poses), weak, set(contradicting),
            refinement.min_observations,
        )  # fmt: skip
        if known:
            left_out = dict.fromkeys(left_out, f"{o.cameras} has no pose for it")
        sigmas = refinement.finish.uncertainty(bundle, refined.cov_px)
        weak_points = findings(bundle, self.pairs, names, evidence, alike)
        weak_points += [] if known else split_findings(self.pairs, set(bundle.poses), names)
        if self.use in ("prior", "known"):
            priors = refinement.finish.pose_priors
            weak_points += given_findings(bundle, self.pairs, self.free, priors)
        return Placed(bundle, self.pairs, left_out, sigmas, weak_points)

    def _rough(self, names: list[str], tracks: "Linked", evidence: "Evidence") -> "Bundle | None":
        from recon.poses.ladder import Ladder

        o = self.options
        exact = all(group.exact_focal for group in self.groups)
        ladder = Ladder(names, o.min_inliers, o.seed, fixed_focal=exact, given=self.first)
        return ladder.climb(self.groups, tracks, evidence)

    def _refinement(self, rough: "Bundle") -> "Refinement":
        from recon.poses.finish import Finish
        from recon.poses.known import priors_of
        from recon.poses.refine import Refinement

        o, groups = self.options, self.groups
        finish = Finish(
            [group.prior(lens) for group, lens in zip(groups, rough.lenses, strict=True)],
            fixed=frozenset(rough.poses) if self.use == "known" else frozenset(),
            pose_priors=priors_of(self.given, o.sigma_deg, o.sigma_percent)
            if self.use == "prior" else {},
            pinhole=o.camera == "pinhole",
            radial=o.camera == "radial",
        )  # fmt: skip
        sigmas = [
            self.matches[p.a, p.b].sigma_px * self.scales[p.b] for p in self.pairs if p.verified
        ]
        measured = [s for s in sigmas if s > 0]
        return Refinement(
            o.camera, finish,
            matched_px=float(np.median(measured)) if measured else Refinement.matched_px,
            fixed_focal=all(group.exact_focal for group in groups),
            trusted_focal=all(group.trusted for group in groups),
            exact_lenses=frozenset(k for k, group in enumerate(groups) if group.exact_lens),
        )  # fmt: skip
