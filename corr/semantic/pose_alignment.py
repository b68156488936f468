"""Adaptive pose alignment: where the flipped source fits the target better, match from it.

Key-points keep their meaning: in the flipped photo a left ear lies where the mirrored right ear
was, so a key-point is looked up at its twin's mirrored place. Needs the twins of the annotation
and, unless told otherwise, no truth of the target.

Source: Zhang et al., Telling Left from Right, CVPR 2024, section 4.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image as PilImage

from corr.semantic.datasets.base import KeypointPair, Side, flipped_name
from corr.semantic.features.cache import FeatureCache
from corr.semantic.features.grid import FeatureGrid
from corr.semantic.transfer import Transfer, Transferred

ROW_BLOCK = 1024  # source cells whose similarities are held at a time


@dataclass(frozen=True, eq=False)
class Aligned:
    """A pair's answer, and whether the flipped source gave it."""

    found: Transferred
    flipped: bool


def flipped_side(side: Side) -> Side:
    """The photo read flipped; its points mirrored, under their own names."""
    flip = np.array([[side.width, 0.0]])
    return replace(
        side,
        name=flipped_name(side),
        uv=flip + side.uv * [-1, 1],
        mirrored=not side.mirrored,
    )


def align(
    pair: KeypointPair, twins: Mapping[str, str], cache: FeatureCache, transfer: Transfer
) -> Aligned:
    """Match from the source or from its mirror image, whichever is nearer to the target."""
    source, target = cache.get(pair.source), cache.get(pair.target)
    side = flipped_side(pair.source)
    mirror = cache.get(side)
    inside = object_cells(pair.source, source)
    plain = mean_similarity(source, target, inside)
    turned = mean_similarity(mirror, target, object_cells(pair.source, mirror, flip=True))
    if plain >= turned:
        return Aligned(transfer.transfer(source, target, pair.source.uv), False)
    place = {name: k for k, name in enumerate(pair.ids)}
    # A key-point whose twin is not among the common ones keeps its own mirrored place.
    order = [place.get(twins.get(name, name), k) for name, k in place.items()]
    return Aligned(transfer.transfer(mirror, target, side.uv[order]), True)


def mean_similarity(
    source: FeatureGrid, target: FeatureGrid, inside: Bool[np.ndarray, " cells"]
) -> float:
    """Mean over the source's cells inside of the cosine of their nearest target cell."""
    rows, other, best = source.flat[inside], target.flat, []
    for start in range(0, len(rows), ROW_BLOCK):
        best.append((rows[start : start + ROW_BLOCK] @ other.T).max(1))
    return float(np.concatenate(best).mean())


def object_cells(
    side: Side, grid: FeatureGrid, *, flip: bool = False
) -> Bool[np.ndarray, " cells"]:
    """Cells centred on the object: by its mask, else in its box, else all.

    Args:
        side: The photo as annotated.
        grid: Its grid, or that of its mirror image.
        flip: The grid is the mirror image's.
    """
    uv: Float[np.ndarray, "cells 2"] = grid.centres()
    if flip:
        uv = np.array([[side.width, 0.0]]) + uv * [-1, 1]
    inside = np.ones(len(uv), dtype=bool)
    if side.mask is not None:
        with PilImage.open(side.mask) as file:
            mask = np.asarray(file.convert("L")) > 0
        at = np.clip(np.floor(uv).astype(int), 0, [mask.shape[1] - 1, mask.shape[0] - 1])
        inside = mask[at[:, 1], at[:, 0]]
    elif side.box is not None:
        inside = np.all((uv >= side.box[:2]) & (uv <= side.box[2:]), axis=1)
    return inside if inside.any() else np.ones(len(uv), dtype=bool)
