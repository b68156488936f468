"""The scene of the GPU benchmark: made once with the CPU, read where the GPU is.

Reference cameras are kept as they are. Photos are undistorted to pinhole pictures of `HEIGHT`
pixels and kept as JPEG; every 8th is held out. What the two trainings start from comes from the
other photos alone: triangulated matches (the sparse points) and our seeds.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from corr.geometry import Camera, Rigid3
from corr.photos import Image
from recon.scene import View

HEIGHT = 960  # px: half of the photos' 1920
HOLD_OUT = 8  # every so many-th photo, the first one included
PAIRS_PER_PHOTO = 6
JPEG_QUALITY = 95
LEAST_TRACK = 3  # photos that must see a sparse point, unless two see it at 3 degrees or more


@dataclass(frozen=True, eq=False)
class GpuScene:
    """Pinhole pictures with cameras, and the points and seeds that the trainings start from."""

    train: tuple[View, ...]
    held: tuple[View, ...]
    pictures: dict[str, np.ndarray]  # uint8 h w 3
    masks: dict[str, np.ndarray]  # bool h w, True = use; absent: everything
    points_xyz: np.ndarray  # p 3
    points_rgb: np.ndarray  # p 3 uint8
    folder: Path  # holds what `Seeds.load` reads


def load_scene(folder: Path) -> GpuScene:
    """Read what `prepare` wrote."""
    from recon.export.points_ply import read_points
    from recon.workspace import load_pictures

    record = json.loads((folder / "cameras.json").read_text())
    views, held = [], []
    for entry in record:
        camera = Camera(entry["width"], entry["height"], np.array(entry["K"]))
        pose = Rigid3.from_matrix(np.array(entry["cam_from_world"]))
        (held if entry["held"] else views).append(View(entry["name"], camera, pose))
    pictures, masks = load_pictures(folder, [*views, *held], suffix=".jpg")
    xyz, rgb = read_points(folder / "points.ply")
    assert rgb is not None
    return GpuScene(tuple(views), tuple(held), pictures, masks, xyz, rgb, folder)


def prepare(source: Path, folder: Path, *, budget: int, depth_side: int, seed: int = 0) -> str:
    """Match, triangulate, seed and write the compact folder; what is there is not made again.

    Args:
        source: Folder with `transforms.json` and the photos it names.
        folder: Where the scene goes; working files go to `<folder>.work`.
        budget: Seeds on agreed surface points; those in holes come on top.
        depth_side: Longer side of the depth maps that the seeds come from, px.
        seed: Of everything random.
    """
    from corr.photo_input import list_photos, prepare_photos

    work = folder.with_name(folder.name + ".work")
    cameras = source / "transforms.json"
    names = [p.name for p in list_photos(source / "images")]
    held_names = set(names[::HOLD_OUT])
    chosen = [n for n in names if n not in held_names]
    images = prepare_photos(
        source / "images", work / "photos", max_side=HEIGHT, names=chosen
    ).images
    held = prepare_photos(
        source / "images", work / "held", max_side=HEIGHT, names=sorted(held_names)
    ).images
    reconstruction = _solved(cameras, images, work)
    folder.mkdir(parents=True, exist_ok=True)
    _write_pictures(folder, work / "cameras", reconstruction.views)
    held_views = _held_views(cameras, held, work / "cameras")
    _write_pictures(folder, work / "cameras", held_views)
    record = [_record(v, held=False) for v in reconstruction.views]
    record += [_record(v, held=True) for v in held_views]
    (folder / "cameras.json").write_text(json.dumps(record, indent=1))
    points = _write_points(folder, reconstruction)
    count = _write_seeds(folder, work / "cameras", reconstruction, budget, depth_side, seed)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    return (
        f"{len(reconstruction.views)} photos, {len(held_views)} held out, {points} sparse points, "
        f"{count} seeds; {size:.1f} MB in {folder}"
    )


def _solved(cameras: Path, images: Sequence[Image], work: Path):
    """Tracks triangulated from the reference cameras."""
    from corr.matchers.xfeat import XFeatStar
    from corr.matching import load_matches, match_photos
    from recon.colmap_io import read_colmap
    from recon.poses.solve import PoseSolver

    if not (work / "cameras" / "points3D.txt").exists():
        match_photos(images, XFeatStar(), work / "matches", _pairs(cameras, images))
        matches = load_matches(work / "matches")
        PoseSolver(cameras=str(cameras), use="known").solve(images, matches, work / "cameras")
    return read_colmap(work / "cameras")


def _pairs(cameras: Path, images: Sequence[Image]) -> list[tuple[int, int]]:
    """Pairs that share much of their view at an angle that depth can be measured from."""
    from corr.geometry.overlap import shared_view
    from recon.dense.neighbours import angle_weight, choose_neighbours
    from recon.poses.given import for_photos, read_given
    from recon.poses.undistort import pinhole_of

    given = for_photos(read_given(cameras), images)
    poses = [given[i].cam_from_world for i in range(len(images))]
    share = shared_view([pinhole_of(im, given[i].lens) for i, im in enumerate(images)], poses)
    axes = np.stack([p.R[2] for p in poses])
    weight = angle_weight(np.arccos(np.clip(axes @ axes.T, -1, 1)))
    near = choose_neighbours(np.minimum(share, share.T) * weight, PAIRS_PER_PHOTO)
    pairs = {(min(i, j), max(i, j)) for i, others in enumerate(near) for j in others}
    return sorted(pairs | {(i, i + 1) for i in range(len(images) - 1)})


def _held_views(cameras: Path, images: Sequence[Image], folder: Path) -> tuple[View, ...]:
    """Cameras of the held-out photos; their undistorted pictures go into the folder."""
    from recon.poses.given import for_photos, read_given
    from recon.poses.undistort import pinhole_of, save_picture, undistort_picture

    given = for_photos(read_given(cameras), images)
    views = []
    for i, image in enumerate(images):
        save_picture(folder, image.name, *undistort_picture(image, given[i].lens))
        views.append(View(image.name, pinhole_of(image, given[i].lens), given[i].cam_from_world))
    return tuple(views)


def _record(view: View, *, held: bool) -> dict:
    camera, pose = view.camera, view.cam_from_world.matrix.tolist()
    size = {"width": camera.width, "height": camera.height}
    K = camera.K.tolist()
    return {"name": view.name, **size, "K": K, "cam_from_world": pose, "held": held}


def _write_pictures(folder: Path, cameras: Path, views: Sequence[View]) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(exist_ok=True)
    for view in views:
        with PilImage.open(cameras / "images" / f"{view.name}.png") as file:
            path = folder / "images" / f"{view.name}.jpg"
            file.convert("RGB").save(path, quality=JPEG_QUALITY, subsampling=0)
        mask = cameras / "masks" / f"{view.name}.png"
        if mask.exists():
            shutil.copyfile(mask, folder / "masks" / mask.name)


def _write_points(folder: Path, reconstruction) -> int:
    """Sparse points as SfM would keep them: seen by three photos, or by two at a wide angle."""
    from recon.export.points_ply import write_points

    tracks, xyz = reconstruction.tracks, reconstruction.xyz_world
    length = np.bincount(tracks.track, minlength=len(xyz))
    centres = np.stack([v.cam_from_world.centre for v in reconstruction.views])
    first = np.searchsorted(tracks.track, np.arange(len(xyz)))
    last = first + length - 1
    a, b = (xyz - centres[tracks.image[row]] for row in (first, last))
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    keep = (length >= LEAST_TRACK) | (cosine < np.cos(np.radians(3.0)))
    write_points(folder / "points.ply", xyz[keep], reconstruction.rgb[keep])
    return int(keep.sum())


def _write_seeds(
    folder: Path, cameras: Path, reconstruction, budget: int, depth_side: int, seed: int
) -> int:
    from recon.splats.seeder import Seeder
    from recon.workspace import load_pictures

    pictures, masks = load_pictures(cameras, reconstruction.views)
    seeder = Seeder(budget=budget, max_side=depth_side)
    points = (folder / "points.ply").read_bytes()  # the seeder writes its own under this name
    seeds = seeder.seed(reconstruction, pictures, masks, folder, np.random.default_rng(seed))
    (folder / "points.ply").write_bytes(points)
    return len(seeds.gaussians)
