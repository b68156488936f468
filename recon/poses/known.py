"""Poses that the user brings: as they are, or as a first guess with a sigma."""

from collections.abc import Mapping, Sequence

import numpy as np

from corr.errors import UserError
from corr.geometry import Rigid3
from corr.geometry.epipolar import essential, sampson_px
from corr.matches import Matches
from recon.poses.bundle import Bundle
from recon.poses.given import Given
from recon.poses.lens import Lens
from recon.poses.two_view import TwoView, Verification, coverage, parallax_deg
from recon.poses.whitened import PosePrior

FAR_EXTENTS = 1e4  # distance from the origin, in sizes of the scene, from which float32 fails


def given_bundle(
    given: Mapping[int, Given], lenses: tuple[Lens, ...], lens_of: Mapping[int, int]
) -> Bundle | None:
    """The given poses as a bundle without points; None when fewer than two are given.

    Raises:
        UserError: They lie so far from the origin that the later stages would lose digits.
    """
    poses = {i: g.cam_from_world for i, g in sorted(given.items()) if g.cam_from_world is not None}
    if len(poses) < 2:
        return None
    centres = np.stack([pose.centre for pose in poses.values()])
    extent = float(np.linalg.norm(np.ptp(centres, axis=0)))
    away = float(np.linalg.norm(centres.mean(0)))
    if extent == 0:
        raise UserError("poses.cameras puts all cameras at one place; depth cannot be measured")
    if away > FAR_EXTENTS * extent:
        raise UserError(
            f"poses.cameras lie {away:.3g} units from the origin and {extent:.3g} apart: subtract "
            "an offset from their positions (georeferenced ones do not fit single precision)"
        )
    return Bundle.without_points(poses, lenses, lens_of)


def priors_of(
    given: Mapping[int, Given], sigma_deg: float, sigma_percent: float
) -> dict[int, PosePrior]:
    """Given poses as priors; the sigma of centres is a percentage of the largest distance."""
    poses = {i: g.cam_from_world for i, g in sorted(given.items()) if g.cam_from_world is not None}
    centres = np.stack([pose.centre for pose in poses.values()])
    extent = float(np.linalg.norm(centres[:, None] - centres[None], axis=-1).max())
    sigma = sigma_percent / 100 * extent
    return {i: PosePrior(pose, sigma_deg, sigma) for i, pose in poses.items()}


def verify_known(
    matches: Mapping[tuple[int, int], Matches],
    bundle: Bundle,
    scales: Sequence[float],
    how: Verification,
) -> list[TwoView]:
    """Pairs of photos with known poses: an inlier lies near the epipolar line that these give."""
    found = []
    for (a, b), m in matches.items():
        if a not in bundle.poses or b not in bundle.poses:
            continue
        lens_a, lens_b = bundle.lens(a), bundle.lens(b)
        uv_a, uv_b = m.uv_a * scales[a], m.uv_b * scales[b]
        xy_a, xy_b = lens_a.undistort(uv_a), lens_b.undistort(uv_b)
        b_from_a = bundle.poses[b] @ bundle.poses[a].inverse()
        length = float(np.linalg.norm(b_from_a.t))
        if not length:
            continue
        b_from_a = Rigid3(b_from_a.R, b_from_a.t / length)
        error = sampson_px(xy_a, xy_b, essential(b_from_a), lens_a.focal_px, lens_b.focal_px)
        good = np.flatnonzero(error <= how.max_error_px)
        cover = min(coverage(uv_a[good], lens_a), coverage(uv_b[good], lens_b)) if len(good) else 0
        parallax = parallax_deg(xy_a[good], xy_b[good], b_from_a)
        found.append(
            TwoView(a, b, len(m), good, how.min_inliers, b_from_a, float(cover), parallax, 0.0)
        )
    return found
