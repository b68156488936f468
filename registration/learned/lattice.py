"""Sparse integer lattices in any dimension and the neighbour maps between them, in plain torch.

A site is one row of int64 coordinates: a batch number, then D coordinates. Sites are packed into
one int64 key each and sorted once; a neighbour at a fixed offset is then a constant added to the
keys and a binary search. All maps are cached on the lattice, so that layers share them.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

Offsets = tuple[tuple[int, ...], ...]
# Room kept around the occupied box, so that an offset never runs into the next row of sites.
MARGIN = 8


def kernel_offsets(shape: str, size: int, dimension: int) -> Offsets:
    """Offsets of a kernel, in a fixed order; odd sizes are centred, even ones start at zero.

    Args:
        shape: "hypercube" (size^D offsets) or "cross" (along the axes only: D (size - 1) + 1).
        size: Extent along each axis.
        dimension: D.

    Raises:
        ValueError: Unknown shape, or a reach beyond `MARGIN`.
    """
    along = tuple(range(-(size // 2), size // 2 + 1)) if size % 2 else tuple(range(size))
    if size < 1 or max(map(abs, along)) > MARGIN:
        raise ValueError(f"size must be 1 to {2 * MARGIN + 1}, got {size}")
    if shape == "hypercube":
        return tuple(product(along, repeat=dimension))
    if shape == "cross":
        zero = (0,) * dimension
        arms = [
            (*zero[:axis], step, *zero[axis + 1 :])
            for axis in range(dimension)
            for step in along
            if step
        ]
        return (zero, *arms)
    raise ValueError(f"shape must be hypercube or cross, got {shape!r}")


@dataclass(frozen=True, eq=False)
class KernelMap:
    """Which input row feeds which output row, for each offset of a kernel.

    `site_out * stride + offset = site_in`; within one offset every row occurs at most once.
    """

    rows: tuple[tuple[torch.Tensor, torch.Tensor] | None, ...]  # (in, out); None = all to itself
    inputs: int
    outputs: int


class Lattice:
    """Occupied sites, in the caller's row order.

    Args:
        sites: n x (1 + D) int64, the batch number first; no row twice.

    Raises:
        ValueError: Wrong shape, repeated rows, or an extent too large for 63 bits.
    """

    def __init__(self, sites: torch.Tensor):
        if sites.ndim != 2 or sites.shape[1] < 2 or sites.dtype != torch.int64:
            raise ValueError(f"sites must be n x (1 + D) int64, got {tuple(sites.shape)}")
        self.sites = sites
        self._low, self._weights = _packing(sites)
        self._keys, self._order = self._packed(sites).sort()
        if len(sites) > 1 and bool((self._keys[1:] == self._keys[:-1]).any()):
            raise ValueError("sites must be unique; merge repeated rows first (merge_sites)")
        self._cache: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def dimension(self) -> int:
        """D, without the batch."""
        return self.sites.shape[1] - 1

    def down(self, strides: tuple[int, ...]) -> "Lattice":
        """The coarser lattice of the sites' floor-divided coordinates."""
        if strides not in self._cache:
            self._cache[strides] = self._coarsened(strides)
        return self._cache[strides][0]

    def same(self, offsets: Offsets) -> KernelMap:
        """The map of a kernel without stride, from this lattice onto itself."""
        if offsets not in self._cache:
            self._cache[offsets] = self._neighbours(offsets)
        return self._cache[offsets]

    def onto(self, strides: tuple[int, ...], offsets: Offsets) -> KernelMap:
        """The map of a strided kernel from this lattice to `down(strides)`."""
        if (strides, offsets) not in self._cache:
            coarse = self.down(strides)
            if set(offsets) == set(product(*[range(s) for s in strides])):
                rows = self._children(strides, offsets)
            else:
                rows = self._strided(coarse, strides, offsets)
            self._cache[strides, offsets] = KernelMap(rows, len(self), len(coarse))
        return self._cache[strides, offsets]

    def _packed(self, sites: torch.Tensor) -> torch.Tensor:
        return ((sites - self._low) * self._weights).sum(1)

    def _step(self, offset: tuple[int, ...]) -> int:
        """What an offset adds to a key."""
        return sum(o * w for o, w in zip(offset, self._weights.tolist()[1:], strict=True))

    def _lookup(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions in the sorted keys, and which of the queries were found."""
        if not len(self._keys):
            return torch.zeros_like(keys), torch.zeros_like(keys, dtype=torch.bool)
        at = torch.searchsorted(self._keys, keys).clamp_(max=len(self._keys) - 1)
        return at, self._keys[at] == keys

    def _neighbours(self, offsets: Offsets) -> KernelMap:
        """Half of the offsets are searched; the opposite ones are the same pairs turned round."""
        known: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor] | None] = {}
        for offset in offsets:
            opposite = tuple(-o for o in offset)
            if not any(offset):
                known[offset] = None
            elif opposite in known:
                pair = known[opposite]
                known[offset] = None if pair is None else (pair[1], pair[0])
            else:
                at, found = self._lookup(self._keys + self._step(offset))
                known[offset] = (self._order[at[found]], self._order[found])
        return KernelMap(tuple(known[offset] for offset in offsets), len(self), len(self))

    def _strided(self, coarse: "Lattice", strides: tuple[int, ...], offsets: Offsets):
        keys = self._packed(coarse.sites * _with_batch(strides))
        pairs = []
        for offset in offsets:
            at, found = self._lookup(keys + self._step(offset))
            pairs.append((self._order[at[found]], found.nonzero()[:, 0]))
        return tuple(pairs)

    def _coarsened(self, strides: tuple[int, ...]) -> tuple["Lattice", torch.Tensor]:
        """The coarse lattice, and each site's row in it."""
        parents = torch.div(self.sites, _with_batch(strides), rounding_mode="floor")
        sites, rows = merge_sites(parents)
        return Lattice(sites), rows

    def _children(self, strides: tuple[int, ...], offsets: Offsets):
        """The map where each site lies in exactly one kernel: no search is needed."""
        coarse = self.down(strides)
        parent = self._cache[strides][1]
        inside = (self.sites - coarse.sites[parent] * _with_batch(strides))[:, 1:]
        weights = torch.tensor(_row_major(strides))
        code = (inside * weights).sum(1)
        order = torch.argsort(code, stable=True)
        count = torch.bincount(code, minlength=int(torch.tensor(strides).prod())).tolist()
        groups = torch.split(order, count)
        chosen = [groups[int((torch.tensor(offset) * weights).sum())] for offset in offsets]
        return tuple((rows, parent[rows]) for rows in chosen)


def merge_sites(sites: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unique rows in lexicographic order, and for each given row its place among them."""
    low, weights = _packing(sites)
    keys, inverse = torch.unique(((sites - low) * weights).sum(1), return_inverse=True)
    first = torch.full((len(keys),), len(sites), dtype=torch.int64)
    first.scatter_reduce_(0, inverse, torch.arange(len(sites)), "amin")
    return sites[first], inverse


def _with_batch(strides: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor([1, *strides])


def _row_major(spans: tuple[int, ...]) -> list[int]:
    """Weights that number the cells of a box with these side lengths, last axis fastest."""
    weights = [1]
    for span in reversed(spans[1:]):
        weights.insert(0, weights[0] * span)
    return weights


def _packing(sites: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest corner (with margin) and the weight of each column in the packed key."""
    margin = torch.tensor([0] + [MARGIN] * (sites.shape[1] - 1))
    if not len(sites):
        return margin, torch.ones_like(margin)
    low = sites.amin(0) - margin
    spans = (sites.amax(0) - low + margin + 1).tolist()
    weights = _row_major(tuple(spans))
    if weights[0] * spans[0] >= 2**63:
        raise ValueError(
            f"sites span {spans} cells, more than 63 bits can number; use larger cells"
        )
    return low, torch.tensor(weights)
