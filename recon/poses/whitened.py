"""Bundle adjustment that knows how accurate each observation is, and priors of cameras.

pycolmap's adjustment takes every pixel for equally accurate, and its costs with covariances are
not in its wheels; so this is our own: Levenberg-Marquardt with the points eliminated.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from corr.geometry import Rigid3
from recon.normal_equations import point_steps, reduced_system
from recon.poses.bundle import MIN_DEPTH, Bundle
from recon.poses.lens import Lens

log = logging.getLogger(__name__)
POSE = 6  # a turn of the camera (radians, its own axes), then a shift of its centre (world)
LENS = ("focal", "cx", "cy", "k1", "k2", "p1", "p2")  # focal: its logarithm
STEPS = 50  # iterations at most


@dataclass(frozen=True, eq=False)
class PosePrior:
    """What is known of a camera beforehand; both sigmas are of one axis."""

    cam_from_world: Rigid3
    sigma_deg: float
    sigma_centre: float  # world units


@dataclass(frozen=True, eq=False)
class LensPrior:
    """What is known of a lens beforehand: sigmas by names of LENS (focal: relative)."""

    lens: Lens
    sigma: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Model:
    """What is free, what is known, and how accurate observations are."""

    free_lens: Sequence[str] = ()  # of LENS, for every lens
    fixed: frozenset[int] = frozenset()  # photos whose poses stay
    priors: Mapping[int, PosePrior] = field(default_factory=dict)
    lens_priors: Mapping[int, "LensPrior"] = field(default_factory=dict)
    loss_sigmas: float = 2.0  # residuals beyond so many sigmas count less (soft L1); inf = squared


@dataclass(frozen=True, eq=False)
class Equations:
    """The problem linearised at a bundle: whitened derivatives and residuals of active rows."""

    rows: Int[np.ndarray, " a"]  # of the bundle's table
    start: Int[np.ndarray, " _q"]
    points: Int[np.ndarray, " _p"]  # of the bundle, one per entry of start but the last
    index: Int[np.ndarray, "a d"]
    J: Float[np.ndarray, "a 2 d"]
    Jp: Float[np.ndarray, "a 2 3"]
    residual: Float[np.ndarray, "a 2"]
    size: int


def whiten(cov_px: Float[np.ndarray, "m 2 2"]) -> Float[np.ndarray, "m 2 2"]:
    """W with W cov W' = 1."""
    return np.linalg.inv(np.linalg.cholesky(cov_px))


def adjust_whitened(
    bundle: Bundle,
    cov_px: Float[np.ndarray, "m 2 2"],
    model: Model,
    *,
    tolerance: float = 1e-9,
) -> Bundle:
    """The bundle that minimises the whitened robust error of its active observations.

    Fixed poses keep their bits. The result does not depend on threads: there is one.

    Args:
        bundle: Start; observations that are not active are not looked at.
        cov_px: Covariance of every observation of the table.
        model: What is free and known.
        tolerance: Relative fall of the cost that ends the iteration.
    """
    white = whiten(cov_px)
    cost = total_cost(bundle, white, model)
    damping = 1e-4
    for _ in range(STEPS):
        equations = linearise(bundle, white, model)
        better = None
        while damping < 1e8:
            tried = _stepped(bundle, equations, model, damping)
            new = np.inf if tried is None else total_cost(tried, white, model)
            if new < cost:
                better = tried
                break
            damping *= 10
        if better is None:
            break
        bundle, damping = better, max(damping / 10, 1e-10)
        fall, cost = (cost - new) / max(cost, 1e-300), new
        if fall < tolerance:
            break
    return bundle


def slope_of_loss(squared: Float[np.ndarray, " a"], model: Model) -> Float[np.ndarray, " a"]:
    """What observations count, by their squared residuals in sigmas: 1 near zero, less beyond."""
    return (1 + squared / model.loss_sigmas**2) ** -0.5


def counted_share(model: Model) -> float:
    """Squared residuals that count over those there are, where covariances are true."""
    nodes, weights = np.polynomial.laguerre.laggauss(64)
    squared = 2 * nodes  # of a pair of coordinates, in sigmas: exponential with mean 2
    return float((weights * squared * slope_of_loss(squared, model)).sum() / 2)


