"""The verified pairs of a run on disk."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from corr.geometry import Rigid3
from corr.store import write_atomic
from recon.poses.two_view import TwoView

TWO_VIEW_FILE = "two_view.json"


def save_two_views(folder: Path, pairs: Iterable[TwoView], names: Sequence[str]) -> None:
    """Write `two_view.json`: every pair with its numbers and inlier indices."""
    record = [
        {
            "name_a": names[p.a],
            "name_b": names[p.b],
            "a": p.a,
            "b": p.b,
            "num_matches": p.num_matches,
            "num_inliers": len(p.inliers),
            "needed": p.needed,
            "label": p.label,
            "coverage": round(p.coverage, 4),
            "parallax_deg": round(p.parallax_deg, 4),
            "homography_share": round(p.homography_share, 4),
            "b_from_a": None if p.b_from_a is None else p.b_from_a.matrix.tolist(),
            "inliers": p.inliers.tolist(),
        }
        for p in pairs
    ]
    write_atomic(folder / TWO_VIEW_FILE, json.dumps({"pairs": record}))


def load_two_views(folder: Path) -> list[TwoView]:
    """Read what `save_two_views` wrote."""
    record = json.loads((folder / TWO_VIEW_FILE).read_text())
    return [
        TwoView(
            p["a"],
            p["b"],
            p["num_matches"],
            np.array(p["inliers"], dtype=np.int64),
            p["needed"],
            None if p["b_from_a"] is None else Rigid3.from_matrix(np.array(p["b_from_a"])),
            p["coverage"],
            p["parallax_deg"],
            p["homography_share"],
        )
        for p in record["pairs"]
    ]
