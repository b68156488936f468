"""nerfstudio's `transforms.json`: cameras that nerfstudio, gsplat's trainers and Brush read.

Frames there are camera-to-world with OpenGL axes (x right, y up, z back); ours are `cam_from_world`
with OpenCV axes. The world is left as it is, so the poses fit the other exported files.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.geometry import Camera, Rigid3
from recon.scene import View

_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])


def opengl_world_from_cam(cam_from_world: Rigid3) -> Float[np.ndarray, "4 4"]:
    """The 4x4 camera-to-world matrix with OpenGL camera axes."""
    world_from_cam = cam_from_world.inverse().matrix
    world_from_cam[:3, :3] = world_from_cam[:3, :3] @ _OPENCV_FROM_OPENGL
    return world_from_cam


def write_transforms(
    path: str | Path,
    views: Sequence[View],
    image_folder: str = "images",
    *,
    ply_file_path: str | None = None,
    mask_folder: str | None = None,
) -> None:
    """Write the cameras with per-frame intrinsics (pinhole, photos already undistorted).

    Args:
        path: Where to write; paths inside the file are relative to its folder.
        views: Cameras to write, one frame each.
        image_folder: Folder of the photos; the file name is `view.name`.
        ply_file_path: Point cloud to start from, same frame.
        mask_folder: Folder of masks named `<view.name>.png`, where there are any.
    """
    frames = []
    for view in views:
        K = view.camera.K
        frame: dict[str, object] = {
            "file_path": f"{image_folder}/{view.name}",
            "w": view.camera.width,
            "h": view.camera.height,
            "fl_x": float(K[0, 0]),
            "fl_y": float(K[1, 1]),
            "cx": float(K[0, 2]),
            "cy": float(K[1, 2]),
            "transform_matrix": opengl_world_from_cam(view.cam_from_world).tolist(),
        }
        if mask_folder is not None:
            frame["mask_path"] = f"{mask_folder}/{view.name}.png"
        frames.append(frame)
    content: dict[str, object] = {"camera_model": "OPENCV"}
    content |= dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)
    if ply_file_path is not None:
        content["ply_file_path"] = ply_file_path
    content["frames"] = frames
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_transforms(path: str | Path) -> tuple[View, ...]:
    """The views of a `transforms.json`; intrinsics may be shared or per frame.

    `View.name` is the file name without its folder.

    Raises:
        ValueError: The file states lens distortion, which a `View` cannot hold.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    views = []
    for frame in content["frames"]:
        values = {**content, **frame}
        if any(values.get(k, 0.0) != 0.0 for k in ("k1", "k2", "k3", "k4", "p1", "p2")):
            raise ValueError(f"{path}: {frame['file_path']} has lens distortion; undistort first")
        K = np.array(
            [
                [values["fl_x"], 0.0, values["cx"]],
                [0.0, values.get("fl_y", values["fl_x"]), values["cy"]],
                [0.0, 0.0, 1.0],
            ]
        )
        world_from_cam = np.array(values["transform_matrix"], dtype=np.float64)
        world_from_cam[:3, :3] = world_from_cam[:3, :3] @ _OPENCV_FROM_OPENGL
        views.append(
            View(
                Path(frame["file_path"]).name,
                Camera(int(values["w"]), int(values["h"]), K),
                Rigid3.from_matrix(world_from_cam).inverse(),
            )
        )
    return tuple(views)
