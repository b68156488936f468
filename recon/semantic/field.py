"""A scene's described points: made from its views, on disk, and asked for a place."""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial import cKDTree

from corr.errors import UserError
from corr.semantic.features.grid import unit
from corr.semantic.transfer import confidence
from corr.store import write_atomic
from recon.semantic.lift import Look, Observations, believed, observe
from recon.semantic.refine import Fit, Head, fit_head

log = logging.getLogger(__name__)
RADIUS_SHARE = 0.03  # of the scene's extent: what counts as the same place
_NEIGHBOURS = 8


@dataclass(frozen=True, eq=False)
class FeatureField:
    """Points of a scene with descriptors, in the scene's own frame and unit.

    Args:
        keypoints: Places that are described, k x 3.
        features: Their descriptors, unit length.
        views: Views behind each.
        xyz: All points of the scene, described or not.
        rgb: Their colours.
        head: What refined the descriptors.
    """

    keypoints: Float[np.ndarray, "k 3"]
    features: Float[np.ndarray, "k d"]
    views: Int[np.ndarray, " k"]
    xyz: Float[np.ndarray, "n 3"]
    rgb: UInt8[np.ndarray, "n 3"] | None
    head: Head

    def __post_init__(self):
        if not len(self.keypoints):
            raise ValueError("a feature field needs points that views agree about, got none")

    @property
    def extent(self) -> float:
        """Size of the scene, scene units: robust diagonal of the described points."""
        low, high = np.percentile(self.keypoints, [5, 95], axis=0)
        return max(float(np.linalg.norm(high - low)), 1e-12)

    @property
    def radius(self) -> float:
        """Within it two points count as the same place, scene units."""
        return RADIUS_SHARE * self.extent

    def at(self, point: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " d"]:
        """Descriptor of any place: of its nearest points, by the inverse square of distance.

        Raises:
            UserError: No described point lies near.
        """
        count = min(_NEIGHBOURS, len(self.keypoints))
        distance, index = cKDTree(self.keypoints).query(np.asarray(point, np.float64), count)
        distance, index = np.atleast_1d(distance), np.atleast_1d(index)
        if distance[0] > 2 * self.radius:
            raise UserError(
                f"nothing described lies near {', '.join(f'{v:.4g}' for v in point)}: the nearest "
                f"point is {distance[0]:.3g} away and {2 * self.radius:.3g} would do; choose a "
                "place that two photos see"
            )
        weight = 1 / np.maximum(distance, 0.05 * self.radius) ** 2
        return unit((weight[:, None] * self.features[index]).sum(0))


def build_field(
    xyz: Float[np.ndarray, "n 3"],
    rgb: UInt8[np.ndarray, "n 3"] | None,
    looks: Sequence[Look],
    *,
    min_views: int,
    iterations: int,
    seed: int,
    head: Head | None = None,
) -> tuple[FeatureField, Fit | None]:
    """Lift, prune, refine.

    Args:
        xyz: Points of the scene.
        rgb: Their colours.
        looks: The views.
        min_views: A point that fewer views agree about is not described.
        iterations: Training steps of the head.
        seed: Of everything random.
        head: Taken as it is instead of a new one: makes two scenes' features comparable.

    Raises:
        UserError: No point is seen and agreed upon by enough views.
    """
    seen = observe(xyz, looks)
    agreed = believed(seen, np.random.default_rng(seed))
    views = (agreed.weight > 0).sum(1)
    keep = views >= min_views
    enough = int(((seen.weight > 0).sum(1) >= min_views).sum())
    log.info("%d points: %d seen by %d views or more, %d after pruning",
             len(xyz), enough, min_views, int(keep.sum()))  # fmt: skip
    if not keep.any():
        raise UserError(
            f"no point is seen and agreed upon by {min_views} views (at most {views.max()} do); "
            "set min_views lower or give more photos of the same place"
        )
    agreed, kept = agreed.taken(keep), xyz[keep]
    fit = None
    if head is None:
        low, high = np.percentile(kept, [5, 95], axis=0)
        radius = RADIUS_SHARE * float(np.linalg.norm(high - low))
        head, fit = fit_head(agreed, kept, radius=radius, iterations=iterations, seed=seed)
    refined = np.zeros_like(agreed.descriptor)
    for k in range(len(looks)):
        refined[:, k] = head(agreed.descriptor[:, k])
    features = Observations(refined, agreed.weight).mean()
    return FeatureField(kept, features, views[keep], xyz, rgb, head), fit


@dataclass(frozen=True, eq=False)
class Landing:
    """Where a place of one scene lies in another.

    Args:
        xyz: In the other scene's frame.
        similarity: Cosine of the place and the best point.
        margin: That, less the best cosine farther off than three radii.
        round_trip: From the place to where its match's own best match lies, share of the extent.
        confidence: 0..1, an order of trust and no probability.
    """

    xyz: Float[np.ndarray, " 3"]
    similarity: float
    margin: float
    round_trip: float
    confidence: float


def land(point: Float[np.ndarray, " 3"], here: FeatureField, there: FeatureField) -> Landing:
    """Carry a place over: the most similar point, averaged with the similar ones around it.

    Raises:
        UserError: The features are of different kinds, or nothing described lies near the place.
    """
    if here.features.shape[1] != there.features.shape[1]:
        raise UserError(
            f"features of {here.features.shape[1]} and {there.features.shape[1]} numbers cannot be "
            "compared; make both with the same features=…"
        )
    found, cosine = _most_similar(here.at(point), there)
    best = int(cosine.argmax())
    away = np.linalg.norm(there.keypoints - there.keypoints[best], axis=1) > 3 * there.radius
    rival = float(cosine[away].max()) if away.any() else -1.0
    back, _ = _most_similar(there.at(found), here)
    trip = float(np.linalg.norm(back - point)) / here.extent
    top, margin = float(cosine[best]), float(cosine[best]) - rival
    sure = confidence(np.array([top]), np.array([margin]), np.array([trip]))
    return Landing(found, top, margin, trip, float(sure[0]))


def _most_similar(
    descriptor: Float[np.ndarray, " d"], there: FeatureField
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " k"]]:
    """A place and the cosines of all points."""
    cosine = there.features @ descriptor
    best = int(cosine.argmax())
    near = np.linalg.norm(there.keypoints - there.keypoints[best], axis=1) <= there.radius
    weight = np.exp((cosine[near] - cosine[best]) / 0.02)
    return (weight[:, None] * there.keypoints[near]).sum(0) / weight.sum(), cosine


def save_field(path: Path, field: FeatureField) -> None:
    """Write `features.npz`; `registration` reads its xyz, rgb, keypoints and features."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "xyz": field.xyz, "keypoints": field.keypoints, "features": field.features,
        "views": field.views, "head_first": field.head.first,
        "head_first_bias": field.head.first_bias, "head_second": field.head.second,
    }  # fmt: skip
    if field.rgb is not None:
        arrays["rgb"] = field.rgb
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def load_field(path: Path) -> FeatureField:
    """Read what `save_field` wrote.

    Raises:
        UserError: It is not there, damaged, or some other file.
    """
    try:
        with np.load(path) as data:
            head = Head(*(data[f"head_{n}"] for n in ("first", "first_bias", "second")))
            return FeatureField(
                data["keypoints"], data["features"], data["views"], data["xyz"],
                data.get("rgb"), head,
            )  # fmt: skip
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise UserError(
            f"{path} is no features.npz of `python -m recon features` ({error})"
        ) from None
