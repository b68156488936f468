"""The last adjustment: every observation by its own accuracy, lenses by what lenses are like.

A few photos do not tell a principal point or distortion by themselves, and holding them at the
middle and at zero puts their error into the poses. With priors as wide as real lenses are, they
move as far as the observations say and no further.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from corr.geometry import Camera
from recon.poses.bundle import Bundle
from recon.poses.lens import Lens
from recon.poses.noise import hidden_noise_px
from recon.poses.uncertainty import Uncertainty, estimate
from recon.poses.whitened import LensPrior, Model, PosePrior, adjust_whitened

log = logging.getLogger(__name__)
WIDER = 3.0  # real lenses' spread over the sigmas that the adjustment works with
EXACT = 1e-6  # sigma that stands for none
# Relative falls of the cost that end an adjustment, in rounds of adjusting and choosing
# observations; a smaller one at the end is no nearer to the truth.
TOLERANCES = (1e-4, 1e-6)


@dataclass(frozen=True, eq=False)
class Finish:
    """What is known of lenses and poses; pixels are working pixels."""

    lens_priors: Sequence[LensPrior]  # by lens; a sigma of 0 is exact
    fixed: frozenset[int] = frozenset()  # photos whose poses stay, bit by bit
    pose_priors: Mapping[int, PosePrior] = field(default_factory=dict)  # by photo
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
        model = self.model(bundle, distortion=not self.pinhole)
        hidden = self._hidden(bundle, cov_px)
        wide = {
            k: replace(p, sigma={n: s if n == "focal" else WIDER * s for n, s in p.sigma.items()})
            for k, p in model.lens_priors.items()
        }
        found = estimate(bundle, widened(cov_px, hidden), replace(model, lens_priors=wide))
        return replace(found, hidden_px=hidden)

    def _hidden(self, bundle: Bundle, cov_px: Float[np.ndarray, "m 2 2"]) -> float:
        """Noise beyond the covariances, under the model that the adjustment had."""
        return hidden_noise_px(bundle, cov_px, self.model(bundle, distortion=_distorted(bundle)))

    def model(self, bundle: Bundle, *, distortion: bool) -> Model:
        """What the last adjustment holds, frees and knows."""
        used = sorted({bundle.lens_of[p] for p in bundle.poses})
        names = ["focal"] + ([] if self.pinhole else ["cx", "cy"])
        names += ["k1", "k2"] if distortion else []
        free = [n for n in names if any(self.lens_priors[k].sigma[n] > 0 for k in used)]
        known = {k: self._held(self.lens_priors[k]) for k in used}
        return Model(tuple(free), self.fixed, self.pose_priors, known)

    @staticmethod
    def _held(prior: LensPrior) -> LensPrior:
        """An exact lens beside one that is not: held by its prior."""
        return replace(prior, sigma={n: max(s, EXACT) for n, s in prior.sigma.items()})

    def _rounds(
        self, bundle: Bundle, cov_px: Float[np.ndarray, "m 2 2"], *, free_distortion: bool = True
    ) -> Bundle:
        distorted = free_distortion and _distorted(bundle)
        hidden = 0.0
        for tolerance in TOLERANCES:
            bundle = bundle.filtered(self.limit_px, self.min_angle_deg)
            if len(bundle.poses) < 2 or not bundle.active.any():
                break
            model = self.model(bundle, distortion=distorted)
            hidden = hidden_noise_px(bundle, cov_px, model)
            found = adjust_whitened(bundle, widened(cov_px, hidden), model, tolerance=tolerance)
            if distorted and not all(
                lens.plausible() or self._exact(k) for k, lens in enumerate(found.lenses)
            ):
                log.warning("finish: the distortion ran away; photos are taken as undistorted")
                lenses = tuple(
                    lens if self._exact(k) else lens.undistorted()
                    for k, lens in enumerate(bundle.lenses)
                )
                return self._rounds(replace(bundle, lenses=lenses), cov_px, free_distortion=False)
            bundle = found
        log.info(
            "finish: %d points, %d observations, %.3f px, hidden noise %.2f px, focal %s px",
            len(np.unique(bundle.tracks.track[bundle.active])), bundle.active.sum(), bundle.rms_px,
            hidden, ", ".join(f"{lens.focal_px:.1f}" for lens in bundle.lenses),
        )  # fmt: skip
        return bundle

    def _without_idle(self, bundle: Bundle) -> Bundle:
        """Lenses whose distortion moves no pixel noticeably become pinholes: no resampling."""
        lenses = tuple(
            lens if self._kept(k, lens) else lens.undistorted()
            for k, lens in enumerate(bundle.lenses)
        )
        return bundle if lenses == bundle.lenses else replace(bundle, lenses=lenses)

    def _exact(self, number: int) -> bool:
        """True for a lens whose distortion the user gave."""
        return self.lens_priors[number].sigma["k1"] == 0

    def _kept(self, number: int, lens: Lens) -> bool:
        """True for a lens whose distortion is known, asked for, or seen."""
        exact = self._exact(number)
        seen = lens.distortion_px() >= self.idle_distortion_px
        return exact or (self.radial and lens.model == "RADIAL") or (lens.distorted and seen)


def widened(cov_px: Float[np.ndarray, "m 2 2"], noise_px: float) -> Float[np.ndarray, "m 2 2"]:
    """Covariances with the same noise added to all."""
    return cov_px + noise_px**2 * np.eye(2)


def _distorted(bundle: Bundle) -> bool:
    """True when a lens has distortion that may move."""
    return any(lens.distorted or lens.model == "RADIAL" for lens in bundle.lenses)


def into_frame(bundle: Bundle, priors: Mapping[int, PosePrior]) -> Bundle:
    """The bundle moved, turned and scaled to where the priors have its cameras; else as it is."""
    from recon.camera_metrics import score_cameras
    from recon.scene import View

    common = sorted(bundle.poses.keys() & priors.keys())
    if len(common) < 2:
        return bundle
    camera = Camera.simple(1, 1, 1.0)  # lenses do not matter here
    views = [View(str(p), camera, bundle.poses[p]) for p in common]
    known = {str(p): View(str(p), camera, priors[p].cam_from_world) for p in common}
    known_from_world = score_cameras(views, known).true_from_world
    return bundle if known_from_world is None else bundle.transformed(known_from_world)
