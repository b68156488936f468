"""3DMatch and 3DLoMatch: 433 depth-fused fragments of eight rooms, 1623 and 1781 pairs.

Two layouts are read. Ours keeps both benchmarks beside the scenes:
`<root>/<scene>/cloud_bin_N.ply`, `<root>/benchmarks/{3DMatch,3DLoMatch}/<scene>/gt.log`. The
official download has `<root>/<scene>/cloud_bin_N.ply` and `<root>/<scene>-evaluation/gt.log`.
A record (i, j) of `gt.log` maps fragment j into i, so j is the source.

Source: Zeng et al., CVPR 2017; Huang et al. (PREDATOR), CVPR 2021.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from corr.errors import UserError
from registration.datasets.benchmark import Benchmark, FragmentPair, Scene
from registration.datasets.logs import read_overlaps, read_poses, read_records

SCENES = (
    "7-scenes-redkitchen",
    "sun3d-home_at-home_at_scan1_2013_jan_1",
    "sun3d-home_md-home_md_scan9_2012_sep_30",
    "sun3d-hotel_uc-scan3",
    "sun3d-hotel_umd-maryland_hotel1",
    "sun3d-hotel_umd-maryland_hotel3",
    "sun3d-mit_76_studyroom-76-1studyroom2",
    "sun3d-mit_lab_hj-lab_hj_tea_nov_2_2012_scan1_erika",
)
FOLDERS = {"3dmatch": "3DMatch", "3dlomatch": "3DLoMatch"}
VOXEL_M = 0.05
_FRAGMENT = re.compile(r"cloud_bin_(\d+)\.ply$")


@dataclass(frozen=True)
class SceneFolders:
    """Where a scene's fragments and its truth lie."""

    name: str
    fragments: Path
    truth: Path


def read_3dmatch(root: Path, benchmark: str) -> Benchmark:
    """Read the scenes that are there.

    Args:
        root: Folder of the scenes.
        benchmark: `3dmatch` or `3dlomatch`.

    Raises:
        UserError: No scene is complete, or a file does not fit.
    """
    if not root.is_dir():
        raise UserError(f"data={root} is not a folder; it must hold <scene>/cloud_bin_0.ply, …")
    found, reasons = [], {}
    for name in _scene_names(root, benchmark):
        place = _locate(root, name, benchmark)
        if isinstance(place, str):
            reasons[name] = place
        else:
            found.append(read_scene(place))
    if not found:
        raise UserError(_nothing(root, benchmark, reasons))
    missing = tuple(name for name in SCENES if name in reasons)
    return Benchmark(FOLDERS[benchmark], VOXEL_M, tuple(found), missing)


def _scene_names(root: Path, benchmark: str) -> list[str]:
    """The official scenes, then others that lie in the folder with truth beside them."""
    beside = {p.name.removesuffix("-evaluation") for p in root.glob("*-evaluation")}
    inside = {p.parent.name for p in root.glob(f"benchmarks/{FOLDERS[benchmark]}/*/gt.log")}
    return [*SCENES, *sorted((beside | inside) - set(SCENES))]


def _locate(root: Path, name: str, benchmark: str) -> SceneFolders | str:
    """The scene's folders, or what is missing."""
    candidates = [root / "benchmarks" / FOLDERS[benchmark] / name]
    if benchmark == "3dmatch":  # the official download knows only this one
        candidates.append(root / f"{name}-evaluation")
    fragments = root / name
    if not any(fragments.glob("cloud_bin_*.ply")):
        return f"{fragments} has no cloud_bin_*.ply"
    truth = next((c for c in candidates if (c / "gt.log").is_file()), None)
    if truth is None:
        return f"no gt.log in {' or '.join(map(str, candidates))}"
    return SceneFolders(name, fragments, truth)


def _nothing(root: Path, benchmark: str, reasons: dict[str, str]) -> str:
    partial = [text for text in reasons.values() if "gt.log" in text]
    if partial:
        return f"no scene of {FOLDERS[benchmark]} is complete in {root}: {partial[0]}"
    return (
        f"{root} holds no scene of {FOLDERS[benchmark]}; expected e.g. "
        f"{root / SCENES[0]}/cloud_bin_0.ply; point data= at the folder of the scenes"
    )


def list_fragments(folder: Path) -> dict[int, Path]:
    """`{index: file}` of the `cloud_bin_N.ply` in a folder, by index."""
    found = {int(m[1]): p for p in folder.iterdir() if (m := _FRAGMENT.match(p.name))}
    return dict(sorted(found.items()))


def read_scene(place: SceneFolders) -> Scene:
    """One scene: its fragments and its pairs in the order of `gt.log`.

    Raises:
        UserError: A pair names a fragment that is not there, or the files do not fit together.
    """
    fragments = list_fragments(place.fragments)
    poses = read_poses(place.truth / "gt.log")
    info_file = place.truth / "gt.info"
    infos = read_records(info_file, 6) if info_file.is_file() else {}
    overlaps = read_overlaps(place.truth / "gt_overlap.log")
    absent = sorted({k for key in poses for k in key} - set(fragments))
    if absent:
        raise UserError(
            f"{place.fragments}: {len(absent)} fragments that gt.log names are missing "
            f"(cloud_bin_{absent[0]}.ply, …); copy the whole scene or remove its folder"
        )
    if infos and set(poses) - set(infos):
        i, j = sorted(set(poses) - set(infos))[0]
        raise UserError(f"{info_file} has no matrix for {i} {j}; it belongs to another gt.log")
    pairs = [
        FragmentPair(
            place.name, source=j, target=i, target_from_source=pose,
            info=infos.get((i, j)), overlap=overlaps.get((i, j), float("nan")), row=row,
        )
        for row, ((i, j), pose) in enumerate(poses.items())
    ]  # fmt: skip
    return Scene(place.name, fragments, tuple(pairs))
