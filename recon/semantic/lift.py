"""Features of the photos carried onto points: who sees a point, and do they agree about it?

Source: Wang et al., SparseDFF, ICLR 2024, section 3.1 (descriptors of few views on points) and 3.3
(points whose views disagree are dropped). The rule for disagreement is ours: see `believed`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from corr.geometry import Camera
from corr.semantic.features.grid import FeatureGrid, unit
from recon.scene import View
from recon.surface.depth_maps import cos_incidence, pixel_values

DEPTH_TOLERANCE = 0.02  # share of depth: how far before or behind the drawn surface a point may lie
_GRAZING = 0.1  # least weight of a look along the surface
_SHUFFLES = 4  # random partners per observation that set the bar for agreement


@dataclass(frozen=True, eq=False)
class Look:
    """One photo as it is needed for lifting: pixels of `view.camera` throughout.

    Args:
        view: Camera and pose.
        depth: z of the visible surface; 0 = not known there.
        grid: Features of the picture.
        mask: False where the picture must not be used; None = everywhere.
    """

    view: View
    depth: Float32[np.ndarray, "h w"]
    grid: FeatureGrid
    mask: Bool[np.ndarray, "h w"] | None = None


@dataclass(frozen=True, eq=False)
class Observations:
    """What every view says about every point.

    Args:
        descriptor: n x views x d, unit length where `weight` is positive, float16.
        weight: n x views; 0 where the view does not see the point.
    """

    descriptor: Float[np.ndarray, "n v d"]
    weight: Float[np.ndarray, "n v"]

    def mean(self) -> Float[np.ndarray, "n d"]:
        """Weighted mean of the views of each point, unit length; zeros where no view sees it."""
        total = np.zeros((len(self.weight), self.descriptor.shape[-1]), np.float32)
        for k in range(self.weight.shape[1]):
            total += self.weight[:, k, None].astype(np.float32) * self.descriptor[:, k]
        return unit(total)

    def taken(self, keep: Bool[np.ndarray, " n"]) -> "Observations":
        """Those of some of the points."""
        return Observations(self.descriptor[keep], self.weight[keep])


def observe(
    xyz: Float[np.ndarray, "n 3"], looks: Sequence[Look], *, tolerance: float = DEPTH_TOLERANCE
) -> Observations:
    """Sample every view's features where it sees the points.

    A view sees a point that lies within `tolerance` (share of its depth) of the view's surface.
    The weight falls with the distance to that surface and with the cosine of the angle of sight.

    Raises:
        ValueError: There are no views.
    """
    if not looks:
        raise ValueError("features are lifted from one view or more, got none")
    d = looks[0].grid.descriptor.shape[-1]
    descriptor = np.zeros((len(xyz), len(looks), d), np.float16)
    weight = np.zeros((len(xyz), len(looks)), np.float32)
    for k, look in enumerate(looks):
        weight[:, k], uv = sight(xyz, look, tolerance=tolerance)
        seen = weight[:, k] > 0
        descriptor[seen, k] = look.grid.sample(uv[seen])
    return Observations(descriptor, weight)


def sight(
    xyz: Float[np.ndarray, "n 3"], look: Look, *, tolerance: float = DEPTH_TOLERANCE
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """How well a view sees each point, 0..1, and the points' pixels."""
    camera: Camera = look.view.camera
    uv, z = camera.project(look.view.cam_from_world.apply(xyz))
    known = pixel_values(look.depth[..., None], uv)[:, 0]
    cosine = pixel_values(cos_incidence(look.depth, camera)[..., None], uv)[:, 0]
    seen = (z > 0) & (known > 0)
    if look.mask is not None:
        seen &= pixel_values(look.mask[..., None], uv)[:, 0]
    off = np.abs(known - z) / np.maximum(tolerance * z, 1e-12)
    near = np.exp(-0.5 * np.minimum(2 * off, 10.0) ** 2)
    return np.where(seen & (off <= 1), near * np.maximum(cosine, _GRAZING), 0.0), uv


def believed(observations: Observations, rng: np.random.Generator) -> Observations:
    """Without the observations that the point's other views contradict.

    An observation is believed if its cosine to the mean of the point's other views is larger than
    the cosines that observations typically (median) have to the means of other points, drawn at
    random: the bar adapts to features that are all alike. A point's only view is believed.
    """
    own, other = observations.weight, _others(observations)
    alone = (own > 0).sum(1) == 1
    weight = own.copy()
    for k in range(own.shape[1]):
        rows = np.flatnonzero((own[:, k] > 0) & ~alone)
        if not len(rows):
            continue
        mine = observations.descriptor[rows, k].astype(np.float32)
        agrees = (mine * other(k, rows)).sum(1)
        bar = np.median([(mine * other(k, rng.permutation(rows))).sum(1) for _ in range(_SHUFFLES)])
        weight[rows[agrees <= bar], k] = 0
    return Observations(observations.descriptor, weight)


def _others(observations: Observations):
    """A function of a view and points: the mean of the points' other views, unit length."""
    total = np.zeros((len(observations.weight), observations.descriptor.shape[-1]), np.float32)
    for k in range(observations.weight.shape[1]):
        total += observations.weight[:, k, None] * observations.descriptor[:, k]

    def without(k: int, rows: np.ndarray) -> np.ndarray:
        return unit(
            total[rows] - observations.weight[rows, k, None] * observations.descriptor[rows, k]
        )

    return without
