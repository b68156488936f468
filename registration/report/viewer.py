"""Both scans packed for the 3-D view, with every hypothesis to move the source by."""

import base64
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from registration.pictures import DISTANCE_FULL, SOURCE_RGB, TARGET_RGB, Pair
from registration.render import STAGE
from registration.result import Registration

_MOST_HYPOTHESES = 8
_FARTHER = 255  # distance byte of points beyond the colour scale


def packed(
    xyz: Float[np.ndarray, "n 3"],
    rgb: UInt8[np.ndarray, "n 3"] | None,
    distance: Float[np.ndarray, " n"] | None,
) -> str:
    """Base64 of xyz float32, r, g, b bytes and a distance byte (255: beyond the scale) a point.

    Args:
        xyz: Points, already near the origin.
        rgb: Own colours, or None (grey).
        distance: To the other scan, voxels; None = unknown.
    """
    out = np.zeros(len(xyz), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3), ("distance", "u1")])
    out["xyz"] = xyz
    out["rgb"] = 200 if rgb is None else rgb
    share = np.full(len(xyz), np.inf) if distance is None else distance / DISTANCE_FULL
    out["distance"] = np.where(share <= 1, np.minimum(share, 1) * 254, _FARTHER)
    return base64.b64encode(out.tobytes()).decode("ascii")


def scene(pair: Pair, answer: Registration) -> tuple[dict[str, Any], dict[str, str]]:
    """The description of the view and its base64 blocks; both scans are centred for float32.

    The matrices map the centred source (points minus `source_origin`) to the centred target.
    """
    source_origin, target_origin = pair.source.mean(axis=0), pair.target.mean(axis=0)
    shown = pair.target if pair.moved is None else np.concatenate([pair.target, pair.moved])
    low, high = np.quantile(shown, [0.01, 0.99], axis=0)
    extent = float(np.linalg.norm(high - low)) or 1.0
    given = np.eye(4)
    given[:3, 3] = source_origin - target_origin
    apart = bool(np.linalg.norm(given[:3, 3]) > 4 * extent)
    if apart:
        given[:3, 3] = 0
    hypotheses = []
    for h in answer.hypotheses[:_MOST_HYPOTHESES]:
        m = np.eye(4)
        m[:3, :3] = h.scale * h.target_from_source.R
        m[:3, 3] = m[:3, :3] @ source_origin + h.target_from_source.t - target_origin
        hypotheses.append(m.ravel().tolist())
    coloured = pair.source_rgb is not None and pair.target_rgb is not None
    described = {
        "count": {"source": len(pair.source), "target": len(pair.target)},
        "before": given.ravel().tolist(),
        "centred": apart,
        "hypotheses": hypotheses,
        "middle": ((low + high) / 2 - target_origin).tolist(),
        "extent": extent,
        "spacing": pair.spacing,
        "up": pair.up.tolist(),
        "front": pair.front.tolist(),
        "coloured": coloured,
        "distances": pair.distance is not None,
        "stage": [v / 255 for v in STAGE],
        "tint": {"source": (SOURCE_RGB / 255).tolist(), "target": (TARGET_RGB / 255).tolist()},
    }
    blocks = {
        "bin-source": packed(pair.source - source_origin, pair.source_rgb, pair.distance),
        "bin-target": packed(pair.target - target_origin, pair.target_rgb, None),
    }
    return described, blocks
