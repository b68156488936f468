"""Which photos hang together."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int


def parts(count: int, pairs: Iterable[tuple[int, int]]) -> Int[np.ndarray, " count"]:
    """The connected part of each of `count` photos, named by its smallest photo."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), tuple(edges.T)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    return first[label]
