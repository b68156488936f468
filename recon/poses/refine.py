"""From the mapper's rough cameras to the final ones: all tracks, sub-pixel, tight limits."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from recon.poses.align import Alignment, align_tracks
from recon.poses.bundle import Bundle, adjust, retriangulate
from recon.poses.link import Linked

log = logging.getLogger(__name__)
Pictures = Mapping[int, UInt8[np.ndarray, "_h _w 3"]]


@dataclass(frozen=True)
class Refinement:
    """What is refined and how strictly; pixels are working pixels."""

    camera: str  # auto | pinhole | radial
    fixed_focal: bool
    coarse_px: tuple[float, ...] = (4.0, 2.5)  # limits for observations as matched
    fine_px: tuple[float, ...] = (2.0, 1.0)  # limits for observations aligned to sub-pixels
    min_angle_deg: float = 1.0  # rays of a point must cross at this angle or more
    min_observations: int = 12  # points that a photo must see in the end
    radial_from_photos: int = 5  # of one camera, from which its distortion is estimated
    idle_distortion_px: float = 0.5  # at the corners; less than this counts as none
    centre_from_photos: int = 7  # of every camera, from which principal points are estimated

    def run(self, bundle: Bundle, tracks: Linked, pictures: Pictures) -> Bundle:
        """Triangulate, adjust, align patches, adjust again."""
        bundle = self._with_models(bundle)
        for limit in self.coarse_px:
            bundle = retriangulate(
                bundle, tracks, max_error_px=limit, min_angle_deg=self.min_angle_deg
            )
            bundle = self._adjust(bundle, limit)
        if len(bundle.poses) >= 2:
            bundle = self._align(bundle, pictures)
        for limit in self.fine_px:
            bundle = self._adjust(bundle, limit)
        if (plain := self._without_idle_distortion(bundle)) is not bundle:
            bundle = self._adjust(plain, self.fine_px[-1])
        if self._free_centre(bundle):
            bundle = self._adjust(bundle, self.fine_px[-1], refine_centre=True)
        return self._without_weak(bundle, self.fine_px[-1])

    def without(self, bundle: Bundle, photo: int) -> Bundle:
        """The adjusted bundle without one photo."""
        return self._adjust(bundle.without(photo), self.fine_px[-1])

    def _without_idle_distortion(self, bundle: Bundle) -> Bundle:
        """Lenses whose distortion moves no pixel noticeably become pinholes: no resampling."""
        lenses = tuple(
            lens
            if lens.model == "SIMPLE_PINHOLE" or lens.distortion_px() >= self.idle_distortion_px
            else replace(lens, model="SIMPLE_PINHOLE", k1=0.0, k2=0.0)
            for lens in bundle.lenses
        )
        return bundle if lenses == bundle.lenses else replace(bundle, lenses=lenses)

    def _free_centre(self, bundle: Bundle) -> bool:
        """Measured: from seven photos on the principal point's error shrinks several times."""
        used = [bundle.lens_of[photo] for photo in bundle.poses]
        few = min((used.count(number) for number in set(used)), default=0)
        return self.camera != "pinhole" and few >= self.centre_from_photos

    def _adjust(self, bundle: Bundle, limit: float, *, refine_centre: bool = False) -> Bundle:
        bundle = self._without_weak(bundle, limit)
        if len(bundle.poses) < 2:
            return bundle
        refine = not self.fixed_focal and len(bundle.poses) > 2
        radial = any(lens.model != "SIMPLE_PINHOLE" for lens in bundle.lenses)
        bundle = adjust(
            bundle,
            refine_focal=refine,
            refine_distortion=radial,
            refine_centre=refine_centre,
        )
        log.info(
            "adjust: limit %.1f px, %d points, %d observations, %.3f px",
            limit, len(np.unique(bundle.tracks.track[bundle.active])), bundle.active.sum(),
            bundle.rms_px,
        )  # fmt: skip
        return bundle

    def _align(self, bundle: Bundle, pictures: Pictures) -> Bundle:
        """Keep the observations that could be aligned, unless a photo would lose too many."""
        how = Alignment()
        uv, good = align_tracks(bundle, pictures, how)
        log.info("align: %d of %d observations", (good & bundle.active).sum(), bundle.active.sum())
        for photo in bundle.poses:
            mine = bundle.active & (bundle.tracks.photo == photo)
            if (mine & good).sum() < 5 * self.min_observations:
                # Other light, other season: matched, but not alike pixel by pixel.
                good |= bundle.active & np.isin(bundle.tracks.track, bundle.tracks.track[mine])
        # An observation that is not good is moved out of reach of every filter.
        uv = np.where(good[:, None], uv, np.inf)
        return replace(bundle, tracks=bundle.tracks.with_uv(uv), active=bundle.active & good)

    def _without_weak(self, bundle: Bundle, limit: float) -> Bundle:
        """Filter observations; photos with hardly any go, the weakest first."""
        bundle = bundle.filtered(limit, self.min_angle_deg)
        while bundle.poses:
            count = bundle.observations()
            worst = min(count, key=lambda photo: count[photo])
            if count[worst] >= self.min_observations:
                break
            log.info("photo %d sees only %d points and is removed", worst, count[worst])
            bundle = bundle.without(worst).filtered(limit, self.min_angle_deg)
        return bundle

    def _with_models(self, bundle: Bundle) -> Bundle:
        """The lens models that the options and the number of photos ask for."""
        lenses = []
        for number, lens in enumerate(bundle.lenses):
            count = sum(bundle.lens_of[photo] == number for photo in bundle.poses)
            enough = self.camera == "auto" and count >= self.radial_from_photos
            radial = count and (self.camera == "radial" or enough)
            lenses.append(replace(lens, model="RADIAL") if radial else lens)
        return replace(bundle, lenses=tuple(lenses))
