"""Which matches of two photos fit one rigid scene, and how much the pair can tell."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from tqdm import tqdm

from corr.geometry import Rigid3
from corr.geometry.epipolar import essential, sampson_px
from corr.matches import Matches
from corr.threads import in_threads
from corr.two_view import CLEARLY_FEWER, band_share, inliers_by_chance
from recon.poses.lens import Lens
from recon.poses.plausible import by_chance
from recon.poses.turned import turn_parallax_deg

log = logging.getLogger(__name__)
FLAT = 0.8  # share of the inliers that one homography explains, from which a pair shows no depth
GRID = 8  # coverage is counted on GRID x GRID cells
MIN_ITERATIONS, MAX_ITERATIONS = 500, 20_000


@dataclass(frozen=True, eq=False)
class TwoView:
    """The verified geometry of photos a and b (indices); `inliers` index the pair's matches."""

    a: int
    b: int
    num_matches: int
    inliers: Int[np.ndarray, " n"]
    needed: int  # inliers below which the pair may be chance
    b_from_a: Rigid3 | None  # baseline of length 1; None when calibration was not possible
    coverage: float  # share of an 8 x 8 grid with inliers, the smaller of both photos
    parallax_deg: float  # median angle between the rays of a match after removing the rotation
    homography_share: float  # inliers that one homography explains as well

    @property
    def verified(self) -> bool:
        """True when there are more inliers than chance would give."""
        return len(self.inliers) >= self.needed

    @property
    def label(self) -> str:
        """`unverified`, `rotation` (same place), `planar` or `general`."""
        if not self.verified:
            return "unverified"
        if self.homography_share > FLAT:
            return "rotation" if self.parallax_deg < 1.0 else "planar"
        return "general"


@dataclass(frozen=True)
class Verification:
    """How strictly pairs are verified; pixels are working pixels."""

    max_error_px: float = 2.0
    min_inliers: int = 15
    seed: int = 0
    searched: int = 1500  # matches that a geometry is searched among, evenly over the scores


def verify_pairs(
    matches: Mapping[tuple[int, int], Matches],
    lenses: Sequence[Lens],
    scales: Sequence[float],
    how: Verification,
    *,
    trusted: bool,
    depth: bool = True,
) -> list[TwoView]:
    """Verify every pair with PoseLib.

    Args:
        matches: By photo indices, original pixels.
        lenses: Of every photo, working pixels.
        scales: Working pixels per original pixel, of every photo.
        how: Thresholds and seed.
        trusted: True when focal lengths are known: the essential matrix alone decides. Otherwise
            the fundamental matrix decides where the essential matrix keeps clearly fewer.
        depth: False = what the pairs tell of depth is not asked: its numbers are NaN.
    """

    def work(pair: tuple[int, int]) -> TwoView:
        a, b = pair
        m = matches[pair]
        return verify_pair(
            a, b, m.uv_a * scales[a], m.uv_b * scales[b], m.score, lenses[a], lenses[b], how,
            trusted=trusted, depth=depth,
        )  # fmt: skip

    bar = tqdm(in_threads(work, list(matches)), "verify", len(matches), unit="pair", leave=False)
    found = list(bar)
    good = [pair for pair in found if pair.verified]
    log.info("two views: %d of %d pairs verified", len(good), len(found))
    return found


def verify_pair(
    a: int,
    b: int,
    uv_a: Float[np.ndarray, "n 2"],
    uv_b: Float[np.ndarray, "n 2"],
    score: Float[np.ndarray, " n"],
    lens_a: Lens,
    lens_b: Lens,
    how: Verification,
    *,
    trusted: bool,
    depth: bool = True,
) -> TwoView:
    """Verify one pair; everything in working pixels, matches tried in the order of their scores."""
    needed = inliers_needed(len(score), lens_a, lens_b, how)
    if len(score) < max(8, how.min_inliers):
        none = np.zeros(0, dtype=np.int64)
        return TwoView(a, b, len(score), none, needed, None, 0.0, 0.0, 0.0)
    order = np.argsort(-score, kind="stable")
    uv_a, uv_b = uv_a[order], uv_b[order]
    pair = _Matched(
        lens_a,
        lens_b,
        lens_a.undistort(uv_a),
        lens_b.undistort(uv_b),
        searched(len(order), how.searched),
        how,
    )
    b_from_a, inlier = pair.inliers(trusted=trusted)
    share = parallax = float("nan")
    if depth:
        share, parallax = pair.depth(b_from_a, inlier, trusted=trusted)
    covered = min(coverage(uv_a[inlier], lens_a), coverage(uv_b[inlier], lens_b))
    kept = np.sort(order[inlier])
    return TwoView(a, b, len(score), kept, needed, b_from_a, covered, parallax, share)


