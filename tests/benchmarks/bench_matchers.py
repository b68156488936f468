"""Matchers against their bars: other people's code paths, seconds, memory.

`pytest -m benchmark -s tests/benchmarks/bench_matchers.py`; PAIRS=12 pairs of each posed set.
The pairs and their truth come from `$CORR_DATA`; timings and memory use made-up photos.
"""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from time import perf_counter, process_time

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from corr.evaluation.estimate import Seen
from corr.evaluation.pose_sets import read_posed_folder
from corr.evaluation.predict import as_image
from corr.evaluation.scores import AUC_AT, auc
from corr.geometry.epipolar import pose_error_deg
from corr.geometry.robust import relative_pose
from corr.matchers.aliked import AlikedLightGlue
from corr.matchers.disk import DiskLightGlue
from corr.matchers.efficient_loftr import CONVENTIONS
from corr.matchers.efficient_loftr.matcher import EfficientLoftrMatcher
from corr.matchers.xfeat import XFeatStar, load_xfeat
from corr.matches import Matches
from corr.photos import Image
from corr.weights import find_weights

pytestmark = pytest.mark.benchmark
PAIRS = int(os.environ.get("PAIRS", "12"))
SIDE, POINTS = 1024, 1024
SETS = ("fountain-P11", "temple-ring")


def network_photo(path: Path):
    """A photo as the authors' scripts give it to the network, and pixels per network pixel."""
    import torch

    rgb = np.asarray(PilImage.open(path).convert("RGB"))
    scale = min(1.0, SIDE / max(rgb.shape[:2]))
    size = tuple(round(s * scale) for s in rgb.shape[1::-1])
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    pixels = torch.tensor(small).permute(2, 0, 1)[None] / 255.0
    return pixels, np.array(rgb.shape[1::-1]) / size


def aliked_by_kornia(path: Path):
    import torch
    from kornia.feature import ALIKED

    net = ALIKED("aliked-n16", max_num_keypoints=POINTS, detection_threshold=0.0).eval()
    state = torch.load(find_weights("aliked-n16"), weights_only=True, map_location="cpu")
    net.load_state_dict(state, strict=False)
    pixels, px = network_photo(path)
    with torch.inference_mode():
        found = net(pixels)[0]
    return found.keypoints, found.descriptors, pixels.shape[-1:-3:-1], px


def disk_by_kornia(path: Path):
    import torch
    from kornia.feature import DISK

    net = DISK().eval()
    net.load_state_dict(
        torch.load(find_weights("disk"), weights_only=True, map_location="cpu")["extractor"]
    )
    pixels, px = network_photo(path)
    with torch.inference_mode():
        found = net(pixels, n=POINTS, pad_if_not_divisible=True)[0]
    return found.keypoints, found.descriptors, pixels.shape[-1:-3:-1], px


def lightglue_by_kornia(kind: str, monkeypatch):
    """Kornia's own constructor, whose download is answered from the file."""
    import kornia.feature.lightglue as module
    import torch

    file = find_weights(f"{kind}_lightglue")
    monkeypatch.setattr(
        module,
        "load_state_dict_from_url",
        lambda *_, **__: torch.load(file, weights_only=True, map_location="cpu"),
    )
    return module.LightGlue(kind).eval()


def sparse_by_kornia(kind: str, monkeypatch):
    """A function of two photo files: places in both, original pixels."""
    import torch

    describe = {"aliked": aliked_by_kornia, "disk": disk_by_kornia}[kind]
    head, kept = lightglue_by_kornia(kind, monkeypatch), {}

    def match(a: Path, b: Path) -> tuple[np.ndarray, np.ndarray]:
        sides = []
        for path in (a, b):
            if path not in kept:
                kept[path] = describe(path)
            keypoints, descriptors, size, _ = kept[path]
            sides.append({"keypoints": keypoints[None], "descriptors": descriptors[None],
                          "image_size": torch.tensor([list(size)])})  # fmt: skip
        with torch.inference_mode():
            pairs = head({"image0": sides[0], "image1": sides[1]})["matches"][0]
        return tuple(
            (kept[p][0][pairs[:, k]].numpy() + 0.5) * kept[p][3] for k, p in enumerate((a, b))
        )

    return match


def xfeat_star_by_kornia(kind: str, monkeypatch):
    import torch
    from kornia.feature import XFeat

    net = XFeat(top_k=8000)
    net.net.load_state_dict(
        torch.load(find_weights("xfeat"), weights_only=True, map_location="cpu")
    )
    net.eval()

    def match(a: Path, b: Path) -> tuple[np.ndarray, np.ndarray]:
        (pixels_a, px_a), (pixels_b, px_b) = network_photo(a), network_photo(b)
        uv_a, uv_b = net.match_xfeat_star(pixels_a, pixels_b)
        return (uv_a.numpy() + 0.5) * px_a, (uv_b.numpy() + 0.5) * px_b

    return match


