"""From the mapper's rough cameras to the final ones: all tracks, sub-pixel, tight limits."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from recon.poses.align import Alignment, align_tracks
from recon.poses.bundle import Bundle, adjust, retriangulate
from recon.poses.finish import Finish, into_frame
from recon.poses.link import Linked

log = logging.getLogger(__name__)
Pictures = Mapping[int, UInt8[np.ndarray, "_h _w 3"]]


@dataclass(frozen=True, eq=False)
class Refined:
    """The final bundle, and the covariance of every observation of its table."""

    bundle: Bundle
    cov_px: Float[np.ndarray, "m 2 2"]


@dataclass(frozen=True)
class Refinement:
    """What is refined and how strictly; pixels are working pixels."""

    camera: str  # auto | pinhole | radial
    finish: Finish  # the last adjustment
    fixed_focal: bool  # given by the user
    trusted_focal: bool  # given or from EXIF
    exact_lenses: frozenset[int] = frozenset()  # given by the user with centre and distortion
    coarse_px: tuple[float, ...] = (4.0, 2.5)  # limits for observations as matched
    fine_px: tuple[float, ...] = (2.0, 1.0)  # limits for observations aligned to sub-pixels
    min_angle_deg: float = 1.0  # rays of a point must cross at this angle or more
    matched_px: float = 0.7  # standard deviation of an observation that stays as matched
    aligned_share: float = 0.4  # of a photo's observations; with fewer, it keeps the matched ones
    min_observations: int = 12  # points that a photo must see in the end
    focal_from: int = 2000  # observations, from which a focal length from EXIF is refined
    focal_drift: float = 1.25  # factor by which one adjustment may move a focal length from EXIF
    radial_from: tuple[int, int] = (5, 3000)  # photos, observations of one lens: distortion is free
    few_observations: int = 500  # of a lens, from which the last adjustment frees its distortion

    def run(self, bundle: Bundle, tracks: Linked, pictures: Pictures) -> Refined:
        """Triangulate, adjust, align patches, adjust again."""
        for limit in self.coarse_px:
            bundle = retriangulate(
                bundle, tracks, max_error_px=limit, min_angle_deg=self.min_angle_deg
            )
            bundle = self._with_models(self._adjust(bundle, limit))
        cov_px = np.tile(self.matched_px**2 * np.eye(2), (len(bundle.active), 1, 1))
        if len(bundle.poses) >= 2:
            bundle, cov_px = self._align(bundle, pictures)
        for limit in self.fine_px:
            bundle = self._adjust(bundle, limit)
        return self._finished(Refined(bundle, cov_px))

    def without(self, refined: Refined, photo: int) -> Refined:
        """The adjusted bundle without one photo."""
        bundle = self._adjust(refined.bundle.without(photo), self.fine_px[-1])
        return self._finished(replace(refined, bundle=bundle))

    def _finished(self, refined: Refined) -> Refined:
        bundle = self._with_models(refined.bundle, few=True)
        bundle = self.finish.run(into_frame(bundle, self.finish.pose_priors), refined.cov_px)
        return replace(refined, bundle=self._without_weak(bundle, self.fine_px[-1]))

    def _data_of(self, bundle: Bundle, lens: int) -> tuple[int, int]:
        """Photos and active observations of one lens."""
        count = {p: n for p, n in bundle.observations().items() if bundle.lens_of[p] == lens}
        return len(count), sum(count.values())

    def _adjust(self, bundle: Bundle, limit: float) -> Bundle:
        bundle = self._without_weak(bundle, limit)
        if len(bundle.poses) < 2 or self.finish.fixed:
            return bundle
        # Little data moves a focal length from EXIF further off than it was.
        enough = not self.trusted_focal or int(bundle.active.sum()) >= self.focal_from
        refine = not self.fixed_focal and len(bundle.poses) > 2 and enough
        radial = any(lens.model != "SIMPLE_PINHOLE" for lens in bundle.lenses)
        exact = self.exact_lenses
        adjusted = adjust(bundle, refine_focal=refine, refine_distortion=radial, exact=exact)
        if radial and not all(lens.plausible() for lens in adjusted.lenses):
            log.warning("adjust: the distortion ran away; photos are taken as undistorted")
            lenses = tuple(
                lens if k in exact else lens.undistorted() for k, lens in enumerate(bundle.lenses)
            )
            bundle = replace(bundle, lenses=lenses).filtered(limit, self.min_angle_deg)
            adjusted = adjust(bundle, refine_focal=refine, refine_distortion=False, exact=exact)
        moved = [
            abs(np.log(new.focal_px / old.focal_px))
            for new, old in zip(adjusted.lenses, bundle.lenses, strict=True)
        ]
        if self.trusted_focal and max(moved) > np.log(self.focal_drift):
            log.warning("adjust: the focal length ran away from EXIF; it is held")
            adjusted = adjust(bundle, refine_focal=False, refine_distortion=False, exact=exact)
        bundle = adjusted
        log.info(
            "adjust: limit %.1f px, %d points, %d observations, %.3f px",
            limit, len(np.unique(bundle.tracks.track[bundle.active])), bundle.active.sum(),
            bundle.rms_px,
        )  # fmt: skip
        return bundle

    def _align(
        self, bundle: Bundle, pictures: Pictures
    ) -> tuple[Bundle, Float[np.ndarray, "m 2 2"]]:
        """Keep the observations that could be aligned, unless a photo would lose too many."""
        how = Alignment()
        found = align_tracks(bundle, pictures, how)
        uv, good = found.uv, found.similarity >= how.min_similarity
        aligned = good.copy()
        log.info("align: %d of %d observations", (good & bundle.active).sum(), bundle.active.sum())
        for photo in bundle.poses:
            mine = bundle.active & (bundle.tracks.photo == photo)
            enough = max(5 * self.min_observations, self.aligned_share * mine.sum())
            if (mine & good).sum() < enough:
                # Other light, other season: matched, but not alike pixel by pixel.
                good |= bundle.active & np.isin(bundle.tracks.track, bundle.tracks.track[mine])
        # An observation that is not good is moved out of reach of every filter.
        uv = np.where(good[:, None], uv, np.inf)
        cov_px = np.where(aligned[:, None, None], found.cov_px, self.matched_px**2 * np.eye(2))
        tracks = bundle.tracks.with_uv(uv)
        return replace(bundle, tracks=tracks, active=bundle.active & good), cov_px

    def _without_weak(self, bundle: Bundle, limit: float) -> Bundle:
        """Filter observations; photos with hardly any go, the weakest first."""
        bundle = bundle.filtered(limit, self.min_angle_deg)
        while bundle.poses and not self.finish.fixed:
            count = bundle.observations()
            worst = min(count, key=lambda photo: count[photo])
            if count[worst] >= self.min_observations:
                break
            log.info("photo %d sees only %d points and is removed", worst, count[worst])
            bundle = bundle.without(worst).filtered(limit, self.min_angle_deg)
        return bundle

    def _with_models(self, bundle: Bundle, *, few: bool = False) -> Bundle:
        """The lens models that the options and the amount of data ask for; priors need less."""
        lenses = []
        photos, observations = (2, self.few_observations) if few else self.radial_from
        for number, lens in enumerate(bundle.lenses):
            count, seen = self._data_of(bundle, number)
            enough = self.camera == "auto" and count >= photos and seen >= observations
            radial = (
                count and (self.camera == "radial" or enough) and number not in self.exact_lenses
            )
            lenses.append(replace(lens, model="RADIAL") if radial else lens)
        return replace(bundle, lenses=tuple(lenses))
