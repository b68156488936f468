"""Clouds whose visible side is open are tried from both sides."""

from collections.abc import Iterator
from dataclasses import replace

from registration.features.fpfh import mirrored
from registration.prepare import Prepared


def sides(source: Prepared, target: Prepared) -> Iterator[tuple[Prepared, Prepared]]:
    """The pair as inferred and, where a cloud has a rival viewpoint, with that cloud turned."""
    for a in (source, _turned(source)):
        for b in (target, _turned(target)):
            if a is not None and b is not None:
                yield a, b


def _turned(cloud: Prepared) -> Prepared | None:
    if cloud.rival is None:
        return None
    return replace(cloud, surface=cloud.rival, features=mirrored(cloud.features), rival=None)
