"""The dense matcher against its bars: two-view pose, dense truth, own scenes, time and memory.

`python -m tests.benchmarks.dense_matching` runs all on the real photos of $CORR_DATA (evaluation
only) and on made scenes of held-out seeds; `--help` tells how to pick and thin.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image as PilImage
from tqdm import tqdm

from corr.matchers.dense.data.pairs import PairOptions, PairSource
from corr.matchers.dense.matcher import DenseMatcher
from corr.matchers.dense.training.validation import validate
from corr.matchers.xfeat import XFeatStar
from corr.matches import Matches
from corr.photo_input import prepare_photos
from corr.photos import Image
from corr.store import peak_memory_mb
from recon.camera_metrics import read_cameras

THRESHOLD_PX = 1.0  # Sampson error at 1000 px of the longer side, of the robust estimator
WIDEST_DEG = 65  # between the optical axes; wider pairs of the object sets see different sides
PARTS = ("time", "own", "warp", "pose")
POSE_SETS = ("fountain-P11", "temple-ring", "fox")
HELD_OUT_SEED = 77_000_001


def data_folder() -> Path:
    """Where the real photos lie."""
    return Path(os.environ.get("CORR_DATA", "../shared/data")).resolve()


def pose_pairs(name: str, every: int, folder: Path) -> tuple[list[Image], dict, list]:
    """Photos of a set, true views by name, and pairs whose axes are at most WIDEST_DEG apart."""
    source = data_folder() / "photos" / name
    views = read_cameras(source)
    images = [
        i
        for i in prepare_photos(source / "images", folder / name, max_side=1600).images
        if i.name in views
    ]
    if name == "fox":
        images = images[::4]
    pairs = []
    for a, b in combinations(range(len(images)), 2):
        axis_a, axis_b = (views[images[i].name].cam_from_world.R[2] for i in (a, b))
        if np.degrees(np.arccos(np.clip(axis_a @ axis_b, -1, 1))) < WIDEST_DEG:
            pairs.append((a, b))
    return images, views, pairs[::every]


def pinhole(name: str, uv: np.ndarray) -> np.ndarray:
    """Distorted pixels of a set to those of its pinhole; only fox has a lens model."""
    record = json.loads((data_folder() / "photos" / name / "transforms.json").read_text())
    if "k1" not in record:
        return uv
    import cv2

    K = np.array(
        [[record["fl_x"], 0, record["cx"]], [0, record["fl_y"], record["cy"]], [0, 0, 1.0]]
    )
    lens = np.array([record.get(k, 0.0) for k in ("k1", "k2", "p1", "p2")])
    return cv2.undistortPoints(uv[:, None], K, lens, P=K)[:, 0] if len(uv) else uv


def pose_error_deg(matches: Matches, a, b, name: str) -> float:
    """The larger of the errors of rotation and of the translation's direction; 180 = no pose."""
    import poselib

    if len(matches) < 5:
        return 180.0
    camera = [
        {
            "model": "PINHOLE",
            "width": v.camera.width,
            "height": v.camera.height,
            "params": [*v.camera.K[[0, 1], [0, 1]], *v.camera.K[:2, 2]],
        }
        for v in (a, b)
    ]
    limit = THRESHOLD_PX * max(a.camera.width, a.camera.height) / 1000
    pose, _ = poselib.estimate_relative_pose(
        pinhole(name, matches.uv_a),
        pinhole(name, matches.uv_b),
        *camera,
        {"max_epipolar_error": limit, "seed": 0},
        {},
    )
    true = b.cam_from_world @ a.cam_from_world.inverse()
    turn = np.degrees(np.arccos(np.clip((np.trace(pose.R @ true.R.T) - 1) / 2, -1, 1)))
    t, u = np.asarray(pose.t), true.t
    cosine = abs(t @ u) / (np.linalg.norm(t) * np.linalg.norm(u) + 1e-12)
    return float(max(turn, np.degrees(np.arccos(np.clip(cosine, 0, 1)))))


def area_under(errors: list[float], threshold: float) -> float:
    """Area under the recall curve up to a threshold, in per cent."""
    e = np.sort(errors)
    recall = (np.arange(len(e)) + 1) / len(e)
    last = int(np.searchsorted(e, threshold))
    x = np.r_[0, e[:last], threshold]
    y = np.r_[0, recall[:last], recall[last - 1] if last else 0]
    return float(100 * np.trapezoid(y, x) / threshold)