@dataclass(frozen=True, eq=False)
class _Matched:
    """The matches of a pair, undistorted, the best scores first."""

    lens_a: Lens
    lens_b: Lens
    xy_a: Float[np.ndarray, "n 2"]
    xy_b: Float[np.ndarray, "n 2"]
    few: Int[np.ndarray, " m"]  # those that are searched
    how: Verification

    @property
    def _pinhole(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels from the principal point."""
        return self.xy_a * self.lens_a.focal_px, self.xy_b * self.lens_b.focal_px

    def inliers(self, *, trusted: bool) -> tuple[Rigid3, Bool[np.ndarray, " n"]]:
        """The calibrated pose, and what fits it; or, with a wrong focal length, any geometry."""
        limit, found = self.how.max_error_px, len(self.xy_a)
        b_from_a, error, inlier = self._calibrated()
        if not trusted and inlier.sum() < CLEARLY_FEWER * found:
            loose = self._uncalibrated()
            if inlier.sum() < CLEARLY_FEWER * loose.sum():
                return b_from_a, loose
        lenses = (self.lens_a, self.lens_b)
        share = max(band_share(lens.width, lens.height, limit) for lens in lenses)
        lucky = by_chance(self.xy_a, self.xy_b, b_from_a, error, limit, share, self.how.seed)
        return b_from_a, inlier & ~lucky

    def _calibrated(self) -> tuple[Rigid3, np.ndarray, np.ndarray]:
        """Pose, distance of every match from its epipolar line, and which are near it."""
        import poselib

        pinhole_a, pinhole_b = self._pinhole
        cameras = [centred_camera(lens.focal_px) for lens in (self.lens_a, self.lens_b)]
        pose, info = poselib.estimate_relative_pose(
            pinhole_a[self.few], pinhole_b[self.few], *cameras, ransac_options(self.how), {}
        )
        b_from_a = Rigid3(pose.R, pose.t / max(np.linalg.norm(pose.t), 1e-12))
        error = self._error(essential(b_from_a))
        if len(self.few) == len(self.xy_a):
            return b_from_a, error, np.array(info["inliers"], dtype=bool)
        return b_from_a, error, error <= self.how.max_error_px

    def _uncalibrated(self) -> Bool[np.ndarray, " n"]:
        """Matches near their lines of the best fundamental matrix."""
        import poselib

        pinhole_a, pinhole_b = self._pinhole
        F, info = poselib.estimate_fundamental(
            pinhole_a[self.few], pinhole_b[self.few], ransac_options(self.how), {}
        )
        if len(self.few) == len(self.xy_a):
            return np.array(info["inliers"], dtype=bool)
        E = np.diag([self.lens_b.focal_px, self.lens_b.focal_px, 1.0]) @ F
        E = E @ np.diag([self.lens_a.focal_px, self.lens_a.focal_px, 1.0])
        return self._error(E) <= self.how.max_error_px

    def _error(self, E: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " n"]:
        return sampson_px(self.xy_a, self.xy_b, E, self.lens_a.focal_px, self.lens_b.focal_px)

    def depth(
        self, b_from_a: Rigid3, inlier: Bool[np.ndarray, " n"], *, trusted: bool
    ) -> tuple[float, float]:
        """Share of the inliers that one homography explains, and the median parallax, degrees."""
        import poselib

        parallax = parallax_deg(self.xy_a[inlier], self.xy_b[inlier], b_from_a)
        if inlier.sum() < 8:
            return 0.0, parallax
        pinhole_a, pinhole_b = self._pinhole
        options = {**ransac_options(self.how), "max_reproj_error": self.how.max_error_px}
        H, info = poselib.estimate_homography(pinhole_a[inlier], pinhole_b[inlier], options, {})
        flat = np.array(info["inliers"], dtype=bool)
        if not trusted and flat.mean() > FLAT:
            turn = turn_parallax_deg(
                self.xy_a[inlier][flat], self.xy_b[inlier][flat], self.lens_a.focal_px, H
            )
            parallax = parallax if turn is None else turn
        return float(flat.mean()), parallax


def searched(num_matches: int, most: int) -> Int[np.ndarray, " m"]:
    """Which of the matches, sorted by score, a geometry is searched among: evenly over all."""
    return np.unique(np.linspace(0, num_matches - 1, min(num_matches, most)).astype(int))


def ransac_options(how: Verification) -> dict:
    """PoseLib's options: score-ordered sampling, fixed seed."""
    return {
        "max_epipolar_error": how.max_error_px,
        "min_iterations": MIN_ITERATIONS,
        "max_iterations": MAX_ITERATIONS,
        "progressive_sampling": True,
        "seed": how.seed,
    }


def centred_camera(focal_px: float) -> dict:
    """PoseLib's camera of pixels that count from the principal point, undistorted."""
    return {"model": "SIMPLE_PINHOLE", "width": 1, "height": 1, "params": [focal_px, 0.0, 0.0]}


def inliers_needed(num_matches: int, lens_a: Lens, lens_b: Lens, how: Verification) -> int:
    """Inliers that wrong matches would hardly reach, `min_inliers` at least."""
    sizes = ((lens_a.width, lens_a.height), (lens_b.width, lens_b.height))
    return max(how.min_inliers, inliers_by_chance(num_matches, sizes, how.max_error_px))


def coverage(uv: Float[np.ndarray, "n 2"], lens: Lens) -> float:
    """Share of the cells of an 8 x 8 grid that have a point."""
    cell = np.floor(uv / np.array([lens.width, lens.height]) * GRID).astype(np.int64)
    cell = cell.clip(0, GRID - 1)
    return len(np.unique(cell[:, 0] * GRID + cell[:, 1])) / GRID**2


def parallax_deg(
    xy_a: Float[np.ndarray, "n 2"], xy_b: Float[np.ndarray, "n 2"], b_from_a: Rigid3
) -> float:
    """Median angle between matched rays, one turned into the other's frame."""
    if not len(xy_a):
        return 0.0
    ray_a = np.concatenate([xy_a, np.ones((len(xy_a), 1))], -1) @ b_from_a.R.T
    ray_b = np.concatenate([xy_b, np.ones((len(xy_b), 1))], -1)
    cross = np.linalg.norm(np.cross(ray_a, ray_b), axis=-1)
    return float(np.degrees(np.median(np.arctan2(cross, (ray_a * ray_b).sum(-1)))))
