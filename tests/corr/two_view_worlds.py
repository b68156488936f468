"""Small benchmarks in their official layouts, from the sample scene and from made-up planes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from tests.conftest import SAMPLE
from tests.corr.test_matchers import warp

PHOTOS = ("photo_04.jpg", "photo_05.jpg", "photo_06.jpg")
SHRINK = 2


def write_posed(root: Path) -> Path:
    """Three sample photos at half their size, with their true cameras."""
    record = json.loads((SAMPLE / "truth" / "transforms.json").read_text())
    (root / "images").mkdir(parents=True)
    frames = []
    for frame in record["frames"]:
        name = Path(frame["file_path"]).name
        if name not in PHOTOS:
            continue
        with PilImage.open(SAMPLE / "photos" / name) as photo:
            size = (photo.width // SHRINK, photo.height // SHRINK)
            photo.crop((0, 0, size[0] * SHRINK, size[1] * SHRINK)).resize(
                size, PilImage.Resampling.LANCZOS
            ).save(root / "images" / name, quality=95)
        whole = {**record, **frame}
        scaled = {k: whole[k] / SHRINK for k in ("fl_x", "fl_y", "cx", "cy") if k in whole}
        frames.append({"file_path": f"images/{name}", "transform_matrix": frame["transform_matrix"],
                       "w": size[0], "h": size[1], **scaled})  # fmt: skip
    (root / "transforms.json").write_text(json.dumps({"frames": frames}))
    return root


def write_planes(root: Path, texture) -> Path:
    """An Oxford affine set of one plane: six photos, five homographies."""
    folder = root / "wall"
    folder.mkdir(parents=True)
    rgb = texture(471, 313)
    PilImage.fromarray(rgb).save(folder / "img1.ppm")
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    for n in range(2, 7):
        angle = 0.03 * n
        c, s = np.cos(angle), np.sin(angle)
        H = np.array([[c, -s, 11.3 * n], [s, c, -6.7 * n], [1e-5 * n, 0, 1]])
        PilImage.fromarray(warp(rgb, H)).save(folder / f"img{n}.ppm")
        np.savetxt(folder / f"H1to{n}p", np.linalg.inv(half) @ H @ half)
    return root


def write_megadepth(root: Path, posed: Path) -> Path:
    """A MegaDepth-1500 of one scene: the posed photos, one of them missing from its lists."""
    from corr.geometry.transforms_json import read_posed

    photos = read_posed(posed / "transforms.json")
    paths = np.array([None, *(f"scene/{p.name}" for p in photos)], dtype=object)
    poses = np.array([None, *(p.cam_from_world.matrix for p in photos)], dtype=object)
    K = np.array([None, *(p.camera.K for p in photos)], dtype=object)
    pairs = np.empty(2, dtype=object)
    pairs[:] = [((1, 2), 0.2, None), ((1, 3), 0.3, None)]
    (root / "scene").mkdir(parents=True)
    (root / "megadepth_test_1500_scene_info").mkdir()
    for p in photos:
        (root / "scene" / p.name).write_bytes(p.path.read_bytes())
    np.savez(root / "megadepth_test_1500_scene_info" / "0015_0.1_0.3.npz", image_paths=paths,
             intrinsics=K, poses=poses, pair_infos=pairs)  # fmt: skip
    return root


def write_scannet(root: Path, posed: Path) -> Path:
    """A ScanNet-1500 of one pair; its calibration is for 640 x 480, as the official one is."""
    from corr.geometry.transforms_json import read_posed

    photos = read_posed(posed / "transforms.json")[:2]
    scene = root / "scene0707_00"
    for part in ("color", "pose"):
        (scene / part).mkdir(parents=True)
    for n, p in enumerate(photos):
        (scene / "color" / f"{15 * n}.jpg").write_bytes(p.path.read_bytes())
        np.savetxt(scene / "pose" / f"{15 * n}.txt", p.cam_from_world.inverse().matrix)
    camera = photos[0].camera
    K = np.diag([640 / camera.width, 480 / camera.height, 1.0]) @ camera.K
    np.savez(root / "intrinsics.npz", scene0707_00=K)
    np.savez(root / "test.npz", name=np.array([[707, 0, 0, 15]]))
    return root
