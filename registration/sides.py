"""Clouds whose visible side is open are tried from both sides."""

from collections.abc import Iterator
from dataclasses import replace

from registration.prepare import Prepared


def sides(source: Prepared, target: Prepared) -> Iterator[tuple[Prepared, Prepared]]:
    """The pair as inferred and, where a cloud has a rival viewpoint, with one cloud turned.

    Only the side of one relative to the other matters to descriptors and normals, so turning one
    of two doubtful clouds is enough.
    """
    yield source, target
    turned_source, turned_target = _turned(source), _turned(target)
    if turned_source is not None:
        yield turned_source, target
    elif turned_target is not None:
        yield source, turned_target


def _turned(cloud: Prepared) -> Prepared | None:
    if cloud.rival is None or cloud.rival_features is None:
        return None
    return replace(cloud, surface=cloud.rival, features=cloud.rival_features, rival=None)