CHECKS = [
    pytest.param(XFeatStar(max_side=SIDE), xfeat_star_by_kornia, "xfeat", id="xfeat_star"),
    pytest.param(AlikedLightGlue(max_side=SIDE, max_keypoints=POINTS), sparse_by_kornia, "aliked",
                 id="aliked"),
    pytest.param(DiskLightGlue(max_side=SIDE, max_keypoints=POINTS), sparse_by_kornia, "disk",
                 id="disk"),
]  # fmt: skip


@pytest.mark.data
@pytest.mark.weights
@pytest.mark.parametrize("folder", SETS)
@pytest.mark.parametrize(("matcher", "independent", "kind"), CHECKS)
def test_auc_is_that_of_the_same_weights_in_their_own_classes(
    data_dir, matcher, independent, kind, folder, monkeypatch
):
    """The same photos, the same threshold and PoseLib; only who runs the networks differs."""
    posed = read_posed_folder(data_dir / "photos" / folder, min_overlap=0.3, most_pairs=PAIRS)
    files = {p.name: p for pair in posed.pairs for p in (pair.a, pair.b)}
    number = {name: k for k, name in enumerate(files)}
    pairs = [(number[p.a.name], number[p.b.name]) for p in posed.pairs]
    ours = dict(matcher.match_pairs([as_image(f) for f in files.values()], pairs))
    other = independent(kind, monkeypatch)
    errors: dict[str, list[float]] = {"ours": [], "theirs": []}
    for pair, numbers in zip(posed.pairs, pairs, strict=True):
        uv_a, uv_b = other(pair.a.path, pair.b.path)
        theirs = Matches(uv_a.astype(float), uv_b.astype(float), np.ones(len(uv_a)))
        for name, matches in (("ours", ours[numbers]), ("theirs", theirs)):
            errors[name].append(pose_error(Seen.of(pair, matches, posed)))
    limits = AUC_AT["pose"]
    table = {name: [100 * a for a in auc(np.array(e), limits)] for name, e in errors.items()}
    print(f"\n{folder} {kind}, {len(pairs)} pairs, PoseLib 1 px at 1200 px, AUC@5/10/20 deg:")
    for name, values in table.items():
        print(f"  {name:<6} " + " / ".join(f"{v:.1f}" for v in values))
    assert all(o >= t - 1 for o, t in zip(table["ours"], table["theirs"], strict=True))


def pose_error(seen: Seen) -> float:
    answer = relative_pose("poselib", seen.uv_a, seen.uv_b, *seen._calibrations(), max_error_px=1.0)
    return max(pose_error_deg(None if answer is None else answer.b_from_a, seen.pair.b_from_a))


