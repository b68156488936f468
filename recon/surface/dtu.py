"""The protocol by which surfaces are scored on the DTU MVS data, for users who have the data.

Source: Jensen et al., CVPR 2014, and the evaluation code that comes with the data; its Python
form is in common use for neural and splat surfaces. Sampling and thinning here draw from a seeded
generator, so that a repeated score is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from corr.errors import UserError
from recon.scene import View
from recon.surface.compare import Comparison, nearest
from recon.surface.depth_maps import pixel_values
from recon.surface.mesh import Mesh
from recon.surface.metrics import mesh_samples
from recon.surface.truth import Truth
from recon.surface.tsdf import Box

_OVERSAMPLED = 4.0  # samples per spacing squared before thinning
_MOST_SAMPLES = 12_000_000


@dataclass
class Dtu:
    """Files and numbers of the DTU protocol; lengths in mm."""

    obs_mask: str = ""  # ObsMask<scan>_10.mat: where the scanner looked
    plane: str = ""  # Plane<scan>.mat: only true points above it count
    masks: str = (
        ""  # folder of object masks named like the true cameras' photos; empty = no culling
    )
    dilate_px: int = 24  # the masks grow by a disk of this radius before they cull
    spacing: float = 0.2  # mm between samples of the mesh
    patch: float = 60.0  # mm by which the observed box grows for completeness
    max_distance: float = 20.0  # mm; farther pairs are left out of the means

    def __post_init__(self):
        for name in ("spacing", "max_distance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"dtu.{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Observed:
    """The scanner's observation mask and the table's plane."""

    mask: Bool[np.ndarray, "x y z"]
    low: Float[np.ndarray, " 3"]
    high: Float[np.ndarray, " 3"]
    resolution: float  # mm per cell
    plane: Float[np.ndarray, " 4"]  # above where plane . (x, y, z, 1) > 0

    def near(self, xyz: Float[np.ndarray, "n 3"], patch: float) -> Bool[np.ndarray, " n"]:
        """Within the box, grown by one patch below and two above as the protocol does."""
        return np.asarray(((xyz >= self.low - patch) & (xyz < self.high + 2 * patch)).all(axis=1))

    def seen(self, xyz: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Within a cell that the scanner observed."""
        cell = np.rint((xyz - self.low) / self.resolution).astype(np.int64)
        inside = ((cell >= 0) & (cell < self.mask.shape)).all(axis=1)
        out = np.zeros(len(xyz), dtype=bool)
        out[inside] = self.mask[tuple(cell[inside].T)]
        return out

    def above(self, xyz: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """On the upper side of the table."""
        return np.asarray(xyz @ self.plane[:3] + self.plane[3] > 0)


def read_observed(options: Dtu) -> Observed:
    """The two MATLAB files.

    Raises:
        UserError: One is not given, missing, or lacks what it should hold.
    """
    mask = _matlab(options.obs_mask, "dtu.obs_mask", ("ObsMask", "BB", "Res"))
    plane = _matlab(options.plane, "dtu.plane", ("P",))
    box = np.asarray(mask["BB"], np.float64).reshape(2, 3)
    return Observed(
        np.asarray(mask["ObsMask"]).astype(bool),
        box[0],
        box[1],
        float(np.asarray(mask["Res"]).ravel()[0]),
        np.asarray(plane["P"], np.float64).ravel(),
    )


def _matlab(path: str, option: str, names: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path:
        raise UserError(f"protocol=dtu needs {option}=<file>, as it comes with the DTU data")
    try:
        found = loadmat(Path(path).expanduser())
    except (OSError, ValueError, NotImplementedError, TypeError, MatReadError) as error:
        raise UserError(f"{option}: {path} cannot be read ({error})") from None
    missing = [n for n in names if n not in found]
    if missing:
        raise UserError(f"{option}: {path} lacks {', '.join(missing)}")
    return found


def culled(
    mesh: Mesh, views: Mapping[str, View], masks: Mapping[str, np.ndarray], dilate_px: int
) -> Mesh:
    """Without the faces that have a vertex outside the grown mask of any view that holds it.

    Args:
        mesh: In the cameras' world.
        views: True cameras by photo name.
        masks: Object masks (h w bool) by photo name, of the cameras' size.
        dilate_px: Radius of the disk.
    """
    from recon.surface.clean import drop_unused

    keep = np.ones(len(mesh.vertices), dtype=bool)
    for name, mask in masks.items():
        view = views[name]
        uv, z = view.camera.project(view.cam_from_world.apply(mesh.vertices))
        size = np.array([view.camera.width, view.camera.height])
        inside = (z > 0) & (uv >= 0).all(axis=1) & (uv < size).all(axis=1)
        grown = _dilated(mask, dilate_px)
        keep &= ~inside | pixel_values(grown[..., None], uv)[:, 0]
    faces = mesh.faces[keep[mesh.faces].all(axis=1)]
    vertices, faces = drop_unused(mesh.vertices, faces)
    return Mesh(vertices, faces, np.full((len(vertices), 3), 128, np.uint8))


def _dilated(mask: Bool[np.ndarray, "h w"], radius: int) -> Bool[np.ndarray, "h w"]:
    """All pixels within `radius` of the mask: an exact disk, by the distance transform."""
    from scipy.ndimage import distance_transform_edt

    if radius <= 0 or mask.all():
        return mask.astype(bool)
    if not mask.any():
        return np.zeros_like(mask, dtype=bool)
    return distance_transform_edt(~mask.astype(bool)) <= radius


def dtu_comparison(
    mesh: Mesh, truth: Truth, observed: Observed, options: Dtu, *, seed: int
) -> Comparison:
    """Distances as the protocol takes them.

    Accuracy: samples in observed cells to all scanned points. Completeness: scanned points above
    the table to all samples in the grown box.

    Raises:
        UserError: No part of the mesh lies where the scanner looked.
    """
    count = _OVERSAMPLED * float(mesh.face_areas.sum()) / options.spacing**2
    if count > _MOST_SAMPLES:
        raise UserError(
            f"the mesh's area asks for {count:.2g} samples {options.spacing} mm apart; is it in "
            "mm and in the scans' frame? Give cameras=… and solved=…, or a larger dtu.spacing"
        )
    samples, normals = mesh_samples(mesh, count=int(np.ceil(count)), seed=seed)
    kept = thinned(samples, options.spacing, seed=seed)
    samples, normals = samples[kept], normals[kept]
    near = observed.near(samples, options.patch)
    samples, normals = samples[near], normals[near]
    seen = observed.seen(samples)
    if not seen.any():
        raise UserError(
            "no part of the mesh lies where the scanner looked; is it in the scans' frame?"
        )
    target = truth.select(observed.above(truth.xyz))
    to_truth, sample_cos = nearest(samples[seen], normals[seen], truth.xyz, truth.normals)
    to_mesh, truth_cos = nearest(target.xyz, target.normals, samples, normals)
    return Comparison(
        samples[seen], to_truth, sample_cos, target, to_mesh, truth_cos,
        Box.around(truth.xyz, percentile=0.5).diagonal, 1.0 - seen.sum() / kept.sum(),
    )  # fmt: skip


def thinned(xyz: Float[np.ndarray, "n 3"], spacing: float, *, seed: int) -> Bool[np.ndarray, " n"]:
    """Which points to keep so that no two are nearer than `spacing`: greedy, in random order."""
    from recon.surface.kernels import thin

    cell = np.floor((xyz - xyz.min(axis=0)) / spacing).astype(np.int64)
    shape = cell.max(axis=0) + 3
    key = _key(cell + 1, shape)
    order = np.argsort(key, kind="stable")
    cells, start = np.unique(key[order], return_index=True)
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    offsets = _key(steps, shape)
    wanted = cells[:, None] + offsets
    index = np.searchsorted(cells, wanted)
    index = np.where(cells[np.minimum(index, len(cells) - 1)] == wanted, index, -1)
    turn = np.random.default_rng(seed).permutation(len(xyz))
    return thin(
        xyz, np.searchsorted(cells, key), order, np.append(start, len(xyz)), index, turn, spacing**2
    )


def _key(cell: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return (cell[:, 0] * shape[1] + cell[:, 1]) * shape[2] + cell[:, 2]


def read_masks(folder: Path, views: Mapping[str, View]) -> dict[str, np.ndarray]:
    """Object masks (h w bool) of the true cameras' photos, by photo name; grey above 127 counts.

    Raises:
        UserError: There is not one, or one has another size than its camera.
    """
    from PIL import Image as PilImage

    stems = {p.stem: p for p in sorted(folder.glob("*")) if p.is_file()}
    masks = {}
    for name, view in views.items():
        path = stems.get(Path(name).stem) or stems.get(name)
        if path is None:
            continue
        with PilImage.open(path) as file:
            mask = np.asarray(file.convert("L")) > 127
        if mask.shape != (view.camera.height, view.camera.width):
            raise UserError(
                f"{path} is {mask.shape[1]}x{mask.shape[0]}, its camera "
                f"{view.camera.width}x{view.camera.height}"
            )
        masks[name] = mask
    if not masks:
        raise UserError(f"{folder} holds no mask named like a photo of the true cameras")
    return masks