def two_view(matchers: dict, every: int) -> dict:
    """AUC at 5, 10 and 20 degrees by set and matcher."""
    found: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in POSE_SETS:
            images, views, pairs = pose_pairs(name, every, Path(folder))
            for label, matcher in matchers.items():
                errors, counts, start = [], [], perf_counter()
                every_pair = matcher.match_pairs(images, pairs)
                for (a, b), m in tqdm(every_pair, total=len(pairs), desc=f"{name} {label}"):
                    errors.append(
                        pose_error_deg(m, views[images[a].name], views[images[b].name], name)
                    )
                    counts.append(len(m))
                found[f"{name} {label}"] = {
                    "pairs": len(pairs),
                    **{f"auc{t}": area_under(errors, t) for t in (5, 10, 20)},
                    "matches": float(np.median(counts)),
                    "s_per_pair": (perf_counter() - start) / len(pairs),
                }
                print(name, label, found[f"{name} {label}"], flush=True)
    return found


def kitchen_pairs(every: int) -> Iterator[tuple[Path, Path, int]]:
    """Frames of redkitchen at distances of 4 to 40 frames."""
    frames = sorted((data_folder() / "rgbd" / "redkitchen").glob("*.color.png"))
    number = [int(f.name[6:12]) for f in frames]
    pairs = [
        (frames[i], frames[j], number[j] - number[i])
        for i, j in combinations(range(len(frames)), 2)
        if 4 <= number[j] - number[i] <= 40
    ]
    yield from pairs[::every]


def kitchen_truth(a: Path, b: Path) -> tuple[np.ndarray, np.ndarray]:
    """True positions in b of the pixels of a, h w 2, and which both frames see.

    The poses of the set drift: SIFT's inliers lie 0.4 px from the warp of given depth and poses
    at a distance of 4 frames and 5 px at 36. So the relative pose is fitted anew, per pair, to
    SIFT matches and a's depth; they then lie 0.4 to 0.9 px from it. SIFT is none of the
    compared methods.
    """
    K = np.loadtxt(a.parent / "camera-intrinsics.txt")
    depth = [_depth(Path(str(f).replace("color", "depth"))) for f in (a, b)]
    height, width = depth[0].shape
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    z = depth[0]
    # The intrinsics count from pixel corners (cx = 320 of 640), as we do.
    local = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], -1)
    R, t = fitted_pose(a, b, local, K)
    there = local @ R.T + t
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = there[..., :2] / there[..., 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
    xy = np.floor(np.nan_to_num(uv, nan=-1, posinf=-1, neginf=-1)).astype(int)
    inside = ((xy >= 0) & (xy < [width, height])).all(-1) & (z > 0) & (there[..., 2] > 0)
    seen = np.zeros_like(inside)
    at = depth[1][xy[inside][:, 1], xy[inside][:, 0]]
    seen[inside] = (at > 0) & (np.abs(at - there[..., 2][inside]) < 0.05 * at)
    return uv, seen


def fitted_pose(a: Path, b: Path, local: np.ndarray, K: np.ndarray) -> tuple:
    """Rotation and translation from a's camera to b's, from SIFT matches and a's depth."""
    import cv2

    sift = cv2.SIFT_create(6000)
    (key_a, des_a), (key_b, des_b) = (
        sift.detectAndCompute(cv2.imread(str(f), cv2.IMREAD_GRAYSCALE), None) for f in (a, b)
    )
    pairs = cv2.BFMatcher().knnMatch(des_a, des_b, k=2)
    found = [m for m, second in pairs if m.distance < 0.8 * second.distance]
    in_a = np.array([key_a[m.queryIdx].pt for m in found]) + 0.5
    in_b = np.array([key_b[m.trainIdx].pt for m in found]) + 0.5
    xyz = local[tuple(np.floor(in_a).astype(int).T[::-1])]
    known = xyz[:, 2] > 0
    xyz, in_b = xyz[known], in_b[known]
    cv2.setRNGSeed(0)
    _, turn, shift, inliers = cv2.solvePnPRansac(
        xyz, in_b, K, None, reprojectionError=4, iterationsCount=2000
    )
    good = inliers[:, 0]
    turn, shift = cv2.solvePnPRefineLM(xyz[good], in_b[good], K, None, turn, shift)
    return cv2.Rodrigues(turn)[0], shift[:, 0]


def _depth(file: Path) -> np.ndarray:
    raw = np.asarray(PilImage.open(file)).astype(np.float64)
    return np.where((raw == 0) | (raw == 65535), 0, raw / 1000)


def as_photo(file: Path) -> Image:
    """A file as a photo of its own size."""
    with PilImage.open(file) as opened:
        width, height = opened.size
    return Image(file.name, file, width, height, None, file, width, height)


def warp_of_dense(matcher: DenseMatcher, a: Path, b: Path) -> np.ndarray:
    """The dense field at full size, h w 2."""
    import cv2

    field, _ = matcher.warp(as_photo(a), as_photo(b))
    shift = field.uv_b - field.uv_a
    photo = as_photo(a)
    shift = cv2.resize(shift, (photo.width, photo.height), interpolation=cv2.INTER_LINEAR)
    return shift + _own(photo)


def warp_of_matches(matcher: XFeatStar, a: Path, b: Path) -> np.ndarray:
    """Matches interpolated linearly, outside their hull by the nearest."""
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

    photo = as_photo(a)
    m = next(iter(matcher.match_pairs([photo, as_photo(b)], [(0, 1)])))[1]
    if len(m) < 4:
        return np.full((photo.height, photo.width, 2), np.inf)
    place, shift = m.uv_a, m.uv_b - m.uv_a
    own = _own(photo)
    inner = LinearNDInterpolator(place, shift)(own)
    outer = NearestNDInterpolator(place, shift)(own)
    return own + np.where(np.isnan(inner), outer, inner)


def warp_of_flow(a: Path, b: Path) -> np.ndarray:
    """OpenCV's DIS flow, medium preset."""
    import cv2

    grey = [cv2.imread(str(f), cv2.IMREAD_GRAYSCALE) for f in (a, b)]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
    return flow.astype(np.float64) + _own(as_photo(a))


def _own(photo: Image) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(photo.width) + 0.5, np.arange(photo.height) + 0.5), -1)


