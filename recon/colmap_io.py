"""The COLMAP text model (`cameras.txt`, `images.txt`, `points3D.txt`), pinhole cameras only."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from corr.errors import UserError
from corr.geometry import Camera, Rigid3
from corr.store import write_atomic
from corr.tracks import Tracks
from recon.scene import Reconstruction, View

LEFT_OUT_FILE = "left_out.json"


def write_colmap(folder: Path, reconstruction: Reconstruction, *, name_suffix: str = "") -> None:
    """Write the model and, beside it, `left_out.json`.

    Numbers are written so that reading gives them back bit by bit (rotations: to 1e-15).

    Args:
        folder: Where to write; made if missing.
        reconstruction: What to write; observations are undistorted pixels, as COLMAP's.
        name_suffix: Appended to every photo name, e.g. `.png` for pictures saved as such.

    Source: https://colmap.github.io/format.html#text-format
    """
    folder.mkdir(parents=True, exist_ok=True)
    camera_lines: dict[str, int] = {}
    camera_ids = [
        camera_lines.setdefault(_camera_line(v.camera), len(camera_lines) + 1)
        for v in reconstruction.views
    ]
    cameras = [f"{number} {line}" for line, number in camera_lines.items()]
    write_atomic(
        folder / "cameras.txt", "\n".join(["# ID MODEL WIDTH HEIGHT PARAMS", *cameras, ""])
    )

    tracks = reconstruction.tracks
    images = ["# ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then X Y POINT3D_ID of every observation"]
    position = np.zeros(len(tracks.track), dtype=np.int64)  # of an observation in its photo
    for i, view in enumerate(reconstruction.views):
        rows = np.flatnonzero(tracks.image == i)
        position[rows] = np.arange(len(rows))
        pose = [*quaternion_wxyz(view.cam_from_world.R), *view.cam_from_world.t]
        images.append(f"{i + 1} {_text(pose)} {camera_ids[i]} {view.name}{name_suffix}")
        images.append(
            " ".join(f"{_text(tracks.uv[r])} {tracks.track[r] + 1}" for r in rows.tolist())
        )
    write_atomic(folder / "images.txt", "\n".join([*images, ""]))

    error = _reprojection_error(reconstruction)
    points = ["# ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX"]
    starts = np.searchsorted(tracks.track, np.arange(len(reconstruction.xyz_world) + 1))
    for p, (xyz, rgb) in enumerate(
        zip(reconstruction.xyz_world, reconstruction.rgb.tolist(), strict=True)
    ):
        rows = np.arange(starts[p], starts[p + 1])
        seen = " ".join(f"{tracks.image[r] + 1} {position[r]}" for r in rows)
        points.append(f"{p + 1} {_text(xyz)} {rgb[0]} {rgb[1]} {rgb[2]} {error[p]:.4f} {seen}")
    write_atomic(folder / "points3D.txt", "\n".join([*points, ""]))
    write_atomic(
        folder / LEFT_OUT_FILE, json.dumps(reconstruction.left_out, indent=1, ensure_ascii=False)
    )


def read_colmap(folder: Path) -> Reconstruction:
    """Read a text model; observations without a point are dropped, ids need not be dense.

    Raises:
        UserError: A file is missing, or a camera has distortion.
    """
    cameras = {}
    for line in _lines(folder / "cameras.txt"):
        if line.strip():
            number, *rest = line.split()
            cameras[int(number)] = _read_camera(rest, folder)
    rows = _lines(folder / "images.txt")
    views: list[View] = []
    observations: list[tuple[int, int, float, float]] = []
    index = 0
    while index < len(rows):
        if not rows[index].strip():
            index += 1
            continue
        _, *pose, camera, name = rows[index].split(maxsplit=9)
        R = rotation_from_wxyz(np.array(pose[:4], dtype=np.float64))
        views.append(View(name, cameras[int(camera)], Rigid3(R, np.array(pose[4:], float))))
        seen = rows[index + 1].split() if index + 1 < len(rows) else []
        for u, v, point in zip(seen[::3], seen[1::3], seen[2::3], strict=True):
            if int(point) >= 0:
                observations.append((int(point), len(views) - 1, float(u), float(v)))
        index += 2
    ids, xyz, rgb = [], [], []
    for line in _lines(folder / "points3D.txt"):
        if line.strip():
            values = line.split(maxsplit=8)
            ids.append(int(values[0]))
            xyz.append([float(x) for x in values[1:4]])
            rgb.append([int(x) for x in values[4:7]])
    dense = {point: i for i, point in enumerate(ids)}
    table = sorted((dense[p], i, u, v) for p, i, u, v in observations)
    columns = np.array(table, dtype=np.float64).reshape(-1, 4)
    left_out = folder / LEFT_OUT_FILE
    return Reconstruction(
        views=tuple(views),
        xyz_world=np.array(xyz, dtype=np.float64).reshape(-1, 3),
        rgb=np.array(rgb, dtype=np.uint8).reshape(-1, 3),
        tracks=Tracks(
            columns[:, 0].astype(np.int64),
            columns[:, 1].astype(np.int64),
            columns[:, 2:],
            tuple(view.name for view in views),
        ),
        left_out=json.loads(left_out.read_text()) if left_out.exists() else {},
    )


def quaternion_wxyz(R: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 4"]:
    """Unit quaternion of a rotation, w >= 0."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(R).as_quat()
    quaternion = np.array([w, x, y, z])
    return quaternion if w >= 0 else -quaternion


def rotation_from_wxyz(quaternion: Float[np.ndarray, " 4"]) -> Float[np.ndarray, "3 3"]:
    """Rotation of a quaternion of any length."""
    from scipy.spatial.transform import Rotation

    w, x, y, z = quaternion
    return Rotation.from_quat([x, y, z, w]).as_matrix()


def _text(values) -> str:
    return " ".join(repr(float(v)) for v in values)


def _camera_line(camera: Camera) -> str:
    K = camera.K
    return f"PINHOLE {camera.width} {camera.height} {_text([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])}"


def _read_camera(fields: list[str], folder: Path) -> Camera:
    model, width, height = fields[0], int(fields[1]), int(fields[2])
    values = [float(x) for x in fields[3:]]
    if model.startswith("SIMPLE_"):
        values.insert(1, values[0])
    fx, fy, cx, cy, *distortion = values
    known = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
    if model not in known or any(distortion):
        raise UserError(
            f"{folder / 'cameras.txt'}: a {model} camera has distortion; undistort the model first "
            "(colmap image_undistorter) so that all its cameras are PINHOLE"
        )
    return Camera(width, height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]))


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(f"no COLMAP text model in {path.parent}: {path.name} is missing") from None
    return [line for line in text.split("\n") if not line.startswith("#")]


def _reprojection_error(reconstruction: Reconstruction) -> Float[np.ndarray, " p"]:
    """Mean distance in pixels per point, as COLMAP's ERROR column."""
    tracks = reconstruction.tracks
    total = np.zeros(len(reconstruction.xyz_world))
    for i, view in enumerate(reconstruction.views):
        rows = tracks.image == i
        point = tracks.track[rows]
        uv, _ = view.camera.project(view.cam_from_world.apply(reconstruction.xyz_world[point]))
        np.add.at(total, point, np.linalg.norm(uv - tracks.uv[rows], axis=-1))
    count = np.bincount(tracks.track, minlength=len(total)) if len(tracks.track) else 0
    return total / np.maximum(count, 1)
