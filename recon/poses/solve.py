"""The camera stage: matches in, placed pinhole views, points and undistorted photos out."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from corr.errors import UserError
from corr.matches import Matches
from corr.photos import Image
from recon.scene import Reconstruction

if TYPE_CHECKING:
    from recon.poses.bundle import Bundle
    from recon.poses.finish import Finish
    from recon.poses.intrinsics import Group
    from recon.poses.two_view import TwoView

log = logging.getLogger(__name__)
CAMERAS = ("auto", "pinhole", "radial")


@dataclass
class PoseSolver:
    """Places photos: two-view verification, tracks, mapping, bundle adjustment."""

    camera: str = "auto"  # lens: auto | pinhole (no distortion) | radial
    focal_px: float | None = None  # known focal length of all photos, original px; None = unknown
    share_focal: bool = True  # photos of one size and EXIF focal length share one camera
    max_error_px: float = 2.0  # working px, distance of a match from its epipolar line
    min_inliers: int = 15  # verified matches that a pair of photos needs at least
    seed: int = 0  # of the random sampling

    def __post_init__(self):
        if self.camera not in CAMERAS:
            raise ValueError(f"poses.camera must be one of {', '.join(CAMERAS)}, got {self.camera}")
        if self.focal_px is not None and not self.focal_px > 0:
            raise ValueError(f"poses.focal_px must be positive, got {self.focal_px}")
        if not self.max_error_px > 0:
            raise ValueError(f"poses.max_error_px must be positive, got {self.max_error_px}")
        if self.min_inliers < 8:
            raise ValueError(f"poses.min_inliers must be 8 or more, got {self.min_inliers}")

    def solve(
        self, images: Sequence[Image], matches: Mapping[tuple[int, int], Matches], folder: Path
    ) -> Reconstruction:
        """Place as many photos as possible; every other one is left out with its reason.

        Writes into `folder`: the COLMAP text model, `images/` and `masks/` (undistorted, working
        size), `distorted.json` (lenses as taken), `two_view.json` and `left_out.json`.

        Raises:
            UserError: Fewer than two photos can be placed.
        """
        from recon.colmap_io import write_colmap
        from recon.poses import two_view
        from recon.poses.output import to_reconstruction

        start = perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        names = [image.name for image in images]
        bundle, pairs, left_out = self.place(images, matches)
        two_view.save_two_views(folder, pairs, names)
        reconstruction = to_reconstruction(bundle, images, left_out, folder)
        write_colmap(folder, reconstruction)
        log.info(
            "cameras: %d of %d photos, %d points, %.2f px, %.1f s",
            len(reconstruction.views), len(images), len(reconstruction.xyz_world),
            bundle.rms_px, perf_counter() - start,
        )  # fmt: skip
        for name, reason in left_out.items():
            log.warning("%s is left out: %s", name, reason)
        return reconstruction

    def place(
        self, images: Sequence[Image], matches: Mapping[tuple[int, int], Matches]
    ) -> "tuple[Bundle, list[TwoView], dict[str, str]]":
        """Poses, lenses and points in working pixels; the pairs; who is left out and why.

        Raises:
            UserError: Fewer than two photos can be placed.
        """
        from recon.poses.evidence import Evidence
        from recon.poses.intrinsics import group_photos, scale_of, vote_focal
        from recon.poses.ladder import Ladder
        from recon.poses.link import link, thin
        from recon.poses.reasons import no_pair_message, reasons_for
        from recon.poses.refine import Refinement
        from recon.poses.two_view import Verification, verify_pairs

        how = Verification(self.max_error_px, self.min_inliers, self.seed)
        scales = [scale_of(image) for image in images]
        groups = group_photos(images, focal_px=self.focal_px, share_focal=self.share_focal)
        groups = [g if g.trusted else vote_focal(g, matches, scales, how) for g in groups]
        lens_of = {photo: k for k, group in enumerate(groups) for photo in group.photos}
        lenses = tuple(group.lens for group in groups)
        by_photo = [lenses[lens_of[i]] for i in range(len(images))]
        pairs = verify_pairs(matches, by_photo, scales, how, trusted=all(g.trusted for g in groups))
        names = [image.name for image in images]
        tracks = link(matches, pairs, scales)
        evidence = Evidence.of(matches, pairs, scales, self.max_error_px)
        ladder = Ladder(names, self.min_inliers, self.seed, fixed_focal=self.focal_px is not None)
        rough = ladder.climb(groups, thin(tracks, by_photo), evidence)
        if rough is None:
            raise UserError(no_pair_message(pairs, names, len(images)))
        refinement = Refinement(
            self.camera,
            self._finish(groups, rough),
            fixed_focal=self.focal_px is not None,
            trusted_focal=all(g.trusted for g in groups),
        )
        pictures = {i: images[i].load() for i in sorted(rough.poses)}
        refined = refinement.run(rough, tracks, pictures)
        contradicting = evidence.contradicting(refined.bundle)
        for photo in contradicting:
            refined = refinement.without(refined, photo)
        bundle = refined.bundle
        if len(bundle.poses) < 2:
            raise UserError(no_pair_message(pairs, names, len(images)))
        weak = set(rough.poses) - set(bundle.poses) - set(contradicting)
        left_out = reasons_for(
            pairs, names, set(bundle.poses), weak, set(contradicting), refinement.min_observations
        )
        return bundle, pairs, left_out

    def _finish(self, groups: "Sequence[Group]", rough: "Bundle") -> "Finish":
        from recon.poses.finish import Finish

        lenses = [g.lens if g.known else r for g, r in zip(groups, rough.lenses, strict=True)]
        sigma = [0.0 if self.focal_px is not None else g.focal_sigma for g in groups]
        return Finish(
            lenses, sigma, pinhole=self.camera == "pinhole", radial=self.camera == "radial"
        )
