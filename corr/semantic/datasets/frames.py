"""Multi-view frames with depth: sequences of one object each, from which exact matches follow.

    <folder>/<category>/<sequence>/transforms.json

is nerfstudio's file: cameras, `file_path`, and of every frame `depth_file_path`: 16-bit PNG, depth
along the camera's axis in thousandths of the world's unit, 0 = unknown or not the object. Every
sequence has a world of its own; frames carry no key-points.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image as PilImage

from corr.errors import UserError
from corr.geometry.camera import Camera
from corr.geometry.rigid import Rigid3
from corr.geometry.transforms_json import read_transforms
from corr.semantic.datasets.base import Side

DEPTH_UNIT = 1e-3  # of the world's unit, nerfstudio's default


@dataclass(frozen=True, eq=False)
class DepthFrame:
    """A photo of an object with its camera and the object's depth.

    Args:
        side: The photo, without key-points; `mirrored` tells whether it is read flipped.
        camera: Of the photo as it is stored.
        cam_from_world: The same.
        depth_path: Of the depth map, as it is stored.
    """

    side: Side
    camera: Camera
    cam_from_world: Rigid3
    depth_path: Path

    @cached_property
    def depth(self) -> Float[np.ndarray, "h w"]:
        """World units along the camera's axis, not flipped; 0 = unknown or not the object.

        Raises:
            UserError: It cannot be read or has another size than the photo.
        """
        try:
            with PilImage.open(self.depth_path) as file:
                depth = np.asarray(file, dtype=np.float64) * DEPTH_UNIT
        except OSError as error:
            raise UserError(f"{self.depth_path} cannot be read ({error})") from None
        if depth.shape != (self.side.height, self.side.width):
            raise UserError(
                f"{self.depth_path} is {depth.shape[::-1]} pixels, its photo "
                f"{(self.side.width, self.side.height)}"
            )
        return depth


@dataclass(frozen=True, eq=False)
class Sequence:
    """Frames of one object that share a world."""

    name: str
    category: str
    frames: tuple[DepthFrame, ...]


def read_sequences(folder: Path) -> tuple[Sequence, ...]:
    """All sequences below a folder, by name.

    Raises:
        UserError: There is none, a file is no usable transforms.json, or a frame lacks its depth.
    """
    files = sorted(folder.glob("*/*/transforms.json"))
    if not files:
        raise UserError(
            f"no <category>/<sequence>/transforms.json below {folder}; data/README.md describes "
            "multi-view frames"
        )
    return tuple(_sequence(file) for file in files)


def _sequence(file: Path) -> Sequence:
    category, name = file.parent.parent.name, file.parent.name
    posed = read_transforms(file)
    records = json.loads(file.read_text())["frames"]
    frames = []
    for photo, record in zip(posed, records, strict=True):
        if photo.distortion or "depth_file_path" not in record:
            raise UserError(f"{file}: {photo.name} has no depth_file_path or a distorted lens")
        width, height = photo.camera.width, photo.camera.height
        side = Side(
            f"frames/{category}/{name}/{photo.name}", photo.path, width, height, np.zeros((0, 2))
        )
        depth = file.parent / record["depth_file_path"]
        frames.append(DepthFrame(side, photo.camera, photo.cam_from_world, depth))
    return Sequence(f"{category}/{name}", category, tuple(frames))
