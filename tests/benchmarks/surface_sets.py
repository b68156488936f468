"""Six frames of 7-Scenes' red kitchen: photos, true cameras, and the sensor's depth as surface."""

import os
import shutil
from pathlib import Path

import numpy as np
import open3d as o3d
from PIL import Image as PilImage

from corr.geometry import Camera, Rigid3
from recon.options import RunOptions, SceneOptions
from recon.poses.solve import PoseSolver
from recon.scene import View
from recon.surface.truth import Truth

USED = ("000008", "000016", "000024", "000032", "000040", "000048")
VOXEL = 0.01  # m, of the thinned truth
FARTHEST = 3.5  # m; the sensor's error grows with the square of the distance


def data_folder() -> Path:
    """Where the real photos lie."""
    return Path(os.environ.get("CORR_DATA", "../shared/data")).resolve()


def kitchen(photos: Path) -> tuple[RunOptions, dict[str, View], Truth]:
    """Options of the run without poses, true cameras, and points that two frames agree on."""
    folder = data_folder() / "rgbd" / "redkitchen"
    K = np.loadtxt(folder / "camera-intrinsics.txt")
    photos.mkdir(parents=True, exist_ok=True)
    views, clouds = {}, []
    for pose in sorted(folder.glob("*.pose.txt")):
        stem = pose.name.removesuffix(".pose.txt")
        with PilImage.open(folder / f"{stem}.depth.png") as file:
            depth = np.asarray(file).astype(np.float64) / 1000
        camera = Camera(depth.shape[1], depth.shape[0], K)
        world_from_cam = np.loadtxt(pose)
        U, _, Vt = np.linalg.svd(world_from_cam[:3, :3])  # the file's digits are few
        cam_from_world = Rigid3(U @ Vt, world_from_cam[:3, 3]).inverse()
        if stem.removeprefix("frame-") in USED:
            shutil.copy(folder / f"{stem}.color.png", photos / f"{stem}.png")
            views[f"{stem}.png"] = View(f"{stem}.png", camera, cam_from_world)
        good = (depth > 0.1) & (depth < FARTHEST)
        row, column = np.nonzero(good)
        uv = np.stack([column, row], axis=1) + 0.5
        clouds.append(cam_from_world.inverse().apply(camera.unproject(uv, depth[good])))
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(np.concatenate(clouds)))
    cloud, _, members = cloud.voxel_down_sample_and_trace(
        VOXEL, cloud.get_min_bound(), cloud.get_max_bound()
    )
    xyz = np.asarray(cloud.points)[[len(m) >= 4 for m in members]]
    options = RunOptions(
        scene=SceneOptions(images=str(photos)), poses=PoseSolver(camera="pinhole", focal_px=585.0)
    )
    return options, views, Truth(xyz, None, VOXEL)
