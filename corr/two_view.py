"""The geometry of one matched pair: relative pose and inliers, and what focal length it took."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from corr.geometry import Camera, Rigid3, rotation_angle
from corr.geometry.robust import LEAST_MATCHES, relative_pose
from corr.matches import Matches
from corr.photos import Image

FALLBACK_FOCAL = 1.2  # of the longer side, where nothing tells the focal length
REFERENCE_SIDE = 1200  # px, the longer side of the copy that error thresholds are stated for
CLEARLY_FEWER = 0.85  # share of the inliers of a fundamental matrix
LEAST_INLIERS = 15  # of a pair that shows one scene, however few matches it has
CHANCE_SHARE, CHANCE_UP_TO = 0.4, 200  # of the matches, up to so many matches


@dataclass(frozen=True, eq=False)
class PairGeometry:
    """What the matches of a pair tell of its cameras."""

    b_from_a: Rigid3 | None  # baseline of length one; None: no pose was found
    inliers: Bool[np.ndarray, " n"]
    focal_a_px: float  # original pixels
    focal_b_px: float
    focal_known: bool  # False: at least one is a guess
    needed: int  # inliers below which the pair may be chance

    @property
    def verified(self) -> bool:
        """True when there are more inliers than wrong matches would give."""
        return int(self.inliers.sum()) >= self.needed

    @property
    def rotation_deg(self) -> float:
        """Angle between the two cameras; NaN without a pose."""
        return (
            float("nan") if self.b_from_a is None else np.degrees(rotation_angle(self.b_from_a.R))
        )


def focal_of(image: Image, given_px: float = 0.0) -> tuple[float, bool]:
    """Focal length of a photo, original pixels, and whether it is known.

    Args:
        image: The photo; its EXIF data count.
        given_px: What the user says; 0 = nothing.
    """
    known = given_px or image.focal_prior_px
    return known or FALLBACK_FOCAL * max(image.width, image.height), bool(known)


def pair_geometry(
    image_a: Image,
    image_b: Image,
    matches: Matches,
    *,
    estimator: str,
    max_error_px: float,
    focal_px: float = 0.0,
    seed: int = 0,
) -> PairGeometry:
    """Pose and inliers of a pair.

    With a guessed focal length the matches are judged by a fundamental matrix wherever the
    calibrated pose keeps clearly fewer of them; the pose then is as good as the guess.

    Args:
        image_a: First photo.
        image_b: Second photo.
        matches: Original pixels.
        estimator: One of `corr.geometry.robust.ESTIMATORS`.
        max_error_px: Pixels of a copy whose longer side is 1200 (smaller photos: their own).
        focal_px: Known focal length of both, original pixels; 0 = EXIF, else a guess.
        seed: Of the random samples.
    """
    (focal_a, known_a), (focal_b, known_b) = (focal_of(i, focal_px) for i in (image_a, image_b))
    scale_a, scale_b = reference_scale(image_a), reference_scale(image_b)
    cameras = [
        Camera.simple(image.width, image.height, focal)
        for image, focal in ((image_a, focal_a), (image_b, focal_b))
    ]
    K_a, K_b = (scaled_K(c.K, s) for c, s in zip(cameras, (scale_a, scale_b), strict=True))
    uv_a, uv_b = matches.uv_a * scale_a, matches.uv_b * scale_b
    answer = relative_pose(estimator, uv_a, uv_b, K_a, K_b, max_error_px=max_error_px, seed=seed)
    inliers = np.zeros(len(matches), dtype=bool) if answer is None else answer.inliers
    known = known_a and known_b
    if not known and len(matches) > LEAST_MATCHES + 3:
        loose = _fundamental_inliers(uv_a, uv_b, max_error_px, seed)
        if inliers.sum() < CLEARLY_FEWER * loose.sum():
            inliers = loose
    pose = None if answer is None else answer.b_from_a
    sizes = [(i.width * s, i.height * s) for i, s in ((image_a, scale_a), (image_b, scale_b))]
    needed = max(LEAST_INLIERS, inliers_by_chance(len(matches), sizes, max_error_px))
    return PairGeometry(pose, inliers, focal_a, focal_b, known, needed)


def inliers_by_chance(
    num_matches: int, sizes: Sequence[tuple[float, float]], max_error_px: float
) -> int:
    """Inliers that wrong matches of two photos would hardly reach.

    A wrong match falls into the epipolar band with the band's share of the photo; a search over
    many models finds the luckiest band, hence three times the expectation, on top of a minimal
    sample. Wrong matches between photos of one object are not spread evenly, though: over 130
    false pairs of five scenes, up to 40 % of 60-200 matches fitted some wrong geometry.

    Args:
        num_matches: Of the pair.
        sizes: Width and height of both photos, the pixels that the error is in.
        max_error_px: Half the width of the band.
    """
    share = max(band_share(w, h, max_error_px) for w, h in sizes)
    by_band = 8 + 3 * share * num_matches
    return int(np.ceil(max(by_band, CHANCE_SHARE * min(num_matches, CHANCE_UP_TO))))


def reference_scale(image: Image) -> float:
    """Reference pixels per original pixel: photos are thought of as at most 1200 pixels long."""
    return min(1.0, REFERENCE_SIDE / max(image.width, image.height))


def scaled_K(K: np.ndarray, scale: float) -> np.ndarray:
    """The calibration of a copy `scale` times as large."""
    return np.diag([scale, scale, 1.0]) @ K


def _fundamental_inliers(
    uv_a: np.ndarray, uv_b: np.ndarray, max_error_px: float, seed: int
) -> np.ndarray:
    import poselib

    options = {"max_epipolar_error": max_error_px, "seed": seed, "max_iterations": 10_000}
    _, info = poselib.estimate_fundamental(uv_a, uv_b, options, {})
    return np.array(info["inliers"], dtype=bool)


def band_share(width: float, height: float, max_error_px: float) -> float:
    """Share of a photo that lies within an error of an epipolar line, at most (its diagonal)."""
    return float(2 * max_error_px * np.hypot(width, height) / (width * height))
