"""Cameras in the `transforms.json` of nerfstudio and instant-ngp."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corr.errors import UserError
from corr.geometry.camera import Camera
from corr.geometry.rigid import Rigid3

# Camera axes: OpenGL x right, y up, z back; OpenCV x right, y down, z forward.
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])
SUFFIXES = ("", ".png", ".jpg", ".jpeg")  # renderings are named without one


@dataclass(frozen=True, eq=False)
class PosedPhoto:
    """A photo file with its true camera."""

    name: str  # as the file calls it, without folders
    path: Path  # where it should lie; it need not exist
    camera: Camera
    cam_from_world: Rigid3
    distortion: tuple[float, float, float, float] | None  # k1 k2 p1 p2; None: there is none


def read_transforms(path: Path) -> list[PosedPhoto]:
    """Every frame of the file; intrinsics may be global or per frame.

    Raises:
        UserError: The file is missing or lacks poses or a focal length.
    """
    try:
        record = json.loads(path.read_text())
        return [_frame({**record, **frame}, path.parent) for frame in record["frames"]]
    except FileNotFoundError:
        raise UserError(f"there are no true cameras at {path}; give cameras=<file>") from None
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a usable transforms.json ({error!r})") from None


def read_posed(path: Path) -> list[PosedPhoto]:
    """The frames whose photos exist, by name.

    Raises:
        UserError: As `read_transforms`.
    """
    found = {}
    for photo in read_transforms(path):
        for suffix in SUFFIXES:
            file = photo.path.with_name(photo.path.name + suffix)
            if file.is_file():
                found[file] = PosedPhoto(
                    file.name, file, photo.camera, photo.cam_from_world, photo.distortion
                )
                break
    return [found[file] for file in sorted(found)]


def _frame(values: Mapping[str, Any], folder: Path) -> PosedPhoto:
    world_from_gl = np.array(values["transform_matrix"], dtype=np.float64)
    # Files print few digits; the nearest rotation is what was meant.
    U, _, Vt = np.linalg.svd(world_from_gl[:3, :3])
    world_from_cam = Rigid3(U @ Vt @ OPENCV_FROM_OPENGL, world_from_gl[:3, 3])
    path = folder / values["file_path"]
    return PosedPhoto(
        path.name, path, _camera(values), world_from_cam.inverse(), _distortion(values)
    )


def _camera(values: Mapping[str, Any]) -> Camera:
    if "fl_x" in values:
        focal_x = float(values["fl_x"])
    elif "camera_angle_x" in values:
        # Renderings of the NeRF kind state no size; only the angle matters for poses.
        focal_x = 0.5 * float(values.get("w", 800)) / np.tan(0.5 * float(values["camera_angle_x"]))
    else:
        raise KeyError("fl_x or camera_angle_x")
    width = round(float(values.get("w", 800)))
    height = round(float(values.get("h", width)))
    cx, cy = float(values.get("cx", width / 2)), float(values.get("cy", height / 2))
    focal_y = float(values.get("fl_y", focal_x))
    return Camera(width, height, np.array([[focal_x, 0, cx], [0, focal_y, cy], [0, 0, 1.0]]))


def _distortion(values: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    k1, k2, p1, p2 = (float(values.get(name, 0.0)) for name in ("k1", "k2", "p1", "p2"))
    return (k1, k2, p1, p2) if any((k1, k2, p1, p2)) else None
