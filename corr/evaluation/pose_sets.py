"""MegaDepth-1500 and ScanNet-1500 in their usual files, and any photos with `transforms.json`."""

from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from corr.errors import UserError
from corr.evaluation.pickled import read_npz
from corr.evaluation.sets import PairSet, PhotoFile, TruePair, required
from corr.geometry import Rigid3
from corr.geometry.overlap import shared_view
from corr.geometry.transforms_json import PosedPhoto, read_posed

MEGADEPTH_INFO = "megadepth_test_1500_scene_info"
SCANNET_SIZE = (640, 480)  # what its calibrations are for
SCANNET_SAMPLE = "scannet_sample_pairs_with_gt.txt"


def read_megadepth(root: Path) -> PairSet:
    """MegaDepth-1500: five `.npz` of scene infos, photos below `root` as they name them.

    Source: Sun et al., LoFTR, CVPR 2021 (the pairs); Li and Snavely, CVPR 2018 (the photos).
    """
    folder = root / MEGADEPTH_INFO if (root / MEGADEPTH_INFO).is_dir() else root
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UserError(f"no scene infos (*.npz) of MegaDepth-1500 in {folder}")
    pairs = [pair for file in files for pair in _megadepth_scene(file, root)]
    return PairSet("MegaDepth-1500", "pose", tuple(pairs), 1200, "long", 1500, 1e-4)


def _megadepth_scene(file: Path, root: Path) -> list[TruePair]:
    info = read_npz(file)
    try:
        paths, K, poses = info["image_paths"], info["intrinsics"], info["poses"]
        pairs = [tuple(int(i) for i in entry[0]) for entry in info["pair_infos"]]
        photos = {
            i: PhotoFile(str(paths[i]), required(root / str(paths[i]), "a photo"),
                         np.asarray(K[i], dtype=np.float64))
            for i in sorted({i for pair in pairs for i in pair})
        }  # fmt: skip
        cam_from_world = {i: _rigid(poses[i]) for i in photos}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{file} is no scene info of MegaDepth-1500 ({error!r})") from None
    return [
        TruePair(
            f"{file.stem}_{n:04d}", photos[a], photos[b],
            cam_from_world[b] @ cam_from_world[a].inverse(), group=file.stem,
        )
        for n, (a, b) in enumerate(pairs)
    ]  # fmt: skip


def _rigid(matrix: np.ndarray) -> Rigid3:
    """A pose whose file prints few digits: the nearest rotation is what was meant."""
    matrix = np.asarray(matrix, dtype=np.float64)
    U, _, Vt = np.linalg.svd(matrix[:3, :3])
    return Rigid3(U @ Vt, matrix[:3, 3])


def read_scannet(root: Path) -> PairSet:
    """ScanNet-1500: `test.npz`, `intrinsics.npz` and the scenes, or the list of 15 sample pairs.

    Sources: Dai et al., CVPR 2017; the pairs: Sarlin et al., SuperGlue, CVPR 2020.
    """
    if (root / SCANNET_SAMPLE).is_file():
        return _scannet_sample(root / SCANNET_SAMPLE, root)
    names = read_npz(required(root / "test.npz", "the list of ScanNet-1500's pairs"))["name"]
    calibration = read_npz(required(root / "intrinsics.npz", "ScanNet-1500's calibration"))
    photos: dict[str, tuple[PhotoFile, Rigid3]] = {}
    pairs = []
    for number, (scene, part, first, second) in enumerate(np.asarray(names).astype(int).tolist()):
        folder = f"scene{scene:04d}_{part:02d}"
        for stem in (first, second):
            if f"{folder}/{stem}" not in photos:
                photos[f"{folder}/{stem}"] = _scannet_photo(root, folder, stem, calibration)
        (a, a_from_w), (b, b_from_w) = (photos[f"{folder}/{s}"] for s in (first, second))
        pairs.append(
            TruePair(f"{number:04d}_{folder}_{first}_{second}", a, b, b_from_w @ a_from_w.inverse())
        )
    return PairSet("ScanNet-1500", "pose", tuple(pairs), 640, "long", 1500, 5e-4)


