"""A tiny data set of rendered cows in SPair-71k's layout: made in seconds, everything known.

    python -m corr.semantic.datasets.tiny FOLDER

The splits are disjoint by instance: a cow of the test split was never seen in training. Lists of
pairs lie in `Layout/small`; `size=small` reads them. `Frames` holds more views of the training cows
with depth and cameras, each cow in a world of its own, and no key-points (`frames.py`).
"""

import json
import sys
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from corr.geometry.transforms_json import OPENCV_FROM_OPENGL
from corr.semantic.datasets.frames import DEPTH_UNIT
from corr.semantic.datasets.tiny_render import Rendering, View, camera, make_cow, render

CATEGORY = "cow"
LEAST_COMMON = 3  # key-points that two photos must share to be a pair
KEYPOINTS = 30  # slots per photo in SPair's ImageAnnotation


@dataclass(frozen=True)
class TinySize:
    """How much is made."""

    instances: tuple[int, int, int] = (6, 2, 4)  # of trn, val, test
    views: int = 6  # photos per instance
    side_px: int = 187  # about the longer side of a photo
    frames: int = 12  # with depth, of every cow of trn


def write_tiny(root: Path, *, size: TinySize | None = None, seed: int = 0) -> int:
    """Write the data set below `root`; returns the number of pairs.

    The same seed writes the same key-points and, with the same Pillow, the same bytes.
    """
    size = size or TinySize()
    total, first = 0, 0
    for split, count in zip(("trn", "val", "test"), size.instances, strict=True):
        photos = [
            photo
            for instance in range(first, first + count)
            for photo in _instance(root, instance, size, seed)
        ]
        if split == "trn":
            for instance in range(count):
                _write_frames(root, instance, size, seed)
        first += count
        total += _write_pairs(root, split, photos)
    return total


def _instance(root: Path, instance: int, size: TinySize, seed: int) -> list[dict[str, Any]]:
    """Render one cow from all its viewpoints; the annotations of its photos."""
    rng = np.random.default_rng([seed, instance])
    cow = make_cow(rng)
    photos = []
    for k in range(size.views):
        view = _view(rng, k, size)
        name = f"{instance:03d}_{k:02d}"
        photo = render(cow, view, rng)
        photos.append(_write_photo(root, name, instance, view, photo))
    return photos


def _write_frames(root: Path, instance: int, size: TinySize, seed: int) -> None:
    """More views of a cow, none hidden by a post, in a world turned and scaled by chance."""
    cow = make_cow(np.random.default_rng([seed, instance]))
    rng = np.random.default_rng([seed, instance, 1])
    folder = root / "Frames" / CATEGORY / f"{instance:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    scale, shift = float(rng.uniform(0.7, 1.4)), rng.normal(size=3)
    records = []
    for k in range(size.frames):
        view = replace(_view(rng, k, replace(size, views=size.frames)), post=-1.0)
        photo = render(cow, view, rng)
        PilImage.fromarray(photo.rgb).save(folder / f"{k:02d}.jpg", quality=95)
        depth = np.rint(photo.depth * scale / DEPTH_UNIT).astype(np.uint16)
        PilImage.fromarray(depth).save(folder / f"{k:02d}_depth.png")
        R, eye = camera(view)
        world_from_cam = np.eye(4)
        world_from_cam[:3, :3] = turn @ R.T @ OPENCV_FROM_OPENGL
        world_from_cam[:3, 3] = scale * turn @ eye + shift
        cx, cy = np.array([view.width, view.height]) / 2 + view.shift_px
        records.append({
            "file_path": f"{k:02d}.jpg", "depth_file_path": f"{k:02d}_depth.png",
            "w": view.width, "h": view.height, "fl_x": view.focal_px, "cx": cx, "cy": cy,
            "transform_matrix": world_from_cam.tolist(),
        })  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps({"frames": records}, indent=1))


def _view(rng: np.random.Generator, k: int, size: TinySize) -> View:
    """The k-th viewpoint: all round the cow, both orientations of the photo, some hard."""
    long, short = size.side_px, int(size.side_px * rng.uniform(0.68, 0.85))
    width, height = (long, short) if k % 3 else (short, long)
    azimuth = 2 * np.pi * (k + rng.uniform(-0.3, 0.3)) / size.views
    focal = 0.9 * min(width, height) * rng.uniform(0.8, 1.4)
    return View(
        azimuth, rng.uniform(0.05, 0.5), 3.6, focal, width, height,
        shift_px=rng.uniform(-0.06, 0.06, 2) * [width, height],
        post=float(rng.uniform(0.2, 0.8)) if rng.random() < 0.2 else -1.0,
    )  # fmt: skip


