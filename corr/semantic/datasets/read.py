"""Benchmarks by the name they are chosen with."""

from pathlib import Path

from corr.errors import UserError
from corr.semantic.datasets.ap10k import read_ap10k
from corr.semantic.datasets.base import PairSet
from corr.semantic.datasets.own import read_own
from corr.semantic.datasets.pf_pascal import read_pf_pascal
from corr.semantic.datasets.pf_willow import read_pf_willow
from corr.semantic.datasets.spair import read_spair


def read_pairs(
    benchmark: str,
    root: Path,
    *,
    split: str = "test",
    size: str = "large",
    subset: str = "intra_species",
    extent: str = "",
) -> PairSet:
    """Read a benchmark.

    Args:
        benchmark: spair71k, pf_pascal, pf_willow, ap10k or own.
        root: Its folder.
        split: trn, val or test; pf_willow and own have test only.
        size: Of spair71k: large or small.
        subset: Of ap10k: intra_species, cross_species or cross_family.
        extent: Of pf_willow: which of its two conventions; empty = points.

    Raises:
        UserError: The folder is not that benchmark, or the benchmark has no such split.
    """
    if benchmark in ("pf_willow", "own") and split != "test":
        raise UserError(f"{benchmark} has no split but test, got split={split}")
    if benchmark == "spair71k":
        return read_spair(root, split=split, size=size)
    if benchmark == "pf_pascal":
        return read_pf_pascal(root, split=split)
    if benchmark == "pf_willow":
        return read_pf_willow(root, convention=extent or "points")
    if benchmark == "ap10k":
        return read_ap10k(root, split=split, subset=subset)
    if benchmark == "own":
        return read_own(root)
    raise ValueError(f"benchmark {benchmark!r} is unknown")