def _scannet_photo(
    root: Path, folder: str, stem: int, calibration: dict[str, np.ndarray]
) -> tuple[PhotoFile, Rigid3]:
    scene = next((p for p in (root, root / "scans_test", root / "test")
                  if (p / folder).is_dir()), root) / folder  # fmt: skip
    path = required(scene / "color" / f"{stem}.jpg", "a photo")
    if folder not in calibration:
        raise UserError(f"intrinsics.npz knows no {folder}")
    pose = required(scene / "pose" / f"{stem}.txt", "a pose")
    try:
        world_from_cam = _rigid(np.loadtxt(pose))
    except ValueError as error:
        raise UserError(f"{pose} is no 4 x 4 pose ({error})") from None
    return PhotoFile(f"{folder}/{stem}", path, _for_file(calibration[folder], path)), (
        world_from_cam.inverse()
    )


def _for_file(K: np.ndarray, path: Path) -> np.ndarray:
    """A calibration of 640 x 480 for a file of any size."""
    with PilImage.open(path) as file:
        scale = np.array(file.size) / SCANNET_SIZE
    return np.diag([*scale, 1.0]) @ np.asarray(K, dtype=np.float64)[:3, :3]


def _scannet_sample(file: Path, root: Path) -> PairSet:
    pairs = []
    for number, line in enumerate(filter(str.strip, file.read_text().splitlines())):
        words = line.split()
        try:
            numbers = np.array([float(w) for w in words[-34:]])
            K_a, K_b = numbers[:9].reshape(3, 3), numbers[9:18].reshape(3, 3)
            b_from_a = _rigid(numbers[18:].reshape(4, 4))
        except ValueError as error:
            raise UserError(f"{file}:{number + 1} is no pair with its truth ({error})") from None
        paths = [required(root / w, "a photo") for w in words[:2]]
        a, b = (PhotoFile(w, p, _for_file(K, p))
                for w, p, K in zip(words, paths, (K_a, K_b), strict=False))  # fmt: skip
        pairs.append(TruePair(f"{number:04d}_{paths[0].stem}_{paths[1].stem}", a, b, b_from_a))
    return PairSet(
        "ScanNet sample", "pose", tuple(pairs), 640, "long", 0, 5e-4,
        ("the 15 sample pairs that come with SuperGlue, not the 1500 of the benchmark",),
    )  # fmt: skip


def read_posed_folder(root: Path, *, min_overlap: float, most_pairs: int) -> PairSet:
    """Pairs with overlap of any photos whose cameras are known (`transforms.json`).

    No depth is known: what two cameras share is judged on a sphere's worth of depth around the
    point that all of them look at.

    Args:
        root: Folder of `transforms.json`, or the file.
        min_overlap: Least share of each photo that the other one sees, 0 … 1.
        most_pairs: Evenly chosen; 0 = all.
    """
    file = root / "transforms.json" if root.is_dir() else root
    posed = read_posed(file)
    if len(posed) < 2:
        raise UserError(f"{file} names fewer than two photos that exist")
    overlap = shared_view([p.camera for p in posed], [p.cam_from_world for p in posed])
    pairs = [
        (i, j) for i in range(len(posed)) for j in range(i + 1, len(posed))
        if min(overlap[i, j], overlap[j, i]) >= min_overlap
    ]  # fmt: skip
    if most_pairs and len(pairs) > most_pairs:
        pairs = [pairs[k] for k in np.linspace(0, len(pairs) - 1, most_pairs).round().astype(int)]
    if not pairs:
        raise UserError(f"no two photos of {file} share {min_overlap:.0%}; lower two_view.overlap")
    photos = [_photo(p) for p in posed]
    found = [
        TruePair(
            f"{p.path.stem}--{q.path.stem}", photos[i], photos[j],
            q.cam_from_world @ p.cam_from_world.inverse(),
        )
        for i, j in pairs
        for p, q in [(posed[i], posed[j])]
    ]  # fmt: skip
    return PairSet(
        file.parent.name, "pose", tuple(found), 1200, "long",
        notes=(f"{len(found)} pairs of {len(posed)} photos that share {min_overlap:.0%} or more, "
               f"judged from the cameras alone",),
    )  # fmt: skip


def _photo(posed: PosedPhoto) -> PhotoFile:
    return PhotoFile(posed.path.name, posed.path, posed.camera.K, posed.distortion)
