"""SPair-71k's test split from cached features of DINOv2-B's real size: seconds and memory.

`pytest -m benchmark -s tests/benchmarks/bench_semantic.py` measures CATEGORIES=1 of the 18 and
extrapolates, saying so; CATEGORIES=18 measures all (26 photos each: 2.6 GB of made-up features).
The second test (alone: `-k stream`) writes features at 840 pixels of PHOTOS=300 photos to disk,
made up in DINOv2-B's size or, with NETWORK=1, those of the default network.
"""

import json
import os
from itertools import permutations
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil
import pytest
from PIL import Image as PilImage

from corr.semantic.datasets.base import Side
from corr.semantic.datasets.spair import CATEGORIES, read_spair
from corr.semantic.evaluation.predict import predict
from corr.semantic.evaluation.scores import score
from corr.semantic.evaluation.tables import markdown
from corr.semantic.features.cache import FeatureCache, save_grid
from corr.semantic.features.extractor import Extractor, fit
from corr.semantic.features.grid import FeatureGrid, unit
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.transfer import Window
from corr.store import peak_memory_mb

SHARE = int(os.environ.get("CATEGORIES", "1"))
PHOTOS = 26  # per category: 650 ordered pairs, of which the official split has 564 to 870
POINTS = 9
TEST_PAIRS = 12234
ROWS, COLUMNS, CHANNELS = 45, 60, 768  # DINOv2-B/14 on 840 x 630 network pixels
LIMIT_S, LIMIT_MB = 600, 4096
pytestmark = pytest.mark.benchmark


def write_world(root: Path) -> None:
    """An SPair-71k of `SHARE` categories: flat photos, random key-points."""
    rng = np.random.default_rng(0)
    names = []
    for category in CATEGORIES[:SHARE]:
        for folder in ("JPEGImages", "ImageAnnotation"):
            (root / folder / category).mkdir(parents=True)
        kps = rng.integers(0, 375, (PHOTOS, POINTS, 2)).tolist()
        for k in range(PHOTOS):
            PilImage.new("RGB", (500, 375)).save(root / f"JPEGImages/{category}/{k:04d}.jpg")
            content = {"kps": {str(i): xy for i, xy in enumerate(kps[k])}}
            path = root / "ImageAnnotation" / category / f"{k:04d}.json"
            path.write_text(json.dumps(content))
        for a, b in permutations(range(PHOTOS), 2):
            names.append(f"{len(names):06d}-{a:04d}-{b:04d}:{category}")
            pair = {
                "category": category, "kps_ids": list(map(str, range(POINTS))),
                "src_imname": f"{a:04d}.jpg", "trg_imname": f"{b:04d}.jpg",
                "src_imsize": [500, 375, 3], "trg_imsize": [500, 375, 3],
                "src_bndbox": [1, 1, 400, 300], "trg_bndbox": [1, 1, 400, 300],
                "src_kps": kps[a], "trg_kps": kps[b], "viewpoint_variation": a % 3,
                "scale_variation": b % 3, "truncation": a % 4, "occlusion": b % 4, "mirror": 0,
            }  # fmt: skip
            path = root / "PairAnnotation" / "test" / f"{names[-1]}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(pair))
    (root / "Layout" / "large").mkdir(parents=True)
    (root / "Layout" / "large" / "test.txt").write_text("\n".join(names))


def write_features(cache: FeatureCache, names: list[str]) -> float:
    """Random grids on disk; returns MB."""
    cache.place.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for name in names:
        cells = unit(rng.standard_normal((ROWS, COLUMNS, CHANNELS), dtype=np.float32))
        step = np.array([500 / COLUMNS, 375 / ROWS])
        save_grid(cache.file(name), FeatureGrid(cells, step / 2, step, 500, 375))
    return sum(cache.file(n).stat().st_size for n in names) / 2**20


def test_test_split_from_cached_features(tmp_path):
    root = tmp_path / "SPair-71k"
    write_world(root)
    cache = FeatureCache(tmp_path / "features", None, key="made-up")
    seconds = {}
    start = perf_counter()
    pairs = read_spair(root)
    seconds["read annotations"] = perf_counter() - start
    megabytes = write_features(cache, sorted(pairs.photos))
    start = perf_counter()
    predictions = predict(pairs, cache, Window(), tmp_path / "predictions.jsonl")
    seconds["predict"] = perf_counter() - start
    start = perf_counter()
    scores = score(pairs, predictions)
    text = markdown(scores, setup="")
    seconds["score and report"] = perf_counter() - start
    assert "per image" in text
    scale = TEST_PAIRS / len(pairs.pairs)
    total = sum(seconds.values()) * scale
    share = ", ".join(f"{name} {s:.1f} s" for name, s in seconds.items())
    print(
        f"\n{len(pairs.pairs)} pairs measured ({megabytes:.0f} MB of features): {share}\n"
        f"{TEST_PAIRS} pairs, extrapolated: {total / 60:.1f} min; "
        f"peak memory {peak_memory_mb():.0f} MB"
    )
    assert total < LIMIT_S
    assert peak_memory_mb() < LIMIT_MB


class Noted(Extractor):
    """Notes the memory in use after each photo.

    The default network at 840 pixels, or, without a network, made-up cells of DINOv2-B's size.
    """

    def __init__(self, network: bool):
        self.network = LiteFeatures(long_side=840) if network else None
        self.rng = np.random.default_rng(0)
        self.rss_mb: list[float] = []

    def settings(self):
        return {}

    def extract(self, rgb):
        if self.network is not None:
            grid = self.network.extract(rgb)
        else:
            _, frame = fit(rgb, long_side=840, multiple=14, mean=(0.5,) * 3, std=(0.5,) * 3)
            cells = self.rng.standard_normal((CHANNELS, ROWS, COLUMNS), dtype=np.float32)
            grid = frame.grid(cells, stride=14, centre=7.0)
        self.rss_mb.append(psutil.Process().memory_info().rss / 2**20)
        return grid


def test_features_at_840_px_stream_to_disk(tmp_path):
    """Memory does not grow with the number of photos: the last is as cheap as the tenth."""
    count = int(os.environ.get("PHOTOS", "300"))
    photos, none = [], np.zeros((0, 2))
    for k in range(count):
        path = tmp_path / f"{k}.jpg"
        rng = np.random.default_rng(k)
        small = PilImage.fromarray(rng.integers(0, 255, (15, 20, 3), dtype=np.uint8))
        small.resize((1000, 750), PilImage.Resampling.BICUBIC).save(path)
        photos.append(Side(path.name, path, 1000, 750, none))
    extractor = Noted("NETWORK" in os.environ)
    cache = FeatureCache(tmp_path / "features", extractor)
    before = psutil.Process().memory_info().rss / 2**20
    start = perf_counter()
    megabytes = cache.fill(photos)
    seconds = perf_counter() - start
    rss = extractor.rss_mb
    print(
        f"\n{count} photos at 840 px: {megabytes:.0f} MB on disk, {seconds:.0f} s, memory "
        f"{before:.0f} MB before, {rss[9]:.0f} MB after ten photos, {rss[-1]:.0f} MB after all, "
        f"peak {peak_memory_mb():.0f} MB"
    )
    assert len(rss) == count
    assert max(rss[10:]) < rss[9] + 64
    assert peak_memory_mb() < LIMIT_MB
