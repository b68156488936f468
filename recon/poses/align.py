"""Sub-pixel positions of a track's observations by aligning small patches of the photos.

Matchers measure two photos at a time. Once a track is linked and its point known, each of its
observations can be measured against one and the same reference patch, at full resolution and
with the local stretch between the two photos taken into account.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Float, Int, UInt8

from corr.threads import in_threads
from recon.poses.bundle import Bundle

log = logging.getLogger(__name__)
REMAP_ROWS = 16_000  # OpenCV's remap takes fewer than 2^15 rows at a time


@dataclass(frozen=True)
class Alignment:
    """How patches are aligned; pixels are working pixels."""

    radius_px: int = 7  # patches are 2 radius + 1 wide
    sigma_px: float = 0.8  # smoothing of both photos
    steps: int = 8
    min_similarity: float = 0.75  # normalised cross-correlation of the aligned patches
    max_shift_px: float = 2.5  # from the start; further is another structure
    noise_gain: float = 2.5  # variance over that of white noise: blur and stretch correlate pixels
    floor_px: float = 0.05  # standard deviation that no patch is better than


@dataclass(frozen=True, eq=False)
class Aligned:
    """Positions found, how alike the patches are there (-1 = lost), and how accurate they are."""

    uv: Float[np.ndarray, "n 2"]
    similarity: Float[np.ndarray, " n"]  # normalised cross-correlation
    cov_px: Float[np.ndarray, "n 2 2"]


def align_tracks(
    bundle: Bundle, pictures: Mapping[int, UInt8[np.ndarray, "_h _w 3"]], how: Alignment
) -> Aligned:
    """Positions of all observations measured against the reference patch of their track.

    Only active observations are moved. The start is where the point's projection says, given
    where the reference observation lies.

    Args:
        bundle: Placed photos and points.
        pictures: Working copies (distorted, as the observations are) by photo.
        how: Patch size and limits.

    Returns:
        Of every observation; the similarity of a reference is the best that another one has with
        it, and its covariance the floor: it is where the point is by definition.
    """
    grey = {photo: smoothed(pictures[photo], how.sigma_px) for photo in sorted(bundle.poses)}
    tracks = bundle.tracks
    projected = np.zeros_like(tracks.uv)
    for photo in grey:
        rows = np.flatnonzero(tracks.photo == photo)
        projected[rows], _ = bundle.project(photo, bundle.xyz[tracks.track[rows]])
    reference = reference_rows(bundle)
    uv = tracks.uv.copy()
    alike = np.full(len(uv), -1.0)
    cov = np.tile(how.floor_px**2 * np.eye(2), (len(uv), 1, 1))
    own = reference[tracks.track]
    moved = bundle.active & (own >= 0)
    reference_photo = np.where(moved, tracks.photo[own], -1)
    groups = [
        (a, b, np.flatnonzero(moved & (tracks.photo == b) & (reference_photo == a)))
        for a, b in permutations(grey, 2)
    ]
    groups = [group for group in groups if len(group[2])]

    def work(group: tuple[int, int, np.ndarray]) -> Aligned:
        a, b, rows = group
        ref = own[rows]
        stretch = local_affine(projected[ref], projected[rows])
        shift = np.einsum("nij,nj->ni", stretch, tracks.uv[ref] - projected[ref])
        start = projected[rows] + shift
        return align_patches(grey[a], grey[b], tracks.uv[ref], start, stretch, how)

    for (_, _, rows), found in zip(groups, in_threads(work, groups), strict=True):
        ok = found.similarity >= how.min_similarity
        uv[rows[ok]], cov[rows[ok]] = found.uv[ok], found.cov_px[ok]
        alike[rows[ok]] = found.similarity[ok]
        np.maximum.at(alike, own[rows[ok]], found.similarity[ok])
    return Aligned(uv, alike, cov)


def reference_rows(bundle: Bundle) -> Int[np.ndarray, " p"]:
    """The observation of each point that the others are measured against; -1 = none active.

    It is the active one seen from most nearly the middle of the viewing directions, so that the
    patches differ as little as possible.
    """
    tracks = bundle.tracks
    direction = np.zeros((len(tracks.track), 3))
    for photo, pose in bundle.poses.items():
        rows = np.flatnonzero(tracks.photo == photo)
        ray = bundle.xyz[tracks.track[rows]] - pose.centre
        direction[rows] = ray / np.maximum(np.linalg.norm(ray, axis=-1, keepdims=True), 1e-12)
    rows = np.flatnonzero(bundle.active)
    total = np.zeros((len(bundle.xyz), 3))
    np.add.at(total, tracks.track[rows], direction[rows])
    central = (direction[rows] * total[tracks.track[rows]]).sum(-1)
    reference = np.full(len(bundle.xyz), -1, dtype=np.int64)
    order = rows[np.argsort(central, kind="stable")]
    reference[tracks.track[order]] = order
    return reference


def smoothed(rgb: UInt8[np.ndarray, "h w 3"], sigma_px: float) -> Float[np.ndarray, "h w"]:
    """Grey, float32, slightly blurred so that linear interpolation is accurate."""
    import cv2

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), sigma_px)


def local_affine(
    uv_a: Float[np.ndarray, "n 2"], uv_b: Float[np.ndarray, "n 2"], neighbours: int = 12
) -> Float[np.ndarray, "n 2 2"]:
    """The stretch b_from_a around each of many corresponding points, from its neighbours.

    Weighted least squares, pulled towards the identity so that few or collinear neighbours do
    no harm; identity when the fit is implausible (turned over, or stretched more than twofold).
    """
    from scipy.spatial import cKDTree

    count = min(neighbours + 1, len(uv_a))
    identity = np.broadcast_to(np.eye(2), (len(uv_a), 2, 2))
    if count < 5:
        return identity.copy()
    distance, index = cKDTree(uv_a).query(uv_a, k=count)
    a = uv_a[index] - uv_a[:, None]
    b = uv_b[index] - uv_b[:, None]
    scale = np.maximum(distance[:, -1:], 1e-6)
    weight = np.exp(-0.5 * (distance / (0.5 * scale)) ** 2)
    for _ in range(2):
        pull = 0.05 * (weight * distance**2).sum(-1)[:, None, None] * np.eye(2)
        left = np.einsum("nk,nki,nkj->nij", weight, a, a) + pull
        right = np.einsum("nk,nki,nkj->nij", weight, b, a) + pull
        A = right @ np.linalg.inv(left + 1e-9 * np.eye(2))
        error = np.linalg.norm(b - np.einsum("nij,nkj->nki", A, a), axis=-1)
        # Neighbours across a depth edge move differently: trust them less.
        spread = np.median(error, axis=-1, keepdims=True) + 0.5
        weight = np.exp(-0.5 * (distance / (0.5 * scale)) ** 2) / (1 + (error / spread) ** 2)
    stretch = np.linalg.svd(A, compute_uv=False)
    plausible = (np.linalg.det(A) > 0) & (stretch[:, 0] < 2.5) & (stretch[:, 1] > 0.4)
    return np.where(plausible[:, None, None], A, identity)


def align_patches(
    photo_a: Float[np.ndarray, "h w"],
    photo_b: Float[np.ndarray, "h2 w2"],
    uv_a: Float[np.ndarray, "n 2"],
    uv_b: Float[np.ndarray, "n 2"],
    b_from_a: Float[np.ndarray, "n 2 2"],
    how: Alignment,
) -> Aligned:
    """Move `uv_b` until the patch around it looks like the patch around `uv_a`.

    Inverse compositional Gauss-Newton on the shift; the stretch stays, brightness and contrast of
    every patch are taken out. The covariance is that of least squares with the noise that the
    remaining difference shows.

    Sources: Baker and Matthews, Lucas-Kanade 20 years on, IJCV 2004, section 3.2; Förstner and
    Wrobel, Photogrammetric Computer Vision, 2016, section 13.3 (accuracy of matched patches).
    """
    grid = np.arange(-how.radius_px, how.radius_px + 1, dtype=np.float64)
    offset = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    weight = np.exp(-0.5 * (offset**2).sum(-1) / (0.6 * how.radius_px) ** 2)
    weight = (weight / weight.sum()).astype(np.float32)
    template = _normalised(_sample(photo_a, uv_a[:, None] + offset), weight)
    slope = np.stack(
        [
            _sample(photo_a, uv_a[:, None] + offset + 0.5 * step)
            - _sample(photo_a, uv_a[:, None] + offset - 0.5 * step)
            for step in np.eye(2)
        ],
        -1,
    )
    contrast = _contrast(_sample(photo_a, uv_a[:, None] + offset), weight)
    slope = slope / contrast[:, None, None]
    slope = slope @ np.linalg.inv(b_from_a)  # per pixel of photo b
    slope = slope - np.einsum("k,nki->ni", weight, slope)[:, None]
    # The part that only changes the contrast is explained by the normalisation.
    slope = (
        slope - template[..., None] * np.einsum("k,nk,nki->ni", weight, template, slope)[:, None]
    )
    H = np.einsum("k,nki,nkj->nij", weight, slope, slope)
    solvable = np.linalg.det(H) > 1e-8
    H_inv = np.linalg.inv(np.where(solvable[:, None, None], H, np.eye(2)))
    place = np.einsum("nij,kj->nki", b_from_a, offset)
    at = uv_b.copy()
    for _ in range(how.steps):
        patch = _normalised(_sample(photo_b, at[:, None] + place), weight)
        gradient = np.einsum("k,nki,nk->ni", weight, slope, patch - template)
        step = np.einsum("nij,nj->ni", H_inv, gradient)
        length = np.linalg.norm(step, axis=-1, keepdims=True)
        at = at - step * np.minimum(1.0, 1.0 / np.maximum(length, 1e-12))
    patch = _normalised(_sample(photo_b, at[:, None] + place), weight)
    similarity = np.einsum("k,nk,nk->n", weight, patch, template)
    lost = ~solvable | (np.linalg.norm(at - uv_b, axis=-1) > how.max_shift_px)
    reach = how.radius_px + 2.0
    for photo, uv in ((photo_a, uv_a), (photo_b, at)):
        size = np.array(photo.shape[::-1])
        lost |= ((uv < reach) | (uv > size - reach)).any(-1)
    noise = how.noise_gain * 2.0 * np.maximum(1.0 - similarity, 0.0) * float((weight**2).sum())
    cov = noise[:, None, None] * H_inv + how.floor_px**2 * np.eye(2)
    return Aligned(at, np.where(lost, -1.0, similarity), cov)


def _sample(photo: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Linear interpolation at pixel positions (pixel centres at +0.5), n k 2 to n k."""
    import cv2

    at = (uv - 0.5).astype(np.float32)
    out = [
        cv2.remap(photo, part[..., 0], part[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        for part in np.array_split(at, 1 + len(at) // REMAP_ROWS)
    ]
    return np.concatenate(out)


def _contrast(patch: np.ndarray, weight: np.ndarray) -> np.ndarray:
    mean = patch @ weight
    return np.sqrt(np.maximum((patch - mean[:, None]) ** 2 @ weight, 1.0))


def _normalised(patch: np.ndarray, weight: np.ndarray) -> np.ndarray:
    mean = patch @ weight
    return (patch - mean[:, None]) / _contrast(patch, weight)[:, None]