def total_cost(bundle: Bundle, white: Float[np.ndarray, "m 2 2"], model: Model) -> float:
    """Robust cost of the active observations, and of the priors."""
    rows = np.flatnonzero(bundle.active)
    squared = (_residuals(bundle, rows, white) ** 2).sum(-1)
    if np.isfinite(model.loss_sigmas):
        b = model.loss_sigmas**2
        squared = 2 * b * (np.sqrt(1 + squared / b) - 1)
    known = sum(float((r**2).sum()) for _, _, r in _known(bundle, model))
    return float(squared.sum()) + known


def linearise(bundle: Bundle, white: Float[np.ndarray, "m 2 2"], model: Model) -> Equations:
    """Derivatives by poses, lenses and points."""
    rows = np.flatnonzero(bundle.active)
    points, first = np.unique(bundle.tracks.track[rows], return_index=True)
    residual = _residuals(bundle, rows, white)
    pose_at, lens_at, size = layout(bundle, model)
    d = POSE + len(model.free_lens)
    index = np.full((len(rows), d), -1, dtype=np.int64)
    J, Jp = np.zeros((len(rows), 2, d)), np.zeros((len(rows), 2, 3))
    for photo, pose in bundle.poses.items():
        mine = np.flatnonzero(bundle.tracks.photo[rows] == photo)
        local = pose.apply(bundle.xyz[bundle.tracks.track[rows[mine]]])
        pixel_by_local, by_lens = _derivatives(bundle.lens(photo), local, model.free_lens)
        turn = -np.cross(local[:, None], np.eye(3)[None]).transpose(0, 2, 1)
        Jp[mine] = pixel_by_local @ pose.R
        J[mine, :, :3] = pixel_by_local @ turn
        J[mine, :, 3:POSE] = -Jp[mine]
        J[mine, :, POSE:] = by_lens
        if photo in pose_at:
            index[mine, :POSE] = pose_at[photo] + np.arange(POSE)
        index[mine, POSE:] = lens_at[bundle.lens_of[photo]] + np.arange(len(model.free_lens))
    if np.isfinite(model.loss_sigmas):
        weight = np.sqrt(slope_of_loss((residual**2).sum(-1), model))
        white_rows = white[rows] * weight[:, None, None]
        residual = residual * weight[:, None]
    else:
        white_rows = white[rows]
    return Equations(
        rows, np.append(first, len(rows)).astype(np.int64), points, index,
        _times(white_rows, J), _times(white_rows, Jp), residual, size,
    )  # fmt: skip


def layout(bundle: Bundle, model: Model) -> tuple[dict[int, int], dict[int, int], int]:
    """First parameter of every free photo and of every lens, and how many there are."""
    free = [p for p in sorted(bundle.poses) if p not in model.fixed]
    pose_at = {photo: POSE * k for k, photo in enumerate(free)}
    used = sorted({bundle.lens_of[p] for p in bundle.poses})
    num = len(model.free_lens)
    lens_at = {lens: POSE * len(free) + num * k for k, lens in enumerate(used)}
    return pose_at, lens_at, POSE * len(free) + num * len(used)


def reduced(
    bundle: Bundle, equations: Equations, model: Model, *, damping: float = 0.0
) -> tuple[np.ndarray, ...]:
    """Normal matrix and gradient of poses and lenses with priors; points' parts; the diagonal."""
    e = equations
    H, g, inverses, gradients, diagonal = reduced_system(
        e.start, e.index, e.J, e.Jp, e.residual, e.size, damping
    )
    for at, weight, residual in _known(bundle, model):
        H[at, at] += weight**2
        diagonal[at] += weight**2
        g[at] += weight * residual
    return H, g, inverses, gradients, diagonal


def num_known(bundle: Bundle, model: Model) -> int:
    """How many numbers priors add to the observed ones."""
    return sum(len(at) for at, _, _ in _known(bundle, model))


def _known(bundle: Bundle, model: Model) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The priors of free parameters: where they are, one over sigma, and residuals in sigmas."""
    pose_at, lens_at, _ = layout(bundle, model)
    found = []
    for photo, prior in model.priors.items():
        if photo in pose_at:
            weight = _pose_weights(prior)
            at = pose_at[photo] + np.arange(POSE)
            found.append((at, weight, weight * _off(bundle.poses[photo], prior.cam_from_world)))
    for number, known in model.lens_priors.items():
        names = [n for n in model.free_lens if n in known.sigma]
        if number in lens_at and names:
            at = lens_at[number] + np.array([list(model.free_lens).index(n) for n in names])
            weight = np.array([1.0 / known.sigma[n] for n in names])
            change = bundle.lenses[number].change_from(known.lens)
            found.append((at, weight, weight * np.array([change[n] for n in names])))
    return found


def _pose_weights(prior: PosePrior) -> Float[np.ndarray, " 6"]:
    """One over sigma, in the order of a pose's parameters."""
    turn, shift = np.radians(prior.sigma_deg), prior.sigma_centre
    return 1.0 / np.array([turn, turn, turn, shift, shift, shift])