def against_depth(dense: DenseMatcher, every: int) -> dict:
    """PCK at 1, 3 and 5 px in co-visible pixels, mean over pairs, and by frame distance."""
    sparse, table = XFeatStar(), []
    for a, b, distance in tqdm(list(kitchen_pairs(every)), desc="redkitchen"):
        truth, seen = kitchen_truth(a, b)
        row = {"distance": distance, "seen": float(seen.mean())}
        warps = {
            "dense": warp_of_dense(dense, a, b),
            "xfeat_star interpolated": warp_of_matches(sparse, a, b),
            "DIS flow": warp_of_flow(a, b),
        }
        for label, warp in warps.items():
            error = np.linalg.norm(warp - truth, axis=-1)[seen]
            row |= {f"{label} pck{k}": float((error < k).mean()) for k in (1, 3, 5)}
            row[f"{label} epe"] = float(np.median(error))
        table.append(row)
    names = [k for k in table[0] if k not in ("distance", "seen")]
    found = {"pairs": len(table), **{k: float(np.mean([r[k] for r in table])) for k in names}}
    for low, high in ((4, 12), (14, 26), (28, 40)):
        some = [r for r in table if low <= r["distance"] <= high]
        for label in ("dense", "xfeat_star interpolated", "DIS flow"):
            found[f"{label} pck3 at {low}-{high}"] = float(
                np.mean([r[f"{label} pck3"] for r in some])
            )
    return found


def own_scenes(dense: DenseMatcher, pairs: int) -> dict:
    """The training's measures on made scenes of a seed that no training used, 640 x 480."""
    source = PairSource(
        PairOptions(textures=96, flat_share=0.0, canvases=1),
        HELD_OUT_SEED,
        torch.device("cpu"),
        None,
    )
    return validate(dense._network, source, pairs=pairs, width=640, height=480, autocast=False)


def time_and_memory(dense: DenseMatcher) -> dict:
    """Seconds for a pair of 640 x 480 in both directions, both photos encoded anew."""
    frames = [as_photo(f) for f in list(next(kitchen_pairs(1)))[:2]]
    dense.warp(*frames)
    seconds, processor = [], []
    for _ in range(5):
        start, used = perf_counter(), os.times()
        dense.warp(*frames)
        seconds.append(perf_counter() - start)
        now = os.times()
        processor.append(now.user + now.system - used.user - used.system)
    return {
        "median_s": float(np.median(seconds)),
        "least_s": min(seconds),
        "processor_s": float(np.median(processor)),
        "threads": torch.get_num_threads(),
        "peak_mb": peak_memory_mb(),
    }


def main() -> None:
    """Run the parts and print their numbers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--every", type=int, default=1, help="only every n-th pair")
    parser.add_argument("--side", type=int, default=640, help="working size of dense, px")
    parser.add_argument("--weights", default="", help="safetensors; default the shipped ones")
    parser.add_argument("--scenes", type=int, default=16, help="pairs of made scenes")
    parser.add_argument("--out", type=Path, help="JSON file that keeps the numbers")
    given = parser.parse_args()
    dense = DenseMatcher(weights=given.weights, max_side=given.side)
    found: dict = {}
    if "time" in given.parts:
        found["time"] = time_and_memory(dense)
    if "own" in given.parts:
        found["own scenes"] = own_scenes(dense, given.scenes)
    if "warp" in given.parts:
        found["redkitchen"] = against_depth(dense, given.every)
    if "pose" in given.parts:
        found["pose"] = two_view({"dense": dense, "xfeat_star": XFeatStar()}, given.every)
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
