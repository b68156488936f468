"""Clouds whose visible side is open are tried from both sides."""

from collections.abc import Iterator

from registration.prepare import Prepared


def sides(source: Prepared, target: Prepared) -> Iterator[tuple[Prepared, Prepared]]:
    """The pair as inferred and, where a cloud has a rival viewpoint, with one cloud turned.

    Only the side of one relative to the other matters to descriptors and normals, so turning one
    of two doubtful clouds is enough.
    """
    yield source, target
    if source.turned is not None:
        yield source.turned, target
    elif target.turned is not None:
        yield source, target.turned
