"""Two or three photos each in the layouts of PF-PASCAL, PF-WILLOW, AP-10K and of one's own.

The folders say what a test needs to know of the official ones; the photos are flat grey.
"""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from scipy.io import savemat


def photo(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.new("RGB", (width, height), (90, 90, 90)).save(path)


def table(path: Path, rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def pf_pascal(root: Path, *, in_table: bool) -> None:
    """Two bicycles; the second of three key-points is invisible in b."""
    inner = root / "PF-dataset-PASCAL"
    photo(inner / "JPEGImages" / "a.jpg", 61, 40)
    photo(inner / "JPEGImages" / "b.jpg", 45, 90)
    names = [f"PF-dataset-PASCAL/JPEGImages/{s}.jpg" for s in "ab"]
    head = ["source_image", "target_image", "class"]
    if in_table:
        table(root / "test_pairs.csv", [
            [*head, "XA", "YA", "XB", "YB"],
            [*names, 2, "1.5;3.5", "2.5;4.5", "10;30", "20;80"],
        ])  # fmt: skip
        return
    table(root / "test_pairs.csv", [head, [*names, 2]])
    folder = inner / "Annotations" / "bicycle"
    folder.mkdir(parents=True)
    box = np.array([[1, 2, 31, 82]], dtype=np.uint16)
    for stem, kps in (
        ("a", [[1.5, 2.5], [9, 9], [3.5, 4.5]]),
        ("b", [[10, 20], [np.nan, np.nan], [30, 80]]),
    ):
        savemat(folder / f"{stem}.mat", {"kps": np.array(kps), "bbox": box})


def pf_willow(root: Path, *, padded: bool = False) -> None:
    """Two cars; the target's key-points span 45 x 18 pixels."""
    inner = root / "PF-dataset"
    photo(inner / "car(S)" / "001.png", 101, 60)
    photo(inner / "car(S)" / "002.png", 97, 55)
    head = [f"{axis}{side}{k}" for side in "AB" for axis in "XY" for k in range(1, 11)]
    xb = [5.0 * k + 20 for k in range(10)]
    yb = [2.0 * k + 10 for k in range(10)]
    if padded:
        xb[9] = yb[9] = -1.0
    row = [*range(10, 20), *range(20, 30), *xb, *yb]
    names = [f"PF-dataset/car(S)/{n}.png" for n in ("001", "002")]
    table(root / "test_pairs.csv", [["imageA", "imageB", *head], [*names, *row]])


def ap10k(root: Path) -> None:
    """Two dogs, and two that share no labelled key-point."""

    def animal(name: str, seen: dict[int, tuple[int, int]]) -> None:
        photo(root / "JPEGImages" / f"{name}.jpg", 80, 50)
        flat = [0] * 51
        for k, (x, y) in seen.items():
            flat[3 * k : 3 * k + 3] = [x, y, 2]
        path = root / "ImageAnnotation" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"bbox": [10, 5, 40, 30], "keypoints": flat, "width": 80, "height": 50})
        )

    animal("Canidae/dog/1", {0: (12, 9), 5: (20, 21), 8: (31, 22)})
    animal("Canidae/dog/2", {0: (41, 11), 8: (33, 24)})
    animal("Canidae/dog/3", {16: (3, 4)})
    folder = root / "PairAnnotation" / "test"
    folder.mkdir(parents=True)
    for a, b in (("1", "2"), ("1", "3")):
        paths = {
            f"{which}_json_path": f"data/ap-10k/ImageAnnotation/Canidae/dog/{n}.json"
            for which, n in (("src", a), ("trg", b))
        }
        (folder / f"{a}-{b}:dog.json").write_text(json.dumps(paths))


OWN = {
    "photos": {
        "mugs/a.png": {"keypoints": {"rim": [10, 4], "left": [2.5, 20], "right": None}},
        "mugs/b.png": {"keypoints": {"rim": [30, 9], "left": [22, 31], "right": [40, 30]}},
    },
    "twins": {"mugs": [["left", "right"]]},
}


def own(root: Path, content: dict | None = None) -> None:
    photo(root / "mugs" / "a.png", 33, 44)
    photo(root / "mugs" / "b.png", 57, 41)
    (root / "keypoints.json").write_text(json.dumps(OWN if content is None else content))
