"""How sure the cameras are: covariance of an adjusted bundle, free of the choice of the world.

Positions, turn and size of the world are not measured by photos. A covariance needs them fixed;
here they are fixed as a comparison with true cameras does it, by the similarity that fits all
cameras best, so that predicted sigmas can be held against real errors.

Sources: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999, section 9 (gauge);
Förstner and Wrobel, Photogrammetric Computer Vision, 2016, section 4.5 (S-transformation).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from recon.poses.bundle import Bundle
from recon.poses.whitened import (
    POSE,
    Model,
    counted_share,
    layout,
    linearise,
    num_known,
    reduced,
    whiten,
)

UNSURE_DEG, UNSURE_PERCENT = 2.0, 10.0  # of rotation, of the baseline: flagged above


@dataclass(frozen=True)
class CameraSigma:
    """One standard deviation: rotation about the worst axis, centre along the worst axis."""

    rotation_deg: float
    centre: float  # world units
    centre_percent: float  # of the largest distance between two cameras

    @property
    def unsure(self) -> bool:
        """True when the camera should not be relied on."""
        return self.rotation_deg > UNSURE_DEG or self.centre_percent > UNSURE_PERCENT

    def record(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Sigmas by photo; `chi2` is the reduced chi squared of the adjustment.

    Near 1 observations are as accurate as was said, or as `hidden_px` makes them; sigmas are
    widened by its root when it is above, never narrowed.
    """

    cameras: Mapping[int, CameraSigma]
    focal_percent: Mapping[int, float]  # by lens; empty when focal lengths were not free
    chi2: float
    redundancy: int  # observed numbers less unknowns
    hidden_px: float = 0.0  # noise found beyond the covariances and added to them, pixels


def estimate(bundle: Bundle, cov_px: Float[np.ndarray, "m 2 2"], model: Model) -> Uncertainty:
    """Uncertainty of the bundle at its minimum (`adjust_whitened`, or any adjustment of it).

    Args:
        bundle: Adjusted; its active observations count.
        cov_px: Covariance of every observation of the table.
        model: What is free and known.
    """
    white = whiten(cov_px)
    equations = linearise(bundle, white, model)
    H, *_ = reduced(bundle, equations, model)
    gauge = _gauge(bundle, model)
    covariance = _inverse(H, gauge, singular=not model.priors)
    fixed_by_none = 0 if model.priors else gauge.shape[1]
    unknowns = equations.size + 3 * len(equations.points) - fixed_by_none
    redundancy = equations.residual.size + num_known(bundle, model) - unknowns
    counted = counted_share(model) * max(redundancy, 1)  # large residuals count less
    chi2 = float((equations.residual**2).sum()) / counted
    covariance *= max(chi2, 1.0)
    pose_at, lens_at, _ = layout(bundle, model)
    extent = _extent(bundle)
    cameras = {}
    for photo in sorted(bundle.poses):
        at = pose_at.get(photo)
        block = np.zeros((POSE, POSE)) if at is None else covariance[at : at + 6, at : at + 6]
        centre = _worst(block[3:, 3:])
        cameras[photo] = CameraSigma(
            float(np.degrees(_worst(block[:3, :3]))), centre, 100 * centre / extent
        )
    focal = {}
    if "focal" in model.free_lens:
        column = list(model.free_lens).index("focal")
        focal = {
            lens: 100 * float(np.sqrt(covariance[at + column, at + column]))
            for lens, at in lens_at.items()
        }
    return Uncertainty(cameras, focal, chi2, redundancy)


def _worst(block: Float[np.ndarray, "3 3"]) -> float:
    return float(np.sqrt(max(np.linalg.eigvalsh(block)[-1], 0.0)))


def _extent(bundle: Bundle) -> float:
    centres = np.stack([pose.centre for pose in bundle.poses.values()])
    return max(float(np.linalg.norm(centres[:, None] - centres[None], axis=-1).max()), 1e-300)


def _gauge(bundle: Bundle, model: Model) -> Float[np.ndarray, "k g"]:
    """Steps of the parameters that change the world and nothing that photos show.

    Turns, shifts and the size of the world; none when two poses are known. Priors fix the world
    too, but how well says nothing of a camera: sigmas are relative to the other cameras then, too.
    """
    pose_at, _, size = layout(bundle, model)
    if model.fixed:
        # One fixed pose leaves the size open; everything else is known.
        wanted = [6] if len(model.fixed & bundle.poses.keys()) == 1 and not model.priors else []
    else:
        wanted = list(range(7))
    pivot = np.mean([p.centre for p in bundle.poses.values()], axis=0)
    if model.fixed and wanted:
        (photo,) = model.fixed & bundle.poses.keys()
        pivot = bundle.poses[photo].centre
    G = np.zeros((size, 7))
    for photo, at in pose_at.items():
        pose = bundle.poses[photo]
        from_pivot = pose.centre - pivot
        # World points X -> X + w x (X - pivot) + s + k (X - pivot).
        G[at : at + 3, :3] = -pose.R
        G[at + 3 : at + 6, :3] = -np.cross(from_pivot[:, None], np.eye(3), axis=0)
        G[at + 3 : at + 6, 3:6] = np.eye(3)
        G[at + 3 : at + 6, 6] = from_pivot
    return G[:, wanted]


def _inverse(
    H: Float[np.ndarray, "k k"], gauge: Float[np.ndarray, "k g"], *, singular: bool
) -> np.ndarray:
    """Inverse of H where it has one; the gauge is fixed by the best fit of all centres and turns.

    Constraints G' D x = 0, with D balancing radians and world units.
    """
    if not gauge.shape[1]:
        return np.linalg.pinv(H, hermitian=True)
    scale = np.sqrt(np.diag(H).clip(1e-300))
    unit = H / scale[:, None] / scale
    basis = np.linalg.qr(scale[:, None] * gauge)[0]
    # Any generalised inverse, then moved to the wanted gauge.
    full = unit + basis @ basis.T if singular else unit
    some = np.linalg.pinv(full, hermitian=True) / scale[:, None] / scale
    weight = _balance(gauge)
    inner = gauge.T @ (weight[:, None] * gauge)
    fit = np.linalg.pinv(inner, hermitian=True) @ (gauge * weight[:, None]).T
    P = np.eye(len(H)) - gauge @ fit
    return P @ some @ P.T


def _balance(gauge: Float[np.ndarray, "k g"]) -> Float[np.ndarray, " k"]:
    """Weights of the parameters in the fit: centres by the size of the world, lenses none."""
    if gauge.shape[1] == 1:  # a pose is known, only the size is open
        return np.ones(len(gauge))
    weight = np.zeros(len(gauge))
    centres = (gauge[:, 3:6] != 0).any(-1)
    turns = (gauge[:, :3] != 0).any(-1) & ~centres
    spread = np.sqrt(np.mean(gauge[centres, 6] ** 2) * 3) if centres.any() else 1.0
    weight[turns] = 1.0
    weight[centres] = 1.0 / max(float(spread), 1e-300) ** 2
    return weight