def _off(pose: Rigid3, known: Rigid3) -> Float[np.ndarray, " 6"]:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(pose.R @ known.R.T).as_rotvec()
    return np.concatenate([turn, pose.centre - known.centre])


def _residuals(bundle: Bundle, rows: np.ndarray, white: np.ndarray) -> Float[np.ndarray, "a 2"]:
    """Whitened."""
    return _times(white[rows], residuals_px(bundle, rows)[..., None])[..., 0]


def residuals_px(bundle: Bundle, rows: Int[np.ndarray, " a"]) -> Float[np.ndarray, "a 2"]:
    """Projections less observations of rows of the bundle's table, pixels.

    Huge for a point behind its camera, so that no step goes there.
    """
    error = np.zeros((len(rows), 2))
    for photo in bundle.poses:
        mine = np.flatnonzero(bundle.tracks.photo[rows] == photo)
        uv, depth = bundle.project(photo, bundle.xyz[bundle.tracks.track[rows[mine]]])
        off = uv - bundle.tracks.uv[rows[mine]]
        error[mine] = np.where((depth > MIN_DEPTH)[:, None], off, 1e6)
    return error


def _times(white: Float[np.ndarray, "m 2 2"], x: Float[np.ndarray, "m 2 d"]) -> np.ndarray:
    """Products of many small matrices: written out, since NumPy's take five times as long."""
    w = white[..., None]
    return np.stack([w[:, 0, 0] * x[:, 0] + w[:, 0, 1] * x[:, 1],
                     w[:, 1, 0] * x[:, 0] + w[:, 1, 1] * x[:, 1]], 1)  # fmt: skip


def _derivatives(
    lens: Lens, local: Float[np.ndarray, "n 3"], free: Sequence[str]
) -> tuple[Float[np.ndarray, "n 2 3"], Float[np.ndarray, "n 2 k"]]:
    """Of the pixel by the point in the camera's frame, and by the free lens parameters."""
    depth = np.maximum(local[:, 2], MIN_DEPTH)
    xy = local[:, :2] / depth[:, None]
    by_local = np.zeros((len(local), 2, 3))
    by_local[:, 0, 0] = by_local[:, 1, 1] = 1.0
    by_local[:, :, 2] = -xy
    by_local /= depth[:, None, None]
    return lens.jacobian(xy) @ by_local, lens.jacobian_of(free, xy)


def _stepped(bundle: Bundle, e: Equations, model: Model, damping: float) -> Bundle | None:
    H, g, inverses, gradients, diagonal = reduced(bundle, e, model, damping=damping)
    H[np.diag_indices_from(H)] += damping * diagonal + 1e-12
    try:
        step = -np.linalg.solve(H, g) if e.size else np.zeros(0)
    except np.linalg.LinAlgError:
        return None
    xyz = bundle.xyz.copy()
    xyz[e.points] += point_steps(e.start, e.index, e.J, e.Jp, inverses, gradients, step)
    return moved(replace(bundle, xyz=xyz), model, step)


def moved(bundle: Bundle, model: Model, step: Float[np.ndarray, " k"]) -> Bundle | None:
    """The bundle after a step of poses and lenses; None when a lens becomes impossible."""
    from scipy.spatial.transform import Rotation

    pose_at, lens_at, _ = layout(bundle, model)
    poses = dict(bundle.poses)
    for photo, at in pose_at.items():
        R = Rotation.from_rotvec(step[at : at + 3]).as_matrix() @ poses[photo].R
        centre = poses[photo].centre + step[at + 3 : at + POSE]
        U, _, Vt = np.linalg.svd(R)
        poses[photo] = Rigid3(U @ Vt, -(U @ Vt) @ centre)
    lenses = list(bundle.lenses)
    for lens, at in lens_at.items():
        change = dict(zip(model.free_lens, step[at:], strict=False))
        if abs(change.get("focal", 0.0)) > 1.0:
            return None
        lenses[lens] = lenses[lens].shifted(change)
    return replace(bundle, poses=poses, lenses=tuple(lenses))
