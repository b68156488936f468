"""Photos that hold together and were not joined to the rest: a second model, said as such."""

from collections.abc import Collection, Sequence

import numpy as np

from recon.poses.connected import parts
from recon.poses.two_view import TwoView

SURELY = 2.0  # times the verified matches that a pair needs: not chance
NAMED = 4  # photos named in a sentence


def split_off(
    pairs: Sequence[TwoView], placed: Collection[int], num_photos: int
) -> list[list[int]]:
    """Groups of two photos or more, none of them placed, that verified pairs hold together.

    Pairs count that have clearly more inliers than chance gives, and parallax.
    """
    linked = [
        (p.a, p.b)
        for p in pairs
        if p.label not in ("unverified", "rotation")
        and len(p.inliers) >= SURELY * p.needed
        and p.a not in placed
        and p.b not in placed
    ]
    label = parts(num_photos, linked)
    groups = [np.flatnonzero(label == k).tolist() for k in np.unique(label)]
    return sorted((g for g in groups if len(g) > 1), key=lambda g: (-len(g), g))


def split_findings(
    pairs: Sequence[TwoView], placed: Collection[int], names: Sequence[str]
) -> list[str]:
    """A sentence for every group of photos that would make a model of its own."""
    return [_sentence([names[k] for k in g]) for g in split_off(pairs, placed, len(names))]


def _sentence(group: Sequence[str]) -> str:
    more = len(group) - NAMED
    listed = ", ".join(group[:NAMED]) + (f" and {more} more" if more > 0 else "")
    use = ",".join(group) if more <= 0 else "@<file with their names>"
    return (
        f"{len(group)} photos ({listed}) match each other, but could not be joined to the others: "
        f"they show another part, or another scene; add photos in between, or reconstruct them by "
        f"themselves with scene.use={use}"
    )