def _write_photo(
    root: Path, name: str, instance: int, view: View, photo: Rendering
) -> dict[str, Any]:
    folders = {f: root / f / CATEGORY for f in ("JPEGImages", "ImageAnnotation", "Segmentation")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(photo.rgb).save(folders["JPEGImages"] / f"{name}.jpg", quality=95)
    mask = PilImage.fromarray(photo.mask.astype(np.uint8) * 255)
    mask.save(folders["Segmentation"] / f"{name}.png")
    rows, columns = np.flatnonzero(photo.mask.any(1)), np.flatnonzero(photo.mask.any(0))
    kps: dict[str, list[float] | None] = {str(k): None for k in range(KEYPOINTS)}
    # SPair counts pixels from 0, and its boxes from 1.
    kps |= {i: [round(float(c) - 0.5, 2) for c in uv]
            for i, uv in zip(photo.ids, photo.uv, strict=True)}  # fmt: skip
    annotation = {
        "filename": f"{name}.jpg", "image_width": view.width, "image_height": view.height,
        "category": CATEGORY, "pose": _pose(view.azimuth),
        "azimuth_id": round(view.azimuth / (np.pi / 4)) % 8, "instance": instance,
        "truncated": int(photo.truncated), "occluded": int(photo.occluded), "difficult": 0,
        "bndbox": [int(columns[0]) + 1, int(rows[0]) + 1, int(columns[-1]) + 1, int(rows[-1]) + 1],
        "kps": kps,
    }  # fmt: skip
    (folders["ImageAnnotation"] / f"{name}.json").write_text(json.dumps(annotation))
    return annotation


def _pose(azimuth: float) -> str:
    return ("Frontal", "Left", "Rear", "Right")[round(azimuth / (np.pi / 2)) % 4]


def _write_pairs(root: Path, split: str, photos: list[dict[str, Any]]) -> int:
    """All ordered pairs of photos of different cows that share enough key-points."""
    folder = root / "PairAnnotation" / split
    names: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    for a, b in permutations(photos, 2):
        common = [i for i, xy in a["kps"].items() if xy and b["kps"][i]]
        if a["instance"] == b["instance"] or len(common) < LEAST_COMMON:
            continue
        stems = [Path(p["filename"]).stem for p in (a, b)]
        name = f"{len(names) + 1:06d}-{stems[0]}-{stems[1]}:{CATEGORY}"
        (folder / f"{name}.json").write_text(json.dumps(_pair(len(names) + 1, name, a, b, common)))
        names.append(name)
    lists = root / "Layout" / "small"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
    return len(names)


def _pair(
    number: int, name: str, a: dict[str, Any], b: dict[str, Any], common: list[str]
) -> dict[str, Any]:
    sides = {"src": a, "trg": b}
    turn = abs(a["azimuth_id"] - b["azimuth_id"])
    turn = min(turn, 8 - turn)
    long = [max(p["bndbox"][2] - p["bndbox"][0], p["bndbox"][3] - p["bndbox"][1]) for p in (a, b)]
    ratio = max(long) / min(long)
    return {
        "pair_id": number, "filename": name, "category": CATEGORY, "kps_ids": common, "mirror": 0,
        **{f"{w}_imname": p["filename"] for w, p in sides.items()},
        **{f"{w}_imsize": [p["image_width"], p["image_height"], 3] for w, p in sides.items()},
        **{f"{w}_bndbox": p["bndbox"] for w, p in sides.items()},
        **{f"{w}_pose": p["pose"] for w, p in sides.items()},
        **{f"{w}_kps": [p["kps"][i] for i in common] for w, p in sides.items()},
        "viewpoint_variation": 0 if turn <= 1 else 1 if turn == 2 else 2,
        "scale_variation": 0 if ratio < 1.25 else 1 if ratio < 1.6 else 2,
        "truncation": a["truncated"] + 2 * b["truncated"],
        "occlusion": a["occluded"] + 2 * b["occluded"],
    }  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit("usage: python -m corr.semantic.datasets.tiny FOLDER")
    made = write_tiny(Path(sys.argv[1]))
    print(f"{made} pairs in {sys.argv[1]}; python -m corr eval benchmark=spair71k size=small …")
