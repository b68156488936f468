"""The last adjustment: every observation by its own accuracy, lenses by what lenses are like.

A few photos do not tell a principal point or distortion by themselves, and holding them at the
middle and at zero puts their error into the poses. With priors as wide as real lenses are, they
move as far as the observations say and no further.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from recon.poses.bundle import Bundle
from recon.poses.lens import Lens
from recon.poses.uncertainty import Uncertainty, estimate
from recon.poses.whitened import LensPrior, Model, adjust_whitened

log = logging.getLogger(__name__)
CENTRE_SHARE = 0.01  # sigma of the principal point, of the longer side
DISTORTION = 0.05  # sigma of k1 and k2
ROUNDS = 2  # of adjusting and choosing observations


@dataclass(frozen=True, eq=False)
class Finish:
    """What is known of the lenses, by lens; pixels are working pixels."""

    lenses: Sequence[Lens]  # as given, read from EXIF, voted or guessed
    focal_sigma: Sequence[float]  # relative; 0 = exact
    pinhole: bool = False  # no distortion, principal point in the middle
    radial: bool = False  # distortion is kept even where it moves no pixel noticeably
    limit_px: float = 1.0  # observations further off do not count
    min_angle_deg: float = 1.0
    idle_distortion_px: float = 0.5  # at the corners; less than this counts as none

    def run(self, bundle: Bundle, cov_px: Float[np.ndarray, "m 2 2"]) -> Bundle:
        """Adjust, choose observations, adjust again; distortion that does nothing goes."""
        bundle = self._rounds(bundle, cov_px)
        plain = self._without_idle(bundle)
        return bundle if plain is bundle else self._rounds(plain, cov_px)

    def uncertainty(self, bundle: Bundle, cov_px: Float[np.ndarray, "m 2 2"]) -> Uncertainty:
        """Sigmas with every lens as unknown as it is, distortion that was dropped included."""
        return estimate(bundle, cov_px, self.model(bundle, distortion=not self.pinhole))

    def model(self, bundle: Bundle, *, distortion: bool) -> Model:
        """What the last adjustment holds, frees and knows."""
        free = [] if self._exact(bundle) else ["focal"]
        free += [] if self.pinhole else ["cx", "cy"]
        free += ["k1", "k2"] if distortion else []
        priors = {
            number: LensPrior(
                replace(self.lenses[number], k1=0.0, k2=0.0), self._sigmas(number)
            )
            for number in {bundle.lens_of[p] for p in bundle.poses}
        }  # fmt: skip
        return Model(free_lens=tuple(free), lens_priors=priors)

    def _sigmas(self, number: int) -> dict[str, float]:
        lens = self.lenses[number]
        centre = CENTRE_SHARE * max(lens.width, lens.height)
        sigmas = {"cx": centre, "cy": centre, "k1": DISTORTION, "k2": DISTORTION}
        # One lens may be exact and another one not: then the exact one is held by its prior.
        return {**sigmas, "focal": max(self.focal_sigma[number], 1e-6)}

    def _exact(self, bundle: Bundle) -> bool:
        return all(self.focal_sigma[bundle.lens_of[p]] == 0 for p in bundle.poses)

    def _rounds(self, bundle: Bundle, cov_px: Float[np.ndarray, "m 2 2"]) -> Bundle:
        distorted = any(lens.model == "RADIAL" for lens in bundle.lenses)
        for _ in range(ROUNDS):
            bundle = bundle.filtered(self.limit_px, self.min_angle_deg)
            if len(bundle.poses) < 2 or not bundle.active.any():
                break
            found = adjust_whitened(bundle, cov_px, self.model(bundle, distortion=distorted))
            if distorted and not all(lens.plausible() for lens in found.lenses):
                log.warning("finish: the distortion ran away; photos are taken as undistorted")
                lenses = tuple(lens.undistorted() for lens in bundle.lenses)
                return self._rounds(replace(bundle, lenses=lenses), cov_px)
            bundle = found
        log.info(
            "finish: %d points, %d observations, %.3f px, focal %s px",
            len(np.unique(bundle.tracks.track[bundle.active])), bundle.active.sum(), bundle.rms_px,
            ", ".join(f"{lens.focal_px:.1f}" for lens in bundle.lenses),
        )  # fmt: skip
        return bundle

    def _without_idle(self, bundle: Bundle) -> Bundle:
        """Lenses whose distortion moves no pixel noticeably become pinholes: no resampling."""
        if self.radial or not any(lens.distorted for lens in bundle.lenses):
            return bundle
        if any(lens.distortion_px() >= self.idle_distortion_px for lens in bundle.lenses):
            return bundle
        return replace(bundle, lenses=tuple(lens.undistorted() for lens in bundle.lenses))
