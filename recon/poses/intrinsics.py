"""First guess of the intrinsics: who shares a camera, and its focal length."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.geometry import Rigid3
from corr.geometry.epipolar import essential, sampson_px
from corr.matches import Matches
from corr.photos import Image
from corr.threads import in_threads
from recon.poses.given import Given
from recon.poses.lens import Lens
from recon.poses.two_view import Verification, centred_camera, ransac_options, searched
from recon.poses.whitened import LensPrior

log = logging.getLogger(__name__)
FALLBACK = 1.2  # x longer side: COLMAP's guess, about 45 degrees of view
CANDIDATES = np.geomspace(0.5, 3.0, 19)  # x longer side
VOTERS, VOTES = 14, 500  # pairs that vote, and matches of each
CLEAR = 0.97  # of the cost at both ends of the range: a minimum below this share is one
# Sigmas of a principal point (of the longer side) and of k1, k2: a third of what real lenses have,
# since observations share errors that their covariances do not know of. Measured on the posed sets:
# three times wider ones double the errors on narrow views (temple-ring) and gain nothing elsewhere.
CENTRE_SHARE, DISTORTION = 0.003, 0.02
EXIF_SIGMA, VOTED_SIGMA, GUESS_SIGMA = 0.05, 0.2, 0.5  # of a focal length, relative
SHARES = ("size", "folder", "photo")
SAME_PRIOR = 0.03  # EXIF focal lengths this close (relative) are one camera


@dataclass(frozen=True, eq=False)
class Group:
    """Photos that share one camera."""

    photos: tuple[int, ...]
    lens: Lens  # working pixels
    trusted: bool  # the focal length was given or read from EXIF
    voted: bool = False  # the pairs agree on the focal length
    exact_focal: bool = False  # the user knows it: it stays
    exact_lens: bool = False  # the user knows all of the lens: centre and distortion stay too

    @property
    def known(self) -> bool:
        """True when the focal length is good enough to hold it while photos are added."""
        return self.trusted or self.voted

    def prior(self, rough: Lens) -> LensPrior:
        """What is known of the lens; a focal length that nothing tells is near the rough one."""
        lens = self.lens if self.known else rough
        centre = 0.0 if self.exact_lens else CENTRE_SHARE * max(lens.width, lens.height)
        distortion = 0.0 if self.exact_lens else DISTORTION
        if not self.exact_lens:
            lens = replace(lens, k1=0.0, k2=0.0)
        sigma = dict.fromkeys(("k1", "k2"), distortion) | {"cx": centre, "cy": centre}
        return LensPrior(lens, {"focal": self._focal_sigma(), **sigma})

    def _focal_sigma(self) -> float:
        if self.exact_focal:
            return 0.0
        if self.trusted:
            return EXIF_SIGMA
        return VOTED_SIGMA if self.voted else GUESS_SIGMA

    def with_focal(self, focal_px: float) -> "Group":
        """The same group with another guess, working pixels."""
        return replace(self, lens=replace(self.lens, focal_px=focal_px))


def scale_of(image: Image) -> float:
    """Working pixels per original pixel along the longer side, used for both axes.

    The working copy's sizes are rounded, so its two axes differ by up to a part in a thousand;
    one common factor keeps pixels square.
    """
    return max(image.work_width, image.work_height) / max(image.width, image.height)


def group_photos(
    images: Sequence[Image],
    *,
    focal_px: float | None,
    share: str,
    given: Mapping[int, Given] | None = None,
    refine_focal: bool = False,
) -> list[Group]:
    """Photos that share a camera: of one size, one EXIF focal length, one given lens.

    Args:
        images: The photos.
        focal_px: Known focal length of all photos, original pixels.
        share: One of SHARES: what else photos of one camera must have in common.
        given: Lenses that the user knows, by photo; original pixels.
        refine_focal: The given focal lengths are near, not exact.
    """
    given = given or {}
    groups: dict[tuple, list[int]] = {}
    for i, image in enumerate(images):
        place = {"size": "", "folder": str(Path(image.name).parent), "photo": i}[share]
        key = (image.width, image.height, place, given[i].lens if i in given else None)
        for other, group in groups.items():
            if other[:-1] == key and _same_prior(other[-1], image.focal_prior_px):
                group.append(i)
                break
        else:
            groups[(*key, image.focal_prior_px)] = [i]
    result = []
    for members in groups.values():
        image = images[members[0]]
        if members[0] in given:
            lens = given[members[0]].lens.scaled(scale_of(image))
            result.append(
                Group(tuple(members), lens, trusted=True, exact_focal=not refine_focal,
                      exact_lens=True)
            )  # fmt: skip
            continue
        prior = focal_px or image.focal_prior_px
        focal = prior or FALLBACK * max(image.width, image.height)
        lens = Lens.centred(image.width, image.height, focal).scaled(scale_of(image))
        exact = focal_px is not None
        result.append(Group(tuple(members), lens, trusted=prior is not None, exact_focal=exact))
    return result


def _same_prior(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= SAME_PRIOR * max(a, b)


def vote_focal(
    group: Group,
    matches: Mapping[tuple[int, int], Matches],
    scales: Sequence[float],
    how: Verification,
) -> Group:
    """The focal length under which the best pairs of a group lose least as calibrated pairs.

    One pair often says nothing about the focal length (both axes meet at one point, as when
    walking around an object); so every candidate is tried on all voting pairs and the candidate
    with the least truncated Sampson error in total wins. Without a clear minimum the group stays
    as it is.
    """
    import poselib

    centre = np.array([group.lens.cx, group.lens.cy])

    def inliers(pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        (a, b), m = pair, matches[pair]
        order = np.argsort(-m.score, kind="stable")
        order = order[searched(len(order), how.searched)]
        uv_a = (m.uv_a * scales[a] - centre)[order]
        uv_b = (m.uv_b * scales[b] - centre)[order]
        _, info = poselib.estimate_fundamental(uv_a, uv_b, ransac_options(how), {})
        keep = np.array(info["inliers"], dtype=bool)
        return uv_a[keep], uv_b[keep]

    members = set(group.photos)
    mine = [p for p, m in matches.items() if set(p) <= members and len(m) >= how.min_inliers]
    mine = sorted(mine, key=lambda p: -len(matches[p]))[: 2 * VOTERS]
    pairs = [
        (len(uv_a), uv_a[:VOTES], uv_b[:VOTES])
        for uv_a, uv_b in in_threads(inliers, mine)
        if len(uv_a) >= max(30, how.min_inliers)
    ]
    side = max(group.lens.width, group.lens.height)
    pairs = sorted(pairs, key=lambda p: -p[0])[:VOTERS]

    def total(candidate: float) -> float:
        return sum(_cost(candidate * side, a, b, how) for _, a, b in pairs)

    cost = np.array(list(in_threads(total, CANDIDATES.tolist())))
    best = int(np.argmin(cost))
    if not pairs or cost[best] > CLEAR * min(cost[0], cost[-1]):
        log.info("focal length: %d pairs do not tell it", len(pairs))
        return group
    focal = _minimum(cost, best) * side
    log.info("focal length: %.0f working px by the vote of %d pairs", focal, len(pairs))
    return replace(group.with_focal(focal), voted=True)


def _minimum(cost: Float[np.ndarray, " c"], best: int) -> float:
    """Candidate of least cost, refined by a parabola in log focal."""
    left, middle, right = cost[best - 1 : best + 2]
    shift = 0.5 * (left - right) / max(left - 2 * middle + right, 1e-12)
    step = np.log(CANDIDATES[1] / CANDIDATES[0])
    return float(CANDIDATES[best] * np.exp(np.clip(shift, -1, 1) * step))


def _cost(
    focal: float, uv_a: Float[np.ndarray, "n 2"], uv_b: Float[np.ndarray, "n 2"], how: Verification
) -> float:
    import poselib

    camera = centred_camera(focal)
    options = {**ransac_options(how), "min_iterations": 100, "max_iterations": 200}
    pose, _ = poselib.estimate_relative_pose(uv_a, uv_b, camera, camera, options, {})
    E = essential(Rigid3(pose.R, pose.t))
    error = sampson_px(uv_a / focal, uv_b / focal, E, focal, focal)
    return float((np.minimum(error, how.max_error_px) ** 2).sum())