def made_up(folder: Path, texture, width: int, height: int, count: int) -> list[Image]:
    """Photos of one plane, each shifted and turned a little."""
    rgb = texture(width, height)
    images = []
    for k in range(count):
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 2.0 * k, 1 + 0.02 * k)
        turn[:, 2] += (7.3 * k, -4.1 * k)
        path = folder / f"{k}.png"
        PilImage.fromarray(
            cv2.warpAffine(rgb, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
        ).save(path)
        images.append(Image(path.name, path, width, height, None, path, width, height))
    return images


@pytest.mark.weights
def test_features_once_per_photo_are_twice_as_fast(tmp_path, texture):
    """XFeat*, ten photos of 640 x 480, 45 pairs, against 45 calls with two photos each.

    And against kornia's own call for two photos, on five of the pairs.
    """
    import torch

    images = made_up(tmp_path, texture, 640, 480, 10)
    pairs = list(combinations(range(10), 2))
    matcher = XFeatStar()
    list(matcher.match_pairs(images, pairs[:1]))  # loads the network
    start = perf_counter()
    together = dict(matcher.match_pairs(images, pairs))
    middle = perf_counter()
    alone = {
        (a, b): next(iter(matcher.match_pairs([images[a], images[b]], [(0, 1)])))[1]
        for a, b in pairs
    }
    amortised, naive = (middle - start) / 45, (perf_counter() - middle) / 45
    theirs = load_xfeat()
    theirs.top_k = matcher.top_k
    start = perf_counter()
    with torch.inference_mode():
        for a, b in pairs[::9]:
            theirs.match_xfeat_star(*(network_photo(images[k].path)[0] for k in (a, b)))
    kornia = (perf_counter() - start) / len(pairs[::9])
    print(
        f"\nXFeat* at 640 x 480: {amortised:.3f} s a pair amortised, {naive:.3f} s pair by pair, "
        f"{kornia:.3f} s by kornia's own call"
    )
    for pair in pairs:
        assert np.array_equal(together[pair].uv_a, alone[pair].uv_a)
        assert np.array_equal(together[pair].score, alone[pair].score)
    assert kornia >= 2 * amortised
    assert naive >= 2 * amortised
    assert amortised <= 0.35


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_efficient_loftr_takes_no_more_time_than_transformers(tmp_path, convention):
    """CPU seconds of a whole pair of 640 x 480, two cuts of a picture; random weights."""
    from safetensors.torch import save_file

    from tests.corr.eloftr_worlds import picture, transformers_model

    file = tmp_path / "model.safetensors"
    save_file(transformers_model().state_dict(), file)
    rgb, images = picture(480, 648), []
    for k in range(2):
        path = tmp_path / f"{k}.png"
        PilImage.fromarray(rgb[:, 8 * k : 8 * k + 640]).save(path)
        images.append(Image(path.name, path, 640, 480, None, path, 640, 480))
    options = {"weights": str(file), "min_score": 0.0}
    ours = EfficientLoftrMatcher(**options, convention=convention)
    theirs = EfficientLoftrMatcher(**options, implementation="transformers")
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    found = {}
    for run in range(3):  # the first ones load the networks
        for name, matcher in (("ours", ours), ("theirs", theirs)):
            start = process_time()
            found[name] = next(iter(matcher.match_pairs(images, [(0, 1)])))[1]
            if run:
                seconds[name].append(process_time() - start)
    table = ", ".join(f"{name} {min(s):.2f} … {max(s):.2f} s" for name, s in seconds.items())
    print(f"\nEfficientLoFTR at 640 x 480, {convention}: {table}; {len(found['ours'])} matches")
    assert len(found["ours"]) >= 200
    if convention == "transformers":
        assert np.array_equal(found["ours"].id_a, found["theirs"].id_a)
    assert np.median(seconds["ours"]) <= np.median(seconds["theirs"])


def measured(code: str, folder: Path) -> dict:
    """What a fresh process prints as JSON on its last line, with its peak memory in GiB."""
    tail = "\nfrom corr.store import peak_memory_mb\nresult['gib'] = peak_memory_mb() / 1024"
    tail += "\nimport json; print(json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], cwd=folder, capture_output=True, text=True,
        timeout=3600, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


TILED = """
from pathlib import Path
from corr.matchers.xfeat import XFeatStar
from corr.photos import Image
images = [Image(n, Path(n), 4000, 3000, None, Path(n), 4000, 3000) for n in ("a.png", "b.png")]
found = next(iter(XFeatStar(tile={tile}).match_pairs(images, [(0, 1)])))[1]
import numpy as np
H = np.load("H.npy")
xyw = np.c_[found.uv_a, np.ones(len(found))] @ H.T
error = np.linalg.norm(xyw[:, :2] / xyw[:, 2:] - found.uv_b, axis=1)
result = {{"right": int((error < 3).sum()), "all": len(found)}}
"""


@pytest.mark.weights
def test_large_pair_in_tiles_finds_more_within_four_gigabytes(tmp_path, texture):
    """4000 x 3000: matches within 3 px of the truth, against the pair shrunk to 1024 px."""
    base = texture(2000, 1500)
    rgb = cv2.resize(base, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    H = np.array([[0.97, -0.08, 190.0], [0.07, 0.98, -120.0], [1e-6, -2e-6, 1]])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    other = cv2.warpPerspective(rgb, np.linalg.inv(half) @ H @ half, (4000, 3000))
    for name, picture in (("a", rgb), ("b", other)):
        PilImage.fromarray(picture).save(tmp_path / f"{name}.png", compress_level=1)
    np.save(tmp_path / "H.npy", H)
    tiled, whole = (measured(TILED.format(tile=t), tmp_path) for t in (1024, 0))
    print(f"\n4000 x 3000, XFeat*: in tiles {tiled}, shrunk {whole}")
    assert tiled["gib"] <= 4
    assert tiled["right"] > whole["right"]


LOFTR = """
import torch
from pathlib import Path
from corr.matchers.loftr import Loftr, build_loftr
from corr.photos import Image
torch.manual_seed(0)
torch.save({"state_dict": build_loftr("outdoor", 0.2).state_dict()}, "loftr.ckpt")
images = [Image(n, Path(n), 1600, 1200, None, Path(n), 1600, 1200) for n in ("0.png", "1.png")]
found = next(iter(Loftr(weights="loftr.ckpt", max_side=1600).match_pairs(images, [(0, 1)])))[1]
result = {"matches": len(found)}
"""


def test_loftr_at_1600_px_stays_within_six_gigabytes(tmp_path, texture):
    """Random weights: memory does not depend on what they are."""
    made_up(tmp_path, texture, 1600, 1200, 2)
    found = measured(LOFTR, tmp_path)
    print(f"\nLoFTR at 1600 x 1200: {found['gib']:.2f} GiB")
    assert found["gib"] <= 6
