"""Alignment where the scale is unknown too: a reconstruction without units against a scan."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from corr.geometry.rigid import Rigid3
from registration.cloud import PointCloud
from registration.confidence import RIVAL_INPUTS, evidence_row, probability, share_among
from registration.registrar import Registrar
from registration.result import Registration
from registration.scale import extent

log = logging.getLogger(__name__)
STEP = 1.3  # between two sizes whose descriptors are compared
STEPS = 5  # to either side of equal extents: 0.27 to 3.7 times
REACH = 1.16  # a size votes for those to this factor beside it; a little over half a step
LAST_REACH = 1.05
OTHER_SIZE = 0.1  # difference of the logarithms from which on two answers are not the same


@dataclass(frozen=True, eq=False)
class Sized:
    """The answer for a source that was made `factor` times as large before it was prepared."""

    factor: float
    prepared: Any
    registration: Registration


def equal_extents(source: PointCloud, target: PointCloud) -> float:
    """What the source has to be multiplied by to be as large as the target."""
    return extent(target) / extent(source)


def register_any_scale(
    source: PointCloud,
    prepared_target: Any,
    registrar: Any,
    voxel: float,
    first: float,
    seed: int,
) -> Sized:
    """Try sizes of the source in steps, vote around each, and answer again at the best one.

    Args:
        source: The cloud, its own unit.
        prepared_target: What the registrar made of the target.
        registrar: Hough voting; its `scale_range` is replaced.
        voxel: Working resolution, target's unit.
        first: The factor in the middle of the search.
        seed: Of everything random.

    Returns:
        The best size; its answer maps the resized source.

    Raises:
        ValueError: The registrar cannot estimate a scale, or no size leaves enough points.
    """
    if not hasattr(registrar, "scale_range"):
        raise ValueError(f"{type(registrar).__name__} estimates no scale; set registrar=hough")
    wide = _reaching(registrar, REACH)
    factors = first * STEP ** np.arange(-STEPS, STEPS + 1.0)
    found, reason = [], ""
    for factor in tqdm(factors, desc="sizes", unit="size", leave=False):
        try:
            found.append(_at(source, prepared_target, wide, voxel, float(factor), seed))
        except ValueError as error:  # a size at which the cloud falls into a few voxels
            reason = str(error)
    if not found:
        raise ValueError(reason)
    best = max(found, key=_score)
    if best.registration.target_from_source is None:
        return best
    exact = best.factor * best.registration.scale
    log.info("scale: %.4g of %d sizes from %.3g to %.3g", exact, len(found), factors[0],
             factors[-1])  # fmt: skip
    narrow = _reaching(registrar, LAST_REACH)
    last = _at(source, prepared_target, narrow, voxel, exact, seed)
    best = max((last, best), key=_score)
    return _beside_other_sizes(best, found, registrar.min_probability)


def _reaching(registrar: Any, scale_range: float) -> Registrar:
    return replace(registrar, scale_range=scale_range)


def _at(source: PointCloud, target: Any, registrar: Registrar, voxel, factor, seed) -> Sized:
    prepared = registrar.prepare(source.moved(Rigid3.identity(), factor), voxel)
    return Sized(factor, prepared, registrar.register(prepared, target, seed=seed))


def _beside_other_sizes(best: Sized, found: list[Sized], least: float) -> Sized:
    """The answer with the best ones of clearly other sizes among its rivals.

    Its probability is no more than it would be if these had been seen beside it at once.
    """
    mine = best.factor * best.registration.scale
    rivals = [
        replace(f.registration.hypotheses[0], scale=f.factor * f.registration.scale / best.factor)
        for f in found
        if f.registration.hypotheses
        and abs(np.log(f.factor * f.registration.scale / mine)) > OTHER_SIZE
    ]
    r = best.registration
    if not rivals or not r.hypotheses:
        return best
    first, *others = r.hypotheses
    ranked = [first, *sorted([*others, *rivals], key=lambda h: -h.score)]
    margin = float(np.clip(first.score - ranked[1].score, 0, 10))
    evidence = {**r.evidence, "margin": margin}
    p = min(
        r.probability,
        probability(evidence_row(evidence, RIVAL_INPUTS)),
        share_among(np.array([h.score for h in ranked])),
    )
    reason = r.reason
    if p < least <= r.probability:
        other = ranked[1].scale * best.factor
        reason = f"below {least:g}: sizes {mine:.3g} and {other:.3g} fit alike"
    judged = replace(
        r, hypotheses=tuple(ranked), evidence=evidence, margin=float(1 - np.exp(-margin)),
        probability=p, accepted=p >= least, reason=reason,
    )  # fmt: skip
    return replace(best, registration=judged)


def _score(found: Sized) -> float:
    hypotheses = found.registration.hypotheses
    return hypotheses[0].score if hypotheses else -np.inf


def of_source_itself(found: Sized) -> Registration:
    """The answer for the source as it was given: its scale includes the factor."""
    r = found.registration
    return replace(
        r,
        scale=found.factor * r.scale,
        hypotheses=tuple(replace(h, scale=found.factor * h.scale) for h in r.hypotheses),
    )
