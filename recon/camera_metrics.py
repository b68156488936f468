"""How far solved cameras are from true ones, after the best similarity between the two worlds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.geometry import Camera, Rigid3, Sim3, rotation_angle, umeyama
from corr.geometry.transforms_json import read_transforms as transforms_json
from recon.scene import View


@dataclass(frozen=True, eq=False)
class CameraScore:
    """Errors of the photos that both sides know, in the order of `names`.

    The extent that centre errors are relative to is the largest distance between two true centres.
    """

    names: tuple[str, ...]
    rotation_deg: Float[np.ndarray, " n"]
    centre_percent: Float[np.ndarray, " n"]  # of the extent
    extent: float  # in the true world's unit
    placed_share: float  # of the photos whose true camera is known
    true_from_world: Sim3 | None  # None for fewer than two common photos

    @property
    def median_rotation_deg(self) -> float:
        """Median rotation error, degrees."""
        return float(np.median(self.rotation_deg))

    @property
    def median_centre_percent(self) -> float:
        """Median centre error, percent of the extent."""
        return float(np.median(self.centre_percent))


def read_cameras(path: Path) -> dict[str, View]:
    """True cameras by photo name: nerfstudio's `transforms.json` or a COLMAP model, text or binary.

    Of a binary model only the poses matter; its lenses may be distorted.
    """
    if path.is_dir():
        if (path / "transforms.json").is_file():
            return read_transforms(path / "transforms.json")
        if (path / "images.bin").is_file() and not (path / "images.txt").is_file():
            return _read_binary(path)
        from recon.colmap_io import read_colmap

        return {view.name: view for view in read_colmap(path).views}
    return read_transforms(path)


def _read_binary(path: Path) -> dict[str, View]:
    import pycolmap

    try:
        model = pycolmap.Reconstruction(path)
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(f"{path} is no COLMAP model that can be read ({error})") from None
    views = {}
    for number in model.reg_image_ids():
        image = model.images[number]
        lens = model.cameras[image.camera_id]
        camera = Camera(lens.width, lens.height, lens.calibration_matrix())
        pose = Rigid3.from_matrix(image.cam_from_world().matrix())
        views[image.name] = View(image.name, camera, pose)
    return views


def read_transforms(path: Path) -> dict[str, View]:
    """Cameras of a nerfstudio / instant-ngp `transforms.json` by file name.

    Distortion is not represented, the poses are exact.

    Raises:
        UserError: The file is missing or lacks poses or a focal length.
    """
    return {p.name: View(p.name, p.camera, p.cam_from_world) for p in transforms_json(path)}


def score_cameras(views: Iterable[View], true_views: Mapping[str, View]) -> CameraScore:
    """Compare solved cameras to true ones; photos are matched by file name, else by its stem.

    Rotation errors are measured after the world rotation that fits all cameras best (a median
    rotation, so a wrong camera does not spoil the others); centre errors after the similarity
    that fits the centres best in the least-squares sense, without centres that lie more than 3
    medians off. Two cameras fix scale and, with their orientations, the rotation; their
    centre errors are then the direction error of the baseline.

    Raises:
        UserError: Not one solved photo has a true camera.
    """
    by_name = {Path(name).name: view for name, view in true_views.items()}
    by_stem = {Path(name).stem: view for name, view in true_views.items()}
    pairs = []
    for view in views:
        name = Path(view.name)  # our exports append .png to it: then it is the stem
        stems = by_stem.get(name.name) or by_stem.get(name.stem)
        found = by_name.get(name.name) or by_name.get(name.stem) or stems
        if found is not None:
            pairs.append((view, found))
    if not pairs:
        some = ", ".join(list(true_views)[:3])
        raise UserError(f"no placed photo has a true camera; the truth names {some}, …")
    true_R_world = _median_rotation(
        np.stack([t.cam_from_world.R.T @ v.cam_from_world.R for v, t in pairs])
    )
    rotation = [
        rotation_angle(v.cam_from_world.R @ true_R_world.T @ t.cam_from_world.R.T) for v, t in pairs
    ]
    centres = np.stack([v.cam_from_world.centre for v, _ in pairs])
    true_centres = np.stack([t.cam_from_world.centre for _, t in pairs])
    extent = _extent(true_centres)
    true_from_world = _align(centres, true_centres, true_R_world)
    error = np.full(len(pairs), np.nan)
    if true_from_world is not None:
        error = np.linalg.norm(true_from_world.apply(centres) - true_centres, axis=-1)
    return CameraScore(
        names=tuple(v.name for v, _ in pairs),
        rotation_deg=np.degrees(rotation),
        centre_percent=100 * error / max(extent, 1e-300),
        extent=extent,
        placed_share=len(pairs) / len(true_views),
        true_from_world=true_from_world,
    )


def _extent(centres: Float[np.ndarray, "n 3"]) -> float:
    return float(np.linalg.norm(centres[:, None] - centres[None], axis=-1).max())


def _align(
    centres: Float[np.ndarray, "n 3"],
    true_centres: Float[np.ndarray, "n 3"],
    true_R_world: Float[np.ndarray, "3 3"],
) -> Sim3 | None:
    if len(centres) < 2 or _extent(centres) == 0:
        return None
    fit = _scale_and_shift(centres, true_centres, true_R_world)
    for _ in range(2):
        error = np.linalg.norm(fit.apply(centres) - true_centres, axis=-1)
        keep = error <= 3 * np.median(error) + 1e-12
        try:
            fit = umeyama(centres[keep], true_centres[keep])
        except ValueError:  # two centres, or all on one line: the orientations fix the rest
            return _scale_and_shift(centres[keep], true_centres[keep], true_R_world)
    return fit


def _scale_and_shift(
    a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "n 3"], R: Float[np.ndarray, "3 3"]
) -> Sim3:
    """`b_from_a` with a given rotation; medians, so that a wrong centre does not spoil it."""
    i, j = np.triu_indices(len(a), 1)
    between_a = np.linalg.norm(a[i] - a[j], axis=-1)
    between_b = np.linalg.norm(b[i] - b[j], axis=-1)
    apart = between_a > 1e-9 * between_a.max()
    scale = float(np.median(between_b[apart] / between_a[apart]))
    return Sim3(max(scale, 1e-300), R, np.median(b - scale * a @ R.T, axis=0))


def _median_rotation(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "3 3"]:
    """Geodesic L1 median of rotations.

    Source: Hartley, Aftab, Trumpf, L1 rotation averaging using the Weiszfeld algorithm, CVPR 2011.
    """
    from scipy.spatial.transform import Rotation

    angles = [sum(rotation_angle(r @ other.T) for other in rotations) for r in rotations]
    R = rotations[int(np.argmin(angles))]
    for _ in range(20):
        steps = Rotation.from_matrix(rotations @ R.T).as_rotvec()
        weight = 1.0 / np.maximum(np.linalg.norm(steps, axis=-1), 1e-9)
        R = Rotation.from_rotvec((steps * weight[:, None]).sum(0) / weight.sum()).as_matrix() @ R
    return R
