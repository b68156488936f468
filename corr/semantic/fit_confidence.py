"""Fit the shipped confidence curves, on the training photos of the tiny set alone.

    python -m corr.semantic.fit_confidence FOLDER

FOLDER is what `python -m corr.semantic.datasets.tiny FOLDER` makes. The test photos, of other cows,
are looked at once, to state how well the curves do there.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from corr.semantic.calibration import (
    ALPHA,
    FILE,
    Curve,
    fit,
    inputs,
    reliability,
    risk_coverage,
    setup_key,
)
from corr.semantic.datasets.base import PairSet
from corr.semantic.datasets.spair import read_spair
from corr.semantic.evaluation.predict import predict
from corr.semantic.evaluation.predictions import Prediction
from corr.semantic.features.cache import FeatureCache, described
from corr.semantic.features.extractor import Extractor
from corr.semantic.features.fusion import FusionFeatures
from corr.semantic.features.lite import LiteFeatures
from corr.semantic.features.xfeat import XFeatFeatures
from corr.semantic.pck import correct, point_errors
from corr.semantic.pose_alignment import flipped_side
from corr.semantic.transfer import Window
from corr.store import write_atomic

Evidence = tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]


def kinds() -> list[tuple[Extractor, str]]:
    """What curves are shipped for, all with `transfer=window`."""
    return [(LiteFeatures(), "none"), (LiteFeatures(), "pose"), (XFeatFeatures(), "none"),
            (FusionFeatures(), "none")]  # fmt: skip


def evidence(pairs: PairSet, predictions: dict[str, Prediction]) -> Evidence:
    """Inputs of the model for every point of every pair, and which points are right."""
    found = [predictions[p.key] for p in pairs.pairs]
    long = np.concatenate(
        [np.full(len(p.ids), max(p.source.width, p.source.height)) for p in pairs.pairs]
    )
    errors = point_errors(pairs, {p.key: predictions[p.key].uv for p in pairs.pairs}, "")
    similarity, margin, trip = (
        np.concatenate([getattr(f, name) for f in found])
        for name in ("similarity", "margin", "round_trip_px")
    )
    return inputs(similarity, margin, trip / long), correct(errors, ALPHA)


def answered(root: Path, split: str, extractor: Extractor, align: str, work: Path) -> Evidence:
    """Predict a split and look at its evidence."""
    pairs = read_spair(root, split=split, size="small")
    cache = FeatureCache(work, extractor)
    photos = dict(pairs.photos)
    if align == "pose":
        photos |= {s.name: s for s in (flipped_side(p.source) for p in pairs.pairs)}
    cache.fill(photos.values())
    name = f"{split}_{align}_{cache.key}.jsonl"
    return evidence(pairs, predict(pairs, cache, Window(), work / name, pose=align == "pose"))


def fitted(root: Path, extractor: Extractor, align: str, work: Path) -> dict[str, Any]:
    """One curve with how it does on the test split."""
    rows, right = answered(root, "trn", extractor, align, work)
    curve = fit(rows, right)
    rows_test, right_test = answered(root, "test", extractor, align, work)
    sure = probability_of(curve, rows_test)
    risks = {f"{c:g}": round(r, 3) for c, r, _ in risk_coverage(sure, right_test)}
    return {
        "setup": setup_key(described(extractor), Window(), align),
        "bias": round(curve.bias, 5), "weights": [round(w, 5) for w in curve.weights],
        "fitted_on": {"split": "trn", "points": len(right), "right": round(float(right.mean()), 4)},
        "test": {"points": len(right_test), "right": round(float(right_test.mean()), 4),
                 "calibration_error": round(reliability(sure, right_test).error, 4),
                 "risk_at_coverage": risks},
    }  # fmt: skip


def probability_of(curve: Curve, rows: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Of rows that are inputs already."""
    return 1 / (1 + np.exp(-(rows @ np.array(curve.weights) + curve.bias)))


def main(root: Path, file: Path = FILE, work: Path | None = None) -> list[dict[str, Any]]:
    """Fit every kind and write the file."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        curves = [fitted(root, extractor, align, folder) for extractor, align in kinds()]
    write_atomic(file, json.dumps({"alpha": ALPHA, "curves": curves}, indent=1))
    return curves


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m corr.semantic.fit_confidence FOLDER")
    for made in main(Path(sys.argv[1])):
        print(made["setup"], made["test"])
