"""Cameras that the user brings: intrinsics, priors or exact poses, from the usual files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from corr.errors import UserError
from corr.geometry import Camera, Rigid3
from corr.geometry.transforms_json import read_transforms
from corr.photos import Image
from recon.poses.lens import MODELS, Lens

ALL = ""  # name under which a calibration without photos stands for every photo
SAME_ASPECT = 0.01  # relative; a lens of another aspect ratio is of another picture


@dataclass(frozen=True, eq=False)
class Given:
    """A camera as its file has it: lens in the pixels that the file is about, and the pose."""

    lens: Lens
    cam_from_world: Rigid3 | None  # None: the file is a calibration only


def read_given(path: Path) -> dict[str, Given]:
    """Cameras by photo name; a calibration of all photos stands under the name "".

    Understood are nerfstudio's and instant-ngp's `transforms.json`, a COLMAP model (folder, text or
    binary; also what MASt3R or VGGT export as one), OpenCV's calibration files (`camera_matrix` and
    `distortion_coefficients` in `.yml`, `.yaml`, `.xml` or `.json`) and a text file with the nine
    numbers of K.

    Raises:
        UserError: The file is none of these, or its lens is one that we do not have.
    """
    if path.is_dir():
        if (path / "transforms.json").is_file():
            return _transforms(path / "transforms.json")
        return _colmap(path)
    if not path.is_file():
        raise UserError(f"there are no cameras at {path}; correct poses.cameras")
    if path.suffix == ".txt":
        return {ALL: Given(_from_matrix(path), None)}
    if path.suffix == ".json" and '"frames"' in path.read_text():
        return _transforms(path)
    return {ALL: Given(_opencv(path), None)}


def for_photos(given: Mapping[str, Given], images: Sequence[Image]) -> dict[int, Given]:
    """The cameras of some photos by index, lenses in the photos' original pixels.

    A photo is found by its file name, else by its stem. A lens stated for another size of the same
    picture is scaled.

    Raises:
        UserError: A lens belongs to a picture of another shape.
    """
    by_name = {Path(name).name: camera for name, camera in given.items()}
    by_stem = {Path(name).stem: camera for name, camera in given.items() if name}
    found = {}
    for index, image in enumerate(images):
        stem = Path(image.name).stem
        camera = by_name.get(image.name) or by_stem.get(stem) or by_stem.get(image.name)
        camera = camera or given.get(ALL)
        if camera is not None:
            found[index] = replace(camera, lens=_for_size(camera.lens, image))
    return found


def _for_size(lens: Lens, image: Image) -> Lens:
    if lens.width <= 0:  # K alone does not say which size it is for
        return replace(lens, width=float(image.width), height=float(image.height))
    scale = image.width / lens.width
    if abs(image.height / lens.height / scale - 1) > SAME_ASPECT:
        raise UserError(
            f"poses.cameras states {lens.width:g}x{lens.height:g} px, {image.name} has "
            f"{image.width}x{image.height}: another shape (turned, or cropped?)"
        )
    return replace(lens.scaled(scale), width=float(image.width), height=float(image.height))


def _transforms(path: Path) -> dict[str, Given]:
    photos = read_transforms(path)
    _refuse_other_lenses(path)
    if not photos:
        raise UserError(f"{path} has no frames")
    for photo in photos:
        pose, K = photo.cam_from_world.matrix, photo.camera.K
        if not (np.isfinite(pose).all() and np.isfinite(K).all()):
            raise UserError(f"{path}: the camera of {photo.name} holds a number that is not finite")
    return {
        photo.path.name: Given(lens_of(photo.camera, photo.distortion), photo.cam_from_world)
        for photo in photos
    }


def _refuse_other_lenses(path: Path) -> None:
    """Lens models and coefficients that would be dropped silently."""
    record = json.loads(path.read_text())
    for values in (record, *record["frames"]):
        model = str(values.get("camera_model", "OPENCV"))
        more = [n for n in ("k3", "k4", "k5", "k6") if float(values.get(n) or 0.0) != 0.0]
        if model not in (*MODELS, "PERSPECTIVE") or more:
            what = f"a {model} camera" if model not in MODELS else f"distortion {', '.join(more)}"
            raise UserError(
                f"{path}: {what} is not understood; undistort first, or give k1 k2 p1 p2 of OPENCV"
            )


def lens_of(camera: Camera, distortion: Sequence[float] | None) -> Lens:
    """A pinhole camera with OpenCV's k1 k2 p1 p2 as a lens."""
    return _lens_of_K(camera.K, camera.width, camera.height, distortion or ())


def _colmap(path: Path) -> dict[str, Given]:
    import pycolmap

    inner = path / "sparse" / "0"
    folder = inner if inner.is_dir() else path
    try:
        model = pycolmap.Reconstruction(folder)
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"{path} holds neither transforms.json nor a COLMAP model ({error})"
        ) from None
    found = {}
    for number in model.reg_image_ids():
        image = model.images[number]
        camera = model.cameras[image.camera_id]
        if camera.model.name not in MODELS:
            raise UserError(
                f"{path}: {camera.model.name} cameras are not understood; undistort first (colmap "
                f"image_undistorter) or use one of {', '.join(MODELS)}"
            )
        w, h = float(camera.width), float(camera.height)
        blank = Lens(camera.model.name, w, h, 1.0, 0.0, 0.0)
        pose = Rigid3.from_matrix(image.cam_from_world().matrix())
        found[image.name] = Given(blank.with_params(camera.params), pose)
    return found


def _from_matrix(path: Path) -> Lens:
    try:
        numbers = np.array([float(w) for w in path.read_text().replace(",", " ").split()])
        return _lens_of_K(numbers.reshape(3, 3), 0, 0, ())
    except ValueError:
        raise UserError(
            f"{path} must hold the nine numbers of K with positive focal lengths, or be a "
            "transforms.json, a COLMAP model or an OpenCV calibration"
        ) from None


def _opencv(path: Path) -> Lens:
    import cv2

    try:
        file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    except (cv2.error, SystemError):
        raise UserError(
            f"{path} is neither a transforms.json nor an OpenCV calibration that can be read"
        ) from None
    matrices = [file.getNode(n).mat() for n in ("camera_matrix", "cameraMatrix", "K")]
    K = next((m for m in matrices if m is not None), None)
    if K is None:
        raise UserError(f"{path} has no camera_matrix; is it a calibration of OpenCV?")
    coefficients = file.getNode("distortion_coefficients").mat()
    if coefficients is None:
        coefficients = file.getNode("distCoeffs").mat()
    size = [file.getNode(n).real() for n in ("image_width", "image_height")]
    flat = [] if coefficients is None else coefficients.ravel().tolist()
    if any(flat[4:]):
        raise UserError(f"{path}: only k1 k2 p1 p2 are understood, it has {len(flat)} coefficients")
    try:
        return _lens_of_K(K, size[0], size[1], flat[:4])
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _lens_of_K(
    K: np.ndarray, width: float | int, height: float | int, distortion: Sequence[float]
) -> Lens:
    k1, k2, p1, p2 = [*distortion, 0.0, 0.0, 0.0, 0.0][:4]
    if not (K[0, 0] > 0 and K[1, 1] > 0):
        raise ValueError("focal lengths must be positive")
    lens = Lens(
        "OPENCV", float(width), float(height), float(K[0, 0]), float(K[0, 2]), float(K[1, 2]),
        k1, k2, p1, p2, float(K[1, 1] / K[0, 0]),
    )  # fmt: skip
    return lens if lens.distorted else lens.undistorted()
